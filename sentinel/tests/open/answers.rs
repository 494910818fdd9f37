//! Answer by answer beside the stock sentinel: types, fields and their order, error texts.

use std::collections::BTreeSet;

use duke_resp::Frame;

use crate::wire::{Wire, text};
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
    "PING a b",
    "ECHO x",
    "SELECT 0",
    "SET k v",
    "MULTI",
    "MONITOR",
    "PUBLISH",
    "PUBLISH a",
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "PSUBSCRIBE +*",
    "UNSUBSCRIBE",
    "UNSUBSCRIBE none",
    "PUNSUBSCRIBE",
    "ROLE x",
    "AUTH",
    "HELLO 3 AUTH",
    "HELLO 3 AUTH a b",
    "HELLO 3 SETNAME",
    "HELLO 2 NONSENSE",
    "SENTINEL MASTERS x",
    "SENTINEL MASTER lake x",
    "SENTINEL GET-MASTER-ADDR-BY-NAME",
    "SENTINEL CKQUORUM",
    "SENTINEL FAILOVER",
    "SENTINEL MYID x",
    "SENTINEL RESET",
    "SENTINEL MONITOR a b c",
    "SENTINEL REMOVE",
    "SENTINEL SET",
    "SENTINEL SET lake quorum",
    "SENTINEL SET lake quorum x",
    "SENTINEL SET lake parallel-syncs 0",
    "SENTINEL SET lake client-reconfig-script /nonexistent",
    "SENTINEL SET lake rename-command CONFIG",
    "SENTINEL SET lake auth-pass",
    "SENTINEL SET lake quorum 2 nonsense 7",
    "SENTINEL SET lake master-reboot-down-after-period -1",
    "SENTINEL CONFIG SET announce-port x",
    "SENTINEL CONFIG SET nonsense 7",
    "SENTINEL CONFIG SET resolve-hostnames maybe",
    "SENTINEL CONFIG GET resolve-hostnames",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 x *",
    "SENTINEL SIMULATE-FAILURE",
    "SENTINEL INFO-CACHE nobody other",
    "SENTINEL DEBUG ping-period 1000 nonsense",
    "ACL CAT nonsense",
    "ACL DELUSER default",
    "ACL DELUSER nobody",
    "ACL DRYRUN nobody ping",
    "ACL DRYRUN default ping",
    "ACL DRYRUN default nonsense",
    "ACL GENPASS x",
    "ACL GENPASS 0",
    "ACL GETUSER nobody",
    "ACL LOAD",
    "ACL SAVE",
    "ACL LOG RESET",
    "ACL LOG x",
    "ACL NONSENSE",
    "ACL SETUSER ops nonsense",
    "ACL SETUSER ops +@nonsense",
    "ACL SETUSER ops #00",
    "ACL SETUSER ops <none",
    "ACL SETUSER ops (+ping ~k",
    "ACL SETUSER ops ~* ~k",
    "ACL WHOAMI x",
    "CLIENT GETREDIR",
    "CLIENT TRACKINGINFO",
    "CLIENT NO-EVICT on",
    "CLIENT NO-EVICT maybe",
    "CLIENT UNPAUSE",
    "CLIENT PAUSE x",
    "CLIENT REPLY nonsense",
    "CLIENT UNBLOCK 99999",
    "CLIENT KILL 127.0.0.1:1",
    "CLIENT KILL ID 99999",
    "CLIENT KILL NONSENSE 1",
    "CLIENT LIST TYPE nonsense",
    "CLIENT SETNAME bad{name",
    "CLIENT CACHING yes",
    "CLIENT TRACKING on",
    "COMMAND INFO nonsense",
    "COMMAND INFO ping",
    "COMMAND NONSENSE",
    "COMMAND COUNT x",
];

/// Where Redis 7.0 answers otherwise than its successors: what Duke must say, beginning with this, and
/// exactly what the stock program says if it is one of those.
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
        "SENTINEL CONFIG SET announce-port",
        "ERR Only SENTINEL CONFIG GET <param>",
    ),
    (
        "SENTINEL CONFIG SET announce-port 7 announce-ip",
        "ERR Missing argument 'announce-ip' value",
    ),
    ("SENTINEL CONFIG GET loglevel", "loglevel"),
    ("SENTINEL CONFIG GET *", "resolve-hostnames"),
    (
        "ACL LIST",
        "user default on nopass sanitize-payload ~* &* +@all",
    ),
    ("ACL GETUSER default", "flags"),
    (
        "COMMAND GETKEYS ping",
        "ERR The command has no key arguments",
    ),
    // Arity, flags, categories and tips; that there are any is enough for the older one.
    (
        "COMMAND INFO auth hello info publish role subscribe shutdown ping",
        "",
    ),
    (
        "COMMAND INFO acl|setuser acl|cat client|kill client|info client|setname command|docs",
        "",
    ),
    ("COMMAND INFO sentinel|set sentinel|help", ""),
    ("CLIENT SETINFO lib-name a", "OK"),
    (
        "CLIENT SETINFO nonsense a",
        "ERR Unrecognized option 'nonsense'",
    ),
];

/// Where Valkey says the same in other words than Redis, and Duke in Redis's.
const VALKEY: &[&str] = &[
    // "This instance is not configured", without Redis's name.
    "ACL LOAD", "ACL SAVE",
];

