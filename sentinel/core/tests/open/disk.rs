//! A disk that takes longer for a vote than a candidate waits at first.

use duke_core::{Input, Output};

use crate::stage::Stage;

const LONE: &str = "port 26379\nsentinel myid 1111111111111111111111111111111111111111\n\
                    sentinel monitor lone 10.0.0.1 6379 1\n\
                    sentinel down-after-milliseconds lone 1000\n\
                    sentinel known-replica lone 10.0.0.2 6380\n";
/// How long the disk takes, in steps of ten milliseconds.
const STEPS: u64 = 170;

/// What was to be written and is not yet, with the step it will be durable at.
fn write(stage: &mut Stage, step: u64, under_way: &mut Vec<(u64, u64)>) {
    if let Some((sequence, _)) = stage.file() {
        stage
            .wanted
            .retain(|output| !matches!(output, Output::Persist { .. }));
        under_way.push((step + STEPS, sequence));
    }
    let durable = under_way.iter().filter(|(due, _)| *due <= step);
    if let Some(sequence) = durable.map(|(_, sequence)| *sequence).max() {
        under_way.retain(|(due, _)| *due > step);
        stage.tell(Input::Persisted { sequence });
    }
}

#[test]
fn a_slow_disk_delays_an_election_and_does_not_prevent_it() {
    let mut stage = Stage::new(LONE);
    stage.written();
    let replica = crate::promotion::replica("a");
    let link = stage.command_link(6380, &replica);
    let mut under_way = Vec::new();
    let ordered = (0..1_000).any(|step| {
        stage.pass(10);
        write(&mut stage, step, &mut under_way);
        stage.reply(link, "PING", &duke_resp::Frame::simple("PONG"));
        stage.reply(link, "INFO", &replica);
        !stage.requests(link, "SLAVEOF").is_empty()
    });
    assert!(ordered, "nobody was told to become master in ten seconds");
}
