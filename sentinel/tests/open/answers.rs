//! Answer by answer beside the stock sentinel: types, fields and their order, error texts.

use duke_resp::Frame;

use crate::wire::Wire;
use crate::world::{Kind, World, ask, wait_for};

/// What both programs must answer exactly alike.
const SAME: &[&str] = &[
    "PING",
    "PING hello",
    "NONSENSE a b",
    "GET key",
    "SENTINEL",
    "SENTINEL BOGUS",
    "SENTINEL MASTER",
    "SENTINEL MASTER nobody",
    "SENTINEL REPLICAS nobody",
    "SENTINEL SLAVES nobody",
    "SENTINEL SENTINELS nobody",
    "SENTINEL CKQUORUM lake",
    "SENTINEL CKQUORUM nobody",
    "SENTINEL GET-MASTER-ADDR-BY-NAME lake",
    "SENTINEL GET-MASTER-ADDR-BY-NAME nobody",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 x 0 *",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1",
    "SENTINEL FAILOVER nobody",
    "SENTINEL REMOVE nobody",
    "SENTINEL RESET nobody",
    "SENTINEL FLUSHCONFIG",
    "SENTINEL PENDING-SCRIPTS",
    "SENTINEL INFO-CACHE nobody",
    "SENTINEL INFO-CACHE",
    "SENTINEL SIMULATE-FAILURE HELP",
    "SENTINEL SIMULATE-FAILURE nonsense",
    "SENTINEL DEBUG",
    "SENTINEL DEBUG info-period x",
    "SENTINEL DEBUG info-period",
    "SENTINEL DEBUG nonsense 7",
    "SENTINEL DEBUG info-period 9000",
    "SENTINEL MONITOR other 127.0.0.1 1 x",
    "SENTINEL MONITOR other 127.0.0.1 x 1",
    "SENTINEL MONITOR other 127.0.0.1 1 0",
    "SENTINEL MONITOR other host.invalid 1 1",
    "SENTINEL MONITOR other 127.0.0.1 70000 1",
    "SENTINEL MONITOR lake 127.0.0.1 1 1",
    "SENTINEL SET nobody quorum 1",
    "SENTINEL SET lake",
    "SENTINEL SET lake quorum 0",
    "SENTINEL SET lake quorum -7",
    "SENTINEL SET lake nonsense 7",
    "SENTINEL SET lake down-after-milliseconds -20",
    "SENTINEL SET lake failover-timeout x",
    "SENTINEL SET lake notification-script /nonexistent",
    "SENTINEL SET lake parallel-syncs 2",
    "SENTINEL CONFIG GET announce*",
    "SENTINEL CONFIG GET nonsense",
    "SENTINEL CONFIG SET announce-port 7000",
    "PUBLISH other text",
    "PUBLISH __sentinel__:hello junk",
    "AUTH wrong",
    "AUTH nobody wrong",
    "AUTH a b c",
    "HELLO 9",
    "HELLO x",
    "ROLE",
    "ACL WHOAMI",
    "ACL USERS",
    "CLIENT GETNAME",
    "CLIENT SETNAME a_name",
    "CLIENT NONSENSE",
    "CLIENT ID extra",
    "COMMAND COUNT",
    "COMMAND DOCS save",
    "INFO nonsense",
    "SHUTDOWN NONSENSE",
    "SUBSCRIBE +sdown",
];

/// Where 8.0 answers otherwise than the 7.0 beside it here: Duke answers as 8.0.
const NEWER: &[(&str, &str)] = &[
    (
        "SENTINEL CONFIG GET",
        "ERR wrong number of arguments for 'sentinel|config' command",
    ),
    (
        "SENTINEL CONFIG NONSENSE a b",
        "ERR Only SENTINEL CONFIG GET <param> [<param> <param> ...] / SET <param> <value> \
         [<param> <value> ...] are supported.",
    ),
    (
        "ACL LIST",
        "user default on nopass sanitize-payload ~* &* +@all",
    ),
];

/// What both must answer with the same types and the same fields in the same order.
const ALIKE: &[&str] = &[
    "SENTINEL MASTERS",
    "SENTINEL MASTER lake",
    "SENTINEL REPLICAS lake",
    "SENTINEL SLAVES lake",
    "SENTINEL SENTINELS lake",
    "SENTINEL MYID",
    "SENTINEL INFO-CACHE lake",
    "HELLO 3",
    "HELLO 2",
    "CLIENT ID",
    "INFO",
];