/// Lists in no order that names: Duke's has everything that stock's has, and Valkey's names besides.
const LISTS: &[&str] = &[
    "ACL CAT admin",
    "ACL CAT connection",
    "ACL CAT dangerous",
    "ACL CAT fast",
    "ACL CAT pubsub",
    "ACL CAT slow",
    "COMMAND LIST",
    "COMMAND LIST FILTERBY ACLCAT dangerous",
    "COMMAND LIST FILTERBY PATTERN p*",
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
    "INFO server",
    "INFO clients stats",
    "INFO sentinel",
    "ACL CAT",
    "ACL GENPASS 5",
    "ACL LOG",
    "CLIENT INFO",
    "CLIENT LIST",
    "COMMAND INFO info",
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
        | Frame::Push(_) => format!("{frame:?}"),
        Frame::Verbatim { .. } => "verbatim".to_owned(),
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

/// What the stock program says it is.
fn server_info(world: &World) -> String {
    world.sentinels[1].text(&["INFO", "server"]).unwrap()
}

/// The text of a frame, or of the first within it.
fn first_text(frame: &Frame) -> String {
    let first = if let Frame::Map(pairs) = frame {
        pairs.first().map(|(key, _)| key)
    } else {
        frame.as_array().and_then(<[Frame]>::first)
    };
    let first = first.unwrap_or(frame);
    let error = first
        .as_error()
        .map(|error| String::from_utf8_lossy(error).into_owned());
    error.unwrap_or_else(|| text(first))
}

fn names(frame: &Frame) -> BTreeSet<String> {
    frame
        .as_array()
        .unwrap_or_default()
        .iter()
        .map(text)
        .collect()
}

fn compare(name: &str, typed: bool) {
    let world = quiet_world(name);
    let mut differences = Vec::new();
    let is_valkey = server_info(&world).contains("server_name:valkey");
    for line in SAME {
        let (duke, stock) = Pair::new(&world, typed).ask(line);
        let differs = is_valkey && VALKEY.contains(line);
        if (duke != stock) != differs {
            differences.push(format!("{line}\n   duke: {duke:?}\n  stock: {stock:?}"));
        }
    }
    let old = server_info(&world).contains("redis_version:7.0.");
    for (line, told) in NEWER {
        let (duke, stock) = Pair::new(&world, typed).ask(line);
        if !first_text(&duke).starts_with(told) || (!old && duke != stock) {
            differences.push(format!(
                "{line}\n   duke: {duke:?}\n  stock: {stock:?}\n expect: {told}"
            ));
        }
    }
    for line in LISTS {
        let (duke, stock) = Pair::new(&world, typed).ask(line);
        let (duke, stock) = (names(&duke), names(&stock));
        let missing: Vec<_> = stock.difference(&duke).collect();
        let more: Vec<_> = duke
            .difference(&stock)
            .filter(|name| !name.contains("primar") && *name != "client|setinfo")
            .collect();
        if !missing.is_empty() || !more.is_empty() {
            differences.push(format!(
                "{line}\n   missing: {missing:?}\n   more: {more:?}"
            ));
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

/// A request as client libraries write it.
fn request(line: &str) -> Vec<u8> {
    let words = line
        .split(' ')
        .map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let words: Vec<String> = words.collect();
    format!("*{}\r\n{}", words.len(), words.concat()).into_bytes()
}

#[test]
fn questions_among_other_commands_are_answered_in_order_and_counted() {
    let world = World::new("order", &[Kind::Duke]);
    let port = world.settled().to_string();
    let question = "SENTINEL GET-MASTER-ADDR-BY-NAME lake";
    let address = |reply: &Frame| {
        let words = reply.as_array().unwrap().iter().map(text);
        assert_eq!(words.collect::<Vec<_>>(), ["127.0.0.1", port.as_str()]);
    };
    let mut wire = world.sentinels[0].connect();
    let commands = |wire: &mut Wire| {
        let stats = text(&wire.ask(&["INFO", "stats"]).unwrap());
        let (_, rest) = stats.split_once("total_commands_processed:").unwrap();
        rest.trim_end().parse::<u64>().unwrap()
    };
    let before = commands(&mut wire);
    // Each of these changes how the next question is answered, or waits for the disk.
    let flushed = "SENTINEL FLUSHCONFIG";
    let lines = [
        "PING",
        flushed,
        "HELLO 3",
        "CLIENT REPLY SKIP",
        "SUBSCRIBE +x",
    ];
    let mut requests = request(question);
    for line in lines {
        requests.extend(request(line));
        requests.extend(request(question).repeat(3));
    }
    wire.send(&requests).unwrap();
    address(&wire.receive().unwrap());
    for line in lines {
        if line != "CLIENT REPLY SKIP" {
            assert!(wire.receive().unwrap().as_error().is_none(), "{line}");
        }
        let skipped = usize::from(line == "CLIENT REPLY SKIP");
        for _ in skipped..3 {
            address(&wire.receive().unwrap());
        }
    }
    wire.send(&request(question).repeat(200)).unwrap();
    for _ in 0..200 {
        address(&wire.receive().unwrap());
    }
    let list = text(
        &world.sentinels[0]
            .ask(&["CLIENT", "LIST", "ID", "x"])
            .unwrap(),
    );
    assert_eq!(list, "");
    let own = text(&wire.ask(&["CLIENT", "ID"]).unwrap());
    wire.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "lake"])
        .unwrap();
    let list = world.sentinels[0].ask(&["CLIENT", "LIST", "ID", &own]);
    let list = text(&list.unwrap());
    assert!(list.contains(" cmd=sentinel "), "{list}");
    let more = 1 + lines.len() * 4 + 200 + 4 + 1;
    assert_eq!(commands(&mut wire), before + u64::try_from(more).unwrap());
}
