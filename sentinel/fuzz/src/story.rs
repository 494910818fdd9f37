//! Stories of both kinds of group: one line, one thing that happens.

use duke_core::{Engine, Secrets, Time, conf::Conf, config};

use crate::stage::Stage;

/// Lines of one story.
const LINES_MAX: usize = 400;
const OPEN: &str = "port 26379\nsentinel myid 1111111111111111111111111111111111111111\n\
                    sentinel monitor lake 10.0.0.1 6379 1\n\
                    sentinel down-after-milliseconds lake 1000\n\
                    sentinel known-replica lake 10.0.0.2 6379\n\
                    sentinel known-sentinel lake 10.0.1.2 26379 2222222222222222222222222222222222222222\n\
                    sentinel resolve-hostnames yes\nsentinel deny-scripts-reconfig no\n";
const CLOSED: &str = "port 26379\nduke group mymaster\nduke state /data/duke.state\n\
                      sentinel down-after-milliseconds mymaster 1000\n";

fn play(engine: Engine, bytes: &[u8]) {
    let mut stage = Stage::new(engine);
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines().take(LINES_MAX) {
        stage.play(line);
    }
}

pub(crate) fn open_group(bytes: &[u8]) {
    let conf = Conf::read(OPEN, &[]);
    let Ok(conf) = conf else {
        panic!("the group every story begins with: {conf:?}");
    };
    play(Engine::open(conf, 7, Time::default()), bytes);
}

pub(crate) fn closed_group(bytes: &[u8]) {
    let settings = config::parse(CLOSED);
    let Ok(settings) = settings else {
        panic!("the group every story begins with: {settings:?}");
    };
    let secrets = Secrets {
        data: "d".to_owned(),
        admin: "a".to_owned(),
        peer: "p".to_owned(),
        agent: "g".to_owned(),
    };
    let engine = Engine::new(settings, secrets, None, 7, Time::default());
    play(engine, bytes);
}
