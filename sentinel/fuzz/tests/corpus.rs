//! Every input of the corpus, and a few thousand made from it: nothing may be wrong with any.

use std::fs;

use duke_fuzz::{Mutator, TARGETS, corpus};

/// Inputs made by chance for each target.
const FRESH: usize = 500;

#[test]
fn the_corpus_shows_nothing_wrong() {
    for target in TARGETS {
        let mut inputs: Vec<Vec<u8>> = fs::read_dir(corpus(target.name))
            .unwrap()
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect();
        assert!(!inputs.is_empty(), "{} has a corpus", target.name);
        inputs.sort();
        for input in &inputs {
            (target.run)(input);
        }
        let mut mutator = Mutator::new(0);
        for _ in 0..FRESH {
            (target.run)(&mutator.next(&inputs));
        }
    }
}
