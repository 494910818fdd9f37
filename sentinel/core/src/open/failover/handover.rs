//! A living master hands over to a replica, so that no write is lost: it takes no more of them
//! (`CLIENT PAUSE … WRITE`, since Redis 6.2), the replica gets all there are, and only then is promoted.
//!
//! Both kinds of `SENTINEL FAILOVER` begin so. A replica that has just been given its data hears of writes
//! only after its next acknowledgement, a second later; so a master that helps is asked several times, and
//! takes writes in between. The plain kind promises a new master, with or without the old one's help: if
//! nothing else is left, the replica is promoted as in an outage. The coordinated kind promises that
//! nothing is lost: it is called off then.
//!
//! Valkey 9 has the master do this by its own command `FAILOVER`, which waits up to a second for a
//! replica to say how far it is, writes standing still meanwhile. Both servers are asked here instead.

use std::time::Duration;

use duke_resp::Frame;

use super::{Failover, steering::ORDER_PERIOD};
use crate::{
    open::{
        Open,
        address::Address,
        event::Level,
        link::Way,
        master::Master,
        server::{Purpose, Reconf},
    },
    switchover::Cause,
    time::{Time, millis},
};

/// The longest that clients' writes wait at a time for a plain `SENTINEL FAILOVER`.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a plain one is kept from losing writes.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a master takes writes before it hands over again.
const REST: Duration = Duration::from_millis(500);

impl Open {
    /// How long clients' writes may wait; none if the present master is not asked to hand over.
    ///
    /// While it takes no writes, it takes no hellos either, and a sentinel that says one hears no PONG
    /// behind it: the pause must be over before anybody finds the master down for it.
    pub(super) fn pause_span(master: &Master) -> Option<Duration> {
        let server = &master.server;
        let helps = server.info.hands_over
            && server.command.up().is_some()
            && server.down.is_none()
            && !server.reports_slave;
        let most = match master.cause {
            Cause::Outage => return None,
            Cause::Order => PAUSE_MAX,
            Cause::Coordination => master.conf.failover_timeout,
        };
        let unseen = master.conf.down_after.checked_div(2).unwrap_or_default();
        helps.then_some(most.min(unseen))
    }

    /// Until when handing over is tried.
    pub(super) fn handover_limit(&self, master: &Master) -> Time {
        let all = master.conf.failover_timeout;
        let patience = match master.cause {
            Cause::Order => ORDER_PATIENCE.min(all),
            Cause::Coordination | Cause::Outage => all,
        };
        self.now.after(patience)
    }

    /// Has the master take no writes for `pause`, and waits until the target has all there are.
    pub(super) fn hand_over(
        &mut self,
        master: &mut Master,
        (epoch, target): (u64, u64),
        pause: Duration,
        limit: Time,
    ) {
        let (now, old) = (self.now, master.server.id);
        let client = master.renamed("CLIENT").to_owned();
        let words = [&client, "PAUSE", &millis(pause).to_string(), "WRITE"];
        self.ask(master, old, Purpose::Pause(epoch), &words);
        // What is published there would wait, and everything behind it: also what the disk still holds back.
        master.server.next_hello = now.after(pause);
        let hellos = master
            .server
            .unanswered(|purpose| *purpose == Purpose::Hello);
        self.take_back(&mut master.server, &hellos);
        master.server.doubt(now);
        // Asked behind the pause: what it has now is all it will have.
        self.inform(master, old);
        // The second half is for the promotion.
        let patience = pause.checked_div(2).unwrap_or_default();
        master.failover = Failover::HandingOver {
            epoch,
            target,
            until: now.after(patience),
            limit,
        };
        self.touched.insert(master.name.clone());
    }

