//! The language of the stories.
//!
//! ```text
//! group dukes=3 nodes=3     starts everything; the Dukes are told members and nodes
//! seed n1                   makes n1 master and seeds every Duke
//! run 2s                    lets time pass
//! kill n1 | start n1        a process dies, or starts again (a Duke with its disk, a node with its data)
//! empty n1                  a dead node loses its data; wipe d1: a dead Duke its disk
//! rewind n1 50              a dead node's disk has only so many bytes of its history
//! loading n1 | loaded n1    a node reads its data, or has read it
//! snapshot n2               a node's disk keeps the name of its history, as a snapshot does
//! withhold n1               a node gives its data to no new follower
//! stall n2                  a node hears nothing more of its master's stream, and does not notice
//! forbid n1 pause           Dukes may not hold a node's clients' writes; forbid n1 roles: nor give it another role
//! priority n2 10            a node's priority
//! lock n1 | unlock n1       a node's passwords change, or change back, and its connections break
//! squat n1                  somebody else's server is at a node's address: empty, a master, open to all
//! freeze n1 | thaw n1       a process stops being run
//! cut d1 n1 | heal          nothing passes between two, in both directions
//! write n1 100              so many bytes are written at a master
//! slow d1 50ms              a Duke's disk takes so long from now on
//! break d1 | mend d1        a Duke's disk takes nothing, or writes again
//! ask d1 WORDS…             a command of the operator's; others: anyone d1 WORDS…; agent d1 …; peer d1 …
//! show                      who is what
//! ```

use std::time::Duration;

use crate::{
    server::Door,
    world::{Rights, World},
};

/// A story: its head and its blocks.
pub(crate) struct Script {
    blocks: Vec<Vec<String>>,
}

impl Script {
    pub(crate) fn read(text: &str) -> Self {
        let blocks = text
            .split("\n\n")
            .map(|block| {
                block
                    .lines()
                    .take_while(|line| *line != "----")
                    .map(str::to_owned)
                    .collect()
            })
            .collect();
        Self { blocks }
    }

    /// Plays the story and tells it anew.
    pub(crate) fn play(&self) -> String {
        let mut world = World::new();
        let mut told = Vec::new();
        for block in &self.blocks {
            for line in block
                .iter()
                .filter(|line| !line.starts_with('#') && !line.is_empty())
            {
                command(&mut world, line);
            }
            let commands = block.join("\n");
            if block.iter().all(|line| line.starts_with('#')) {
                told.push(commands);
            } else {
                let happened = world.take_transcript();
                told.push(
                    format!("{commands}\n----\n{happened}")
                        .trim_end()
                        .to_owned(),
                );
            }
        }
        told.join("\n\n") + "\n"
    }
}

fn command(world: &mut World, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["group", dukes, nodes] => world.group(count(dukes), count(nodes)),
        ["seed", node] => world.seed(node),
        ["run", time] => world.run(time_of(time)),
        ["kill", name] => world.kill(name),
        ["start", name] => world.start(name),
        ["empty", name] => world.empty(name),
        ["rewind", name, bytes] => world.rewind(name, bytes.parse().unwrap()),
        ["loading", name] => world.loading(name, true),
        ["loaded", name] => world.loading(name, false),
        ["snapshot", name] => world.snapshot(name),
        ["withhold", name] => world.withhold(name),
        ["stall", name] => world.stall(name),
        ["forbid", name, what] => world.forbid(name, what),
        ["priority", name, priority] => world.rank(name, priority.parse().unwrap()),
        ["wipe", name] => world.wipe(name),
        ["lock", name] => world.lock(name, Door::Locked),
        ["unlock", name] => world.lock(name, Door::Ours),
        ["squat", name] => world.squat(name),
        ["freeze", name] => world.freeze(name, true),
        ["thaw", name] => world.freeze(name, false),
        ["cut", left, right] => world.cut(left, right),
        ["heal"] => world.heal(),
        ["write", name, bytes] => world.write(name, bytes.parse().unwrap()),
        ["point", name, target] => world.point(name, target),
        ["promote", name] => world.promote(name),
        ["break", name] => world.spoil(name, true),
        ["mend", name] => world.spoil(name, false),
        ["slow", name, time] => world.slow(name, time_of(time)),
        ["feed"] => world.feed(),
        ["ask", duke, words @ ..] => world.ask(duke, Rights::Operator, words),
        ["peer", duke, words @ ..] => world.ask(duke, Rights::Peer, words),
        ["agent", duke, words @ ..] => world.ask(duke, Rights::Agent, words),
        ["anyone", duke, words @ ..] => world.ask(duke, Rights::Nobody, words),
        ["show"] => world.show(),
        _ => panic!("the story has a line nobody understands: {line}"),
    }
}

fn count(word: &str) -> usize {
    word.split_once('=').unwrap().1.parse().unwrap()
}

fn time_of(word: &str) -> Duration {
    if let Some(millis) = word.strip_suffix("ms") {
        return Duration::from_millis(millis.parse().unwrap());
    }
    Duration::from_secs(word.strip_suffix('s').unwrap().parse().unwrap())
}
