//! Is somebody down? Alone (`S_DOWN`) by silence or by evidence, and together (`O_DOWN`) by asking.

use std::{net::SocketAddr, time::Duration};

use duke_resp::Frame;

use crate::{
    closed::{
        Closed,
        durable::process_name,
        failover::Failover,
        node::{Holding, Told},
    },
    info::{self, Lineage, Novelty, Role},
    link::Purpose,
    time::Time,
};

/// Between two questions to the others about a master that is down.
const OPINION_PERIOD: Duration = Duration::from_millis(100);
/// How long another Duke's finding counts: it is asked anew ten times meanwhile. Sentinel: five
/// times its ask-period.
const OPINION_LIFE: Duration = Duration::from_secs(1);

/// How long a master that made way is waited for: its leader promotes another node or gives it its role back.
const HANDOVER: Duration = Duration::from_secs(1);

/// How long a master that restarted is doubted although the others find it well. They notice a restart
/// within a second, if they are in touch with it.
const DOUBT: Duration = Duration::from_secs(5);

impl Closed {
    /// A master that restarted is doubted. A server that starts follows nothing: if it is master all the same,
    /// an elected leader gave it its place again, and perhaps died before it could tell. So if somebody who
    /// believes in the same master finds it well long after everybody in touch with it must have noticed, and
    /// of a majority that was heard too few doubt it to replace it, its process is taken for the master's.
    fn yield_to_the_content(&mut self) {
        let now = self.now;
        let doubted = self.durable.master.and_then(|master| {
            let node = self.nodes.get(&master)?;
            let down = node.down.filter(|_| node.restarted && node.is_master())?;
            let since = down.max(node.role_since);
            let heard = node.informed.is_some() && now.since(since) >= DOUBT;
            heard.then_some((master, since))
        });
        let Some((master, since)) = doubted.filter(|_| !self.agreed_down) else {
            return;
        };
        let told = |at: &Time| *at > since && now.since(*at) <= OPINION_LIFE;
        let peers = || self.peers.values().filter(|peer| self.is_of_one_mind(peer));
        let content = peers()
            .filter(|peer| peer.master_up.is_some_and(|at| told(&at)))
            .count();
        let doubting = peers()
            .filter(|peer| peer.master_down.is_some_and(|at| told(&at)))
            .count();
        let heard = content.saturating_add(doubting).saturating_add(1);
        if content == 0 || heard < self.durable.majority() {
            return;
        }
        let mut process = String::new();
        if let Some(node) = self.nodes.get_mut(&master) {
            node.restarted = false;
            node.info.run_id.clone_into(&mut process);
        }
        self.remember_process(&process);
    }