    /// The master answered whether it waits.
    pub(crate) fn pause_answered(&mut self, master: &mut Master, in_epoch: u64, reply: &Frame) {
        let Failover::HandingOver { epoch, target, .. } = master.failover else {
            return;
        };
        if epoch != in_epoch {
            return;
        }
        if reply.as_error().is_some() {
            tracing::warn!(?reply, "the master does not hold its clients' writes");
            return self.end_handover(master);
        }
        // What the replica says from now on is compared.
        if let Some(server) = master.server_of_mut(target) {
            server.doubt(self.now);
        }
        self.inform(master, target);
    }

    /// Promotes the replica once it has everything the master has.
    pub(crate) fn handover_seen(&mut self, master: &mut Master) {
        let Failover::HandingOver { epoch, target, .. } = master.failover else {
            return;
        };
        let old = &master.server;
        let Some(new) = master.server_of(target) else {
            return;
        };
        let told = old.informed.is_some() && new.informed.is_some();
        let same = new.info.lineage.meets(&old.info.lineage) || !old.info.lineage.is_known();
        if told && same && new.in_touch() && new.info.offset >= old.info.offset {
            self.promote(master, epoch, target);
        }
    }

    /// The replica has not everything in time: the master hands over again after a rest, if it did its part.
    pub(super) fn pause_handover(&mut self, master: &mut Master) {
        let Failover::HandingOver { epoch, limit, .. } = master.failover else {
            return;
        };
        // INFO was asked behind the pause: who answered it has taken no writes since.
        let helped = master.server.informed.is_some() && master.server.down.is_none();
        if !helped || self.now.after(REST) >= limit {
            return self.end_handover(master);
        }
        self.release(master);
        let until = self.now.after(REST);
        master.failover = Failover::Resting {
            epoch,
            until,
            limit,
        };
        self.touched.insert(master.name.clone());
    }

    /// The master does not help, or there is no time left.
    pub(super) fn end_handover(&mut self, master: &mut Master) {
        let Failover::HandingOver { epoch, target, .. } = master.failover else {
            return;
        };
        match master.cause {
            Cause::Order => self.promote(master, epoch, target),
            Cause::Outage | Cause::Coordination => {
                self.master_event(master, Level::Warning, "-failover-abort-master-timeout");
                self.release(master);
                self.retry_later(master);
            }
        }
    }

    /// There will be no new master: the present one takes writes again.
    pub(super) fn release(&mut self, master: &mut Master) {
        if master.cause == Cause::Outage {
            return;
        }
        let old = master.server.id;
        self.unpause(master, old, Purpose::Nothing);
        master.server.next_hello = self.now;
    }

    /// The master that handed over follows the new one, at `to`, at once; its clients look for it anew. It is
    /// told before the file is written: a slow disk must not have it take writes again meanwhile. If this Duke
    /// forgets the new master in a crash, all see that the old one is none any more.
    pub(super) fn demote(&mut self, master: &mut Master, to: &Address) {
        let old = master.server.id;
        let by_name = self.conf.sentinel.announce_hostnames;
        let (host, port) = (to.shown(by_name), to.port.to_string());
        self.order(Way::Behind, master, old, Purpose::Order, &[&host, &port]);
        self.unpause(master, old, Purpose::Order);
    }

    /// What is known of the master that was told to follow the new one.
    pub(super) fn follows_at_once(&mut self, master: &mut Master, old: u64) {
        self.inform(master, old);
        let now = self.now;
        if let Some(server) = master.server_of_mut(old) {
            server.former = false;
            server.next_order = now.after(ORDER_PERIOD);
            server.reconf = Reconf::Sent(now);
        }
        self.server_event(master, old, Level::Notice, "+slave-reconf-sent");
    }

    /// Clients' writes go on, whatever the disk does; behind an order only together with it.
    fn unpause(&mut self, master: &mut Master, id: u64, purpose: Purpose) {
        let client = master.renamed("CLIENT").to_owned();
        self.ask_by(Way::Behind, master, id, purpose, &[&client, "UNPAUSE"]);
    }
}
