//! Hellos that say what was said before, which nearly all do: known by their bytes, without being read.

use duke_resp::{Bytes, Frame};

use super::{CHANNEL, Hello};
use crate::open::{Open, address::Address, master::Master};

/// A hello that told nothing new when it was last heard, and what it was heard against.
#[derive(Debug)]
pub(crate) struct Heard {
    text: Bytes,
    /// Where its sentinel was.
    at: Address,
    /// Where the master was, and in which epoch it was made.
    master: Address,
    config_epoch: u64,
}

impl Open {
    /// Remembers a hello after which everything is as it says.
    pub(super) fn note_hello(&self, master: &mut Master, hello: &Hello) {
        // A name may mean another address the next time.
        if self.conf.sentinel.resolve_hostnames {
            return;
        }
        let Some(witness) = master.sentinels.get_mut(&hello.id) else {
            return;
        };
        let Some(peer) = self.peers.get(&witness.peer) else {
            return;
        };
        let agrees = witness.believes == Some(master.config_epoch);
        witness.heard = agrees.then(|| Heard {
            text: Bytes::copy_from_slice(&hello.text),
            at: peer.address.clone(),
            master: master.server.address.clone(),
            config_epoch: master.config_epoch,
        });
    }

    /// Takes a hello that says nothing new, or is our own; false if it must be read.
    pub(crate) fn knows_hello(&mut self, text: &[u8]) -> bool {
        let mut fields = text.split(|byte| *byte == b',').skip(2);
        let (Some(id), Some(name)) = (fields.next(), fields.nth(1)) else {
            return false;
        };
        if id == self.conf.sentinel.id.as_bytes() {
            return true;
        }
        let (Ok(id), Ok(name)) = (str::from_utf8(id), str::from_utf8(name)) else {
            return false;
        };
        let Some(master) = self.masters.get_mut(name) else {
            return false;
        };
        let Some(witness) = master.sentinels.get_mut(id) else {
            return false;
        };
        let Some(heard) = &witness.heard else {
            return false;
        };
        let peer = self.peers.get(&witness.peer);
        let same = heard.text == text
            && heard.config_epoch == master.config_epoch
            && heard.master == master.server.address
            && peer.is_some_and(|peer| peer.address == heard.at);
        // After a longer silence its word is news: what a majority is needed for may go on.
        let life = self.periods.publish.saturating_mul(2);
        let recent = self.now.since(witness.last_hello) <= life;
        if same && recent {
            witness.last_hello = self.now;
        }
        same && recent
    }
}

/// The hello in a message of a channel, if it is one.
pub(crate) fn payload(message: &Frame) -> Option<&Bytes> {
    let [kind, channel, payload] = message.as_array()?.first_chunk()?;
    let is = |frame: &Frame, word: &str| frame.as_text().is_some_and(|text| *text == word);
    payload
        .as_text()
        .filter(|_| is(kind, "message") && is(channel, CHANNEL))
}
