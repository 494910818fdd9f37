//! Being let in: until our login was accepted on a connection, nothing that comes over it counts, and no
//! orders are given there. Questions may follow the login at once: if it is refused, nobody hears the answers.
//!
//! An address is no proof. A pod that is gone leaves its own to whoever comes next: a server without
//! a password answers PING to everybody, another group's Duke has opinions, too. What proves that somebody
//! belongs to this group is that it accepts the group's password; of a Duke also that it is the one that is
//! meant. Whoever refuses is silent, as if nobody were there, and its own words for it are kept for people.

use std::time::Duration;

use duke_resp::Frame;

use crate::{
    closed::{Closed, Owner},
    id::{LinkId, RequestId},
    input::LinkError,
    link::Purpose,
    mutation::Mutant,
    output::Output,
    words::shortened,
};

/// Between two logins at somebody who refuses us: soon enough that one refusal alone is nobody's death, seldom
/// enough not to fill the other's log.
const REFUSED: Duration = Duration::from_millis(500);
/// So much of a password is looked for in what a stranger says about it: some repeat what they were told.
const ECHO_CHARS: usize = 4;

impl Closed {
    /// A connection stands: the first thing said on it is who we are.
    pub(super) fn link_up(&mut self, link: LinkId) {
        let Some(owner) = self.owners.get(&link).cloned() else {
            return;
        };
        let now = self.now;
        if let Some(wire) = self.wire(&owner) {
            wire.greets(now, link);
        }
        let secret = self.secret(&owner).to_owned();
        if !secret.is_empty() {
            self.introduce(&owner, link, Purpose::Login, &["AUTH", "duke", &secret]);
        }
        let short = self.durable.id.get(..8).unwrap_or_default();
        let name = format!("sentinel-{short}-cmd");
        let name = ["CLIENT", "SETNAME", &name];
        match &owner {
            Owner::Node(address) => {
                if secret.is_empty() {
                    // A group without passwords, as some tests have, lets everybody in.
                    self.let_in(&owner, link);
                }
                self.ask_node(*address, Purpose::Greeting, &name);
                // It may be another process than the one that answered before.
                self.doubt(*address);
            }
            Owner::Peer(id) => {
                self.introduce(&owner, link, Purpose::Identity, &["SENTINEL", "MYID"]);
                self.ask_peer(id, Purpose::Greeting, &name);
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.next_hello = now;
                    peer.next_opinion = now;
                    peer.next_recovery = now;
                }
            }
        }
    }

    /// The password that whoever is there must accept.
    fn secret(&self, owner: &Owner) -> &str {
        match owner {
            Owner::Node(_) => &self.secrets.data,
            Owner::Peer(_) => &self.secrets.peer,
        }
    }

    /// Says something without which nothing that is said on this connection counts.
    fn introduce(&mut self, owner: &Owner, link: LinkId, purpose: Purpose, words: &[&str]) {
        let request = RequestId(self.number());
        if let Some(wire) = self.wire(owner) {
            wire.asked.insert(request, purpose);
            self.request(link, request, purpose, words);
        }
    }

    /// The login was answered. A Duke must also be the one that is meant: that was asked together with it.
    pub(super) fn logged_in(&mut self, owner: &Owner, link: LinkId, reply: &Frame) {
        if *reply != Frame::ok() && !self.mutated(Mutant::IgnoreRefusals) {
            let refusal = refusal(reply, self.secret(owner));
            return self.turned_away(owner, link, refusal);
        }
        if matches!(owner, Owner::Node(_)) {
            self.let_in(owner, link);
        }
    }

    /// A Duke that accepted our login said which one it is.
    pub(super) fn identified(&mut self, id: &str, link: LinkId, reply: &Frame) {
        let owner = Owner::Peer(id.to_owned());
        let said = reply.as_text().map(|text| String::from_utf8_lossy(text));
        if said.as_deref() == Some(id) {
            return self.let_in(&owner, link);
        }
        let said = said.map_or_else(|| "somebody else".to_owned(), |said| shortened(&said));
        self.turned_away(
            &owner,
            link,
            format!("ERR the Duke at this address is {said}"),
        );
    }

    /// Whoever is there belongs to the group: from now on what it says counts.
    fn let_in(&mut self, owner: &Owner, link: LinkId) {
        if let Some(wire) = self.wire(owner) {
            wire.admitted(link);
            if wire.refusal.take().is_some() {
                tracing::info!(?owner, "was let in again");
            }
        }
    }

    /// Whoever is there does not belong to the group, or does not know that we do: it is asked again later.
    fn turned_away(&mut self, owner: &Owner, link: LinkId, refusal: String) {
        let Some(wire) = self.wire(owner) else { return };
        if wire.refusal.as_ref() != Some(&refusal) {
            tracing::warn!(?owner, %refusal, "is refused, and counts whoever is there as absent");
            wire.refusal = Some(refusal);
        }
        self.overtake(Output::Disconnect { link });
        self.end_link(link, LinkError::Other, REFUSED);
    }
}

/// Why somebody did not let us in, fit to be shown to people: on one line, of bounded length, and without our
/// password.
fn refusal(reply: &Frame, secret: &str) -> String {
    let Frame::Error(text) = reply else {
        return "ERR the login was answered, but not with OK".to_owned();
    };
    let text = String::from_utf8_lossy(text);
    let echo: String = secret.chars().take(ECHO_CHARS).collect();
    let echoed = text.find(&echo).filter(|_| !echo.is_empty());
    let told = echoed.map_or(&text[..], |at| text.get(..at).unwrap_or_default());
    shortened(told.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_repeat_of_a_password_is_told_to_nobody() {
        let old = Frame::error(
            "ERR unknown command `AUTH`, with args beginning with: `duke`, `s3cretpass`, ",
        );
        let told = refusal(&old, "s3cretpass");
        assert_eq!(
            told,
            "ERR unknown command `AUTH`, with args beginning with: `duke`, `"
        );
        let usual = "WRONGPASS invalid username-password pair or user is disabled.";
        assert_eq!(refusal(&Frame::error(usual), "s3cretpass"), usual);
        let long = refusal(
            &Frame::error(format!("ERR {}\r\nx", "y".repeat(999))),
            "s3cretpass",
        );
        assert_eq!(long.len(), 128);
        assert!(refusal(&Frame::simple("PONG"), "s3cretpass").starts_with("ERR"));
    }
}
