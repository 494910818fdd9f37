//! `SENTINEL DEBUG`: the time constants.

use std::time::Duration;

use duke_resp::Frame;

use crate::{
    open::{Open, Periods},
    time::millis,
    words::Words,
};

impl Periods {
    /// All constants by their names, in the order in which they are told.
    fn all(&mut self) -> [(&'static str, &mut Duration); 13] {
        [
            ("INFO-PERIOD", &mut self.info),
            ("PING-PERIOD", &mut self.ping),
            ("ASK-PERIOD", &mut self.ask),
            ("PUBLISH-PERIOD", &mut self.publish),
            ("DEFAULT-DOWN-AFTER", &mut self.down_after),
            ("DEFAULT-FAILOVER-TIMEOUT", &mut self.failover_timeout),
            ("TILT-TRIGGER", &mut self.tilt_trigger),
            ("TILT-PERIOD", &mut self.tilt),
            ("SLAVE-RECONF-TIMEOUT", &mut self.slave_reconf),
            ("MIN-LINK-RECONNECT-PERIOD", &mut self.reconnect),
            ("ELECTION-TIMEOUT", &mut self.election),
            ("SCRIPT-MAX-RUNTIME", &mut self.script_max),
            ("SCRIPT-RETRY-DELAY", &mut self.script_retry),
        ]
    }
}

impl Open {
    pub(super) fn debug_command(&mut self, words: Words<'_>) -> Frame {
        if words.len() == 2 {
            let all = self.periods.all();
            let pairs = all
                .map(|(name, value)| (Frame::bulk(name), Frame::bulk(millis(*value).to_string())));
            return Frame::Map(pairs.to_vec());
        }
        let mut at = 2;
        let mut refusal = None;
        while at < words.len() && refusal.is_none() {
            let name = words.text(at);
            let value = words
                .0
                .get(at.saturating_add(1))
                .map(|_| words.text(at.saturating_add(1)));
            refusal = self.debug_set(name, value).err();
            at = at.saturating_add(2);
        }
        // Whoever waits by an old period is looked after anew.
        let now = self.now;
        let names: Vec<String> = self.masters.keys().cloned().collect();
        for name in names {
            self.with(&name, |open, master| {
                for server in master.servers_mut() {
                    server.command.hurry(now, open.periods.ping);
                    server.next_info = server.next_info.min(now.after(open.periods.info));
                    server.next_hello = server.next_hello.min(now.after(open.periods.publish));
                }
            });
        }
        for (number, peer) in &mut self.peers {
            peer.wire.hurry(now, self.periods.ping);
            self.awake.insert(*number);
        }
        refusal.map_or_else(Frame::ok, Frame::error)
    }

    fn debug_set(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let all = self.periods.all();
        let found = all
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (Some((known, period)), Some(value)) = (found, value) else {
            return Err(format!(
                "ERR Unknown option or number of arguments for SENTINEL DEBUG '{name}'"
            ));
        };
        let millis = value.parse::<u32>().ok().filter(|millis| *millis > 0);
        let millis = millis.ok_or_else(|| {
            let known = known.to_ascii_lowercase();
            format!("ERR Invalid argument '{value}' for SENTINEL DEBUG '{known}'")
        })?;
        *period = Duration::from_millis(millis.into());
        Ok(())
    }
}
