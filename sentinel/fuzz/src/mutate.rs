//! Changes by chance: lines and words of what is there, taken from others, doubled, left out, altered.

use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};

/// What means something somewhere.
const WORDS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "65535",
    "65536",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "*",
    "lake",
    "mymaster",
    "10.0.0.1",
    "10.0.0.2",
    "host.example",
    "::1",
    "\"",
    "'",
    "\\",
    "#",
    "\\r\\n",
    "$-1\\r\\n",
    "*-1\\r\\n",
    "+PONG\\r\\n",
    "-LOADING x\\r\\n",
    "%1\\r\\n",
    "SENTINEL",
    "SET",
    "quorum",
    "FAILOVER",
    "RESET",
    "REMOVE",
    "MONITOR",
    "CONFIG",
    "ACL",
    "CLIENT",
    "wait 1100",
    "written",
    "up 0",
    "down 0",
    "reply 0 +PONG\\r\\n",
    "join 0",
    "left 0",
];

/// The longest input.
const BYTES_MAX: usize = 16 * 1024;

/// Makes inputs out of others; the same seed makes the same ones.
#[derive(Debug)]
pub struct Mutator {
    chance: ChaCha8Rng,
}

impl Mutator {
    /// Begins a row of changes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            chance: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    fn below(&mut self, count: usize) -> usize {
        self.chance.random_range(0..count.max(1))
    }

    /// A new input made of some of `corpus`.
    pub fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let start = self.below(corpus.len());
        let mut input = corpus.get(start).cloned().unwrap_or_default();
        for _ in 0..=self.below(6) {
            let other = self.below(corpus.len());
            let other = corpus.get(other).map(Vec::as_slice).unwrap_or_default();
            match self.below(3) {
                0 => self.change_byte(&mut input),
                1 => self.change_word(&mut input),
                _ => self.change_line(&mut input, other),
            }
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change_byte(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let byte = self.chance.random::<u8>();
        match self.below(3) {
            0 => input.insert(at, byte),
            1 if at < input.len() => {
                input.remove(at);
            }
            _ => {
                if let Some(there) = input.get_mut(at) {
                    *there ^= 1 << (byte % 8);
                }
            }
        }
    }

    fn change_word(&mut self, input: &mut Vec<u8>) {
        let gaps: Vec<usize> = input
            .iter()
            .enumerate()
            .filter(|(_, byte)| byte.is_ascii_whitespace())
            .map(|(at, _)| at)
            .collect();
        let which = self.below(gaps.len() + 1);
        let begin = which
            .checked_sub(1)
            .and_then(|gap| gaps.get(gap))
            .map_or(0, |gap| gap + 1);
        let end = gaps.get(which).copied().unwrap_or(input.len()).max(begin);
        let word = WORDS[self.below(WORDS.len())];
        input.splice(begin..end, word.bytes());
    }

    fn change_line(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let split = |text: &[u8]| -> Vec<Vec<u8>> {
            text.split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect()
        };
        let (mut lines, others) = (split(input), split(other));
        let at = self.below(lines.len() + 1);
        match self.below(4) {
            0 if at < lines.len() => {
                lines.remove(at);
            }
            1 if at < lines.len() => lines.insert(at, lines[at].clone()),
            2 if at + 1 < lines.len() => lines.swap(at, at + 1),
            _ => {
                let from = self.below(others.len());
                lines.insert(at, others.get(from).cloned().unwrap_or_default());
            }
        }
        *input = lines.concat();
    }
}