    /// Marks who is down and who is back.
    pub(crate) fn judge(&mut self) {
        self.yield_to_the_content();
        let down_after = self.master_settings().down_after;
        let now = self.now;
        let silent = |since: Option<Time>| since.is_some_and(|since| now.since(since) > down_after);
        let mut fell = Vec::new();
        let mut rose = Vec::new();
        let master = self.durable.master;
        let deserted = self.is_deserted();
        for node in self.nodes.values_mut() {
            let left = |since: Time| deserted || now.since(since) >= HANDOVER;
            let lost =
                master == Some(node.address) && (node.restarted || node.demoted.is_some_and(left));
            // It is back once it has said what it is: it may be another process than the one before.
            let back = node.informed.is_some() || master != Some(node.address);
            match (silent(node.wire.silent_since()) || lost, node.down) {
                (false, Some(_)) if !back => {}
                (true, None) => {
                    node.down = Some(now);
                    fell.push(node.address);
                }
                (false, Some(_)) => {
                    node.down = None;
                    rose.push(node.address);
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        let mut peers_changed = Vec::new();
        for peer in self.peers.values_mut() {
            match (silent(peer.wire.silent_since()), peer.down) {
                (true, None) => {
                    peer.down = Some(now);
                    peers_changed.push(("+sdown", peer.id.clone()));
                }
                (false, Some(_)) => {
                    peer.down = None;
                    peers_changed.push(("-sdown", peer.id.clone()));
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        for address in fell {
            self.publish_node("+sdown", address);
            if master == Some(address) {
                // The others are asked at once, and everybody is looked at while there is doubt.
                for peer in self.peers.values_mut() {
                    peer.next_opinion = now;
                }
                for node in self.nodes.values_mut() {
                    node.next_info = now;
                }
            }
        }
        for address in rose {
            self.publish_node("-sdown", address);
        }
        for (name, id) in peers_changed {
            self.publish_peer(name, &id);
        }
    }

    /// Whether the master made way for a Duke that cannot be reached any more: nobody waits for its next step.
    pub(crate) fn is_deserted(&self) -> bool {
        let master = self.durable.master.and_then(|at| self.nodes.get(&at));
        let made_way = master.is_some_and(|node| node.demoted.is_some());
        let leader = self.peers.get(&self.durable.leader);
        let gone = leader.is_none_or(|peer| peer.wire.up().is_none());
        made_way && gone && self.waits_for_another()
    }

    /// When a master that made way is waited for no longer.
    pub(crate) fn handover_expiry(&self) -> Option<Time> {
        let node = self.nodes.get(&self.durable.master?)?;
        let expiry = node.demoted?.after(HANDOVER);
        node.down.is_none().then_some(expiry)
    }

    /// Whether this Duke finds the master down.
    pub(crate) fn master_down(&self) -> Option<Time> {
        self.nodes.get(&self.durable.master?)?.down
    }

    /// Whether the others' opinion of the master is needed.
    pub(crate) fn wants_opinions(&self) -> bool {
        self.durable.memory && self.master_down().is_some()
    }

    /// The epoch in which a peer is to be asked for its vote: its answer may have been lost.
    fn vote_missing(&self, id: &str) -> Option<u64> {
        let Failover::Candidate { epoch, .. } = self.failover else {
            return None;
        };
        let vote = self.peers.get(id)?.vote.as_ref();
        vote.is_none_or(|(_, at)| *at < epoch).then_some(epoch)
    }

    /// Asks the others what they think of the master, and draws the conclusion.
    pub(crate) fn consult(&mut self) {
        if self.wants_opinions() {
            let due: Vec<String> = self
                .peers
                .values()
                .filter(|peer| peer.wire.reached().is_some() && peer.next_opinion <= self.now)
                .map(|peer| peer.id.clone())
                .collect();
            for id in due {
                self.ask_opinion(&id, self.vote_missing(&id));
            }
        }
        let quorum = usize::try_from(self.durable.quorum.max(1)).unwrap_or(usize::MAX);
        let count = self.finding_down();
        let agreed = self.master_down().is_some() && count >= quorum;
        if agreed != self.agreed_down {
            self.agreed_down = agreed;
            if agreed {
                self.publish_master("+odown", &format!("#quorum {count}/{quorum}"));
            } else {
                self.publish_master("-odown", "");
            }
        }
    }

    /// How many Dukes find the master down, this one included.
    pub(crate) fn finding_down(&self) -> usize {
        let fresh = |since| self.now.since(since) <= OPINION_LIFE;
        let others = self.peers.values().filter_map(|peer| peer.master_down);
        let own = usize::from(self.master_down().is_some());
        others
            .filter(|since| fresh(*since))
            .count()
            .saturating_add(own)
    }

    /// Asks one Duke whether it finds the master down, and for its vote in `epoch`.
    pub(crate) fn ask_opinion(&mut self, id: &str, epoch: Option<u64>) {
        let Some(master) = self.durable.master else {
            return;
        };
        let now = self.now;
        let (ip, port) = (master.ip().to_string(), master.port().to_string());
        let current = epoch.unwrap_or(self.durable.current_epoch).to_string();
        let generation = self.durable.generation.to_string();
        let name = if epoch.is_some() {
            self.durable.id.clone()
        } else {
            "*".to_owned()
        };
        let words = [
            "SENTINEL",
            "is-master-down-by-addr",
            &ip,
            &port,
            &current,
            &name,
            &generation,
        ];
        self.ask_peer(id, Purpose::Opinion(epoch), &words);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.next_opinion = now.after(OPINION_PERIOD);
        }
    }

    /// Another Duke answered what it thinks, and perhaps for whom it voted.
    pub(crate) fn opinion(&mut self, id: &str, epoch: Option<u64>, reply: &Frame) {
        let Some([down, leader, leader_epoch]) = reply.as_array().and_then(|all| all.first_chunk())
        else {
            return;
        };
        let now = self.now;
        let down = down.as_integer() == Some(1);
        let leader = leader
            .as_text()
            .map(|text| String::from_utf8_lossy(text).into_owned());
        let voted = leader_epoch
            .as_integer()
            .and_then(|number| u64::try_from(number).ok());
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        peer.master_down = down.then_some(now);
        peer.master_up = (!down).then_some(now);
        if let (Some(_), Some(leader), Some(voted)) = (epoch, leader, voted) {
            if leader != "*" {
                peer.vote = Some((leader, voted));
            }
            self.voted(id, epoch);
        }
    }

    /// Another Duke asked what this one thinks: it would not if it did not find the master down.
    pub(crate) fn asked_opinion(&mut self, id: &str) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.master_down = Some(self.now);
            peer.master_up = None;
        }
    }

    /// The master's process was seen at its work.
    fn remember_process(&mut self, run_id: &str) {
        let name = process_name(run_id);
        if !name.is_empty() && self.durable.process != name {
            self.durable.process = name;
            self.persist();
        }
    }

    /// A replica that was in touch with the master in its reign tells of the master's history, as long as the master
    /// itself has not; and after that if it heard the master later than this Duke did: a master names its history anew
    /// when its first replica comes. It may take a connection to a former process of the master for alive: then it
    /// tells of an older history than others, or, where nothing is known of the one before, has not heard of the
    /// master for long.
    fn hear_history(&mut self, address: SocketAddr) {
        let (now, former) = (self.now, self.former_lineage.as_ref());
        let Some(node) = self.nodes.get(&address) else {
            return;
        };
        let told = &node.info.lineage;
        let ago = Time::from_millis(node.unheard_seconds().saturating_mul(1000));
        let heard = now.since(ago);
        let later = heard >= self.lineage_heard;
        let newer = |known: &Lineage| {
            let (novelty, other) = (told.novelty(former), known.novelty(former));
            novelty > other || (novelty == other && later)
        };
        let known = self.lineage.as_ref();
        let asks = self.lineage_told == Told::Master;
        let believed = match self.lineage_told {
            Told::Former => true,
            Told::Replica => known.is_none_or(newer),
            Told::Master => {
                let other = known.is_none_or(|known| known.now != told.now);
                other && later && told.novelty(former) != Novelty::Former
            }
        };
        if !believed || !told.is_known() {
            return;
        }
        self.lineage = Some(told.clone());
        self.lineage_told = Told::Replica;
        self.lineage_heard = heard;
        let master = self.durable.master.filter(|_| asks);
        if let Some(master) = master.and_then(|master| self.nodes.get_mut(&master)) {
            // It is asked for its own word.
            master.next_info = now;
        }
    }

    /// A node answered INFO.
    pub(crate) fn informed(&mut self, address: SocketAddr, reply: &Frame) {
        let Some(text) = reply.as_text() else { return };
        let read = info::read(text);
        let now = self.now;
        let master = self.durable.master;
        let Some(node) = self.nodes.get_mut(&address) else {
            return;
        };
        let known = std::mem::replace(&mut node.info, read);
        let first = node.informed.is_none() && known.run_id.is_empty();
        let before = if first && master == Some(address) {
            &self.durable.process
        } else {
            &known.run_id
        };
        let other_process = !before.is_empty() && *before != node.info.run_id;
        let same_process = !before.is_empty() && !other_process;
        node.informed = Some(now);
        node.pointing = false;
        let changed = known.role.word() != node.info.role.word();
        if changed {
            node.role_since = now;
        }
        if other_process || (first && node.info.role.is_blank()) {
            node.holding = Holding::Stale;
        }
        let follows = |master| node.info.role.follows(master) && !node.info.unsynced;
        node.apart |= !master.is_some_and(follows);
        if master.is_some_and(|master| node.has_touched(master)) {
            node.holding = Holding::Whole;
            node.stray = None;
            self.formers.remove(&address);
            self.hear_history(address);
        }
        let Some(node) = self.nodes.get_mut(&address) else {
            return;
        };
        let is_slave = matches!(node.info.role, Role::Replica { .. });
        let makes_way = node.makes_way(now, same_process && master == Some(address));
        let anew = other_process || (is_slave && !makes_way);
        let restarted = master == Some(address) && anew && !node.restarted;
        node.restarted |= restarted;
        // Servers start as replicas of nothing: one that restarted and takes writes was made master again by a
        // leader this Duke has not heard of yet, and what it has now is what goes on.
        if master == Some(address) && node.is_master() {
            self.lineage = Some(node.info.lineage.clone());
            self.lineage_told = Told::Master;
            self.lineage_heard = now.since(Time::default());
            if !node.restarted {
                let process = node.info.run_id.clone();
                self.remember_process(&process);
            }
        }
        if restarted {
            self.publish_node("+reboot", address);
        }
        if changed && known.role != Role::Unknown {
            self.publish_node("+role-change", address);
        }
        self.selection_informed(address);
        self.promotion_seen(address);
    }
}
