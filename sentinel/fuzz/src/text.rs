//! Files: whatever is read is written so that it can be read again.

use std::net::{Ipv4Addr, SocketAddr};

use duke_core::{ClientId, Durable, Engine, Input, Output, Time, conf::Conf, config};
use duke_resp::Bytes;

/// What an engine of an open group writes when it starts, or when it is told to.
fn written(conf: Conf) -> Option<String> {
    let (client, now) = (ClientId(1), Time::default());
    let mut engine = Engine::open(conf, 7, now);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
    engine.handle(now, Input::Joined { client, address });
    let words = ["SENTINEL", "FLUSHCONFIG"].map(Bytes::from).to_vec();
    engine.handle(now, Input::Asked { client, words });
    while let Some(output) = engine.poll() {
        if let Output::Persist { text, .. } = output {
            return Some(text);
        }
    }
    None
}

pub(crate) fn sentinel_conf(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(conf) = Conf::read(&text, &[]) else {
        return;
    };
    let named = conf.masters.len();
    if let Some(text) = written(conf) {
        match Conf::read(&text, &[]) {
            Ok(again) => assert_eq!(again.masters.len(), named, "in {text:?}"),
            Err(error) => panic!("{error:?} in what was written: {text:?}"),
        }
    }
}

pub(crate) fn duke_conf(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // Any answer is right but a panic.
    drop(config::parse(&text));
}

pub(crate) fn state(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(state) = Durable::read(&text) else {
        return;
    };
    let printed = state.print("mymaster");
    let again = Durable::read(&printed).map(|state| state.print("mymaster"));
    assert_eq!(
        again.ok().as_deref(),
        Some(printed.as_str()),
        "from {text:?}"
    );
}