/// The frame with every value but the names of fields reduced to its type.
fn shape(frame: &Frame) -> String {
    match frame {
        Frame::Map(pairs) => {
            let fields = pairs
                .iter()
                .map(|(key, value)| format!("{key:?}: {}", shape(value)));
            format!("map {{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Frame::Array(items) => {
            let items: Vec<String> = items.iter().map(shape).collect();
            format!("array {items:?}")
        }
        Frame::Set(items) => {
            let items: Vec<String> = items.iter().map(shape).collect();
            format!("set {items:?}")
        }
        Frame::Bulk(_) => "bulk".to_owned(),
        Frame::Simple(_) => "simple".to_owned(),
        Frame::Integer(_) => "integer".to_owned(),
        Frame::Error(text) => format!("error {text:?}"),
        Frame::BigNumber(_)
        | Frame::Boolean(_)
        | Frame::Double(_)
        | Frame::Null
        | Frame::NullArray
        | Frame::Push(_)
        | Frame::Verbatim { .. } => format!("{frame:?}"),
    }
}

/// Both sentinels of a group, asked the same.
struct Pair {
    duke: Wire,
    stock: Wire,
}

impl Pair {
    fn new(world: &World, typed: bool) -> Self {
        let connect = |index: usize| {
            let mut wire = world.sentinels[index].connect();
            if typed {
                wire.ask(&["HELLO", "3"]).unwrap();
            }
            wire
        };
        Self {
            duke: connect(0),
            stock: connect(1),
        }
    }

    fn ask(&mut self, line: &str) -> (Frame, Frame) {
        let words: Vec<&str> = line.split(' ').collect();
        (
            self.duke.raw(&words).unwrap(),
            self.stock.raw(&words).unwrap(),
        )
    }
}

/// A quiet group of one Duke and one stock sentinel that know everything of each other.
fn quiet_world(name: &str) -> World {
    let world = World::new(name, &[Kind::Duke, Kind::Stock]);
    world.settled();
    // A replica's fields are those of a healthy one once both have seen it in touch.
    for sentinel in &world.sentinels {
        wait_for("both replicas to be in touch", || {
            let reply = ask(sentinel.port, &["SENTINEL", "REPLICAS", "lake"]).unwrap();
            let shown = format!("{reply:?}");
            shown.matches("b\"ok\"").count() == 2
        });
    }
    world
}

fn compare(name: &str, typed: bool) {
    let world = quiet_world(name);
    let mut differences = Vec::new();
    for line in SAME {
        let (duke, stock) = Pair::new(&world, typed).ask(line);
        if duke != stock {
            differences.push(format!("{line}\n   duke: {duke:?}\n  stock: {stock:?}"));
        }
    }
    for (line, told) in NEWER {
        let (duke, _) = Pair::new(&world, typed).ask(line);
        let first = duke.as_array().and_then(<[Frame]>::first).unwrap_or(&duke);
        let text = first.as_error().or_else(|| first.as_text());
        if text.is_none_or(|text| *text != told.as_bytes()) {
            differences.push(format!("{line}\n   duke: {duke:?}\n    8.0: {told}"));
        }
    }
    for line in ALIKE {
        let (duke, stock) = Pair::new(&world, typed).ask(line);
        if shape(&duke) != shape(&stock) {
            let (duke, stock) = (shape(&duke), shape(&stock));
            differences.push(format!("{line}\n   duke: {duke}\n  stock: {stock}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn answers_are_those_of_the_stock_sentinel_in_resp2() {
    compare("resp2", false);
}

#[test]
fn answers_are_those_of_the_stock_sentinel_in_resp3() {
    compare("resp3", true);
}

#[test]
fn the_fields_of_a_master_stand_in_stocks_order() {
    let world = quiet_world("fields");
    let (duke, stock) = Pair::new(&world, false).ask("SENTINEL MASTER lake");
    let names = |frame: &Frame| {
        let all = frame.as_array().unwrap_or_default();
        all.iter().step_by(2).cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&duke), names(&stock));
}
