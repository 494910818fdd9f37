//! The transaction that gives a server another role: which commands, and in what order.
//!
//! One for every role there is to give, in both kinds of groups. Whatever cuts clients off comes behind the new role,
//! so that nobody is back before it; what wakes those whose writes were held comes last.

use duke_resp::Frame;

use crate::info::{self, Role};

/// Where a server that follows nothing looks for its master: nobody listens there.
pub(crate) const NOWHERE: [&str; 2] = ["127.0.0.1", "1"];
/// To be a master, as `REPLICAOF` says it.
pub(crate) const NO_ONE: [&str; 2] = ["NO", "ONE"];

/// What belongs to the transaction besides the role.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Besides {
    /// The server keeps the role in its configuration file.
    pub(crate) rewrite: bool,
    /// Clients are cut off: they are to ask for the master anew.
    pub(crate) cut: bool,
    /// Clients' writes are held no longer.
    pub(crate) unpause: bool,
}

/// Whether a server that was told to follow nowhere was a master until then, by what it said first, and obeyed.
///
/// Only one of two leaders that move the same master at one time finds it so: the other one has nothing to promote
/// anybody for, and nothing to give back.
pub(crate) fn ended_a_reign(reply: &Frame) -> bool {
    let replies = reply.as_array().unwrap_or_default();
    let [said, obeyed, ..] = replies else {
        return false;
    };
    let was_master = said
        .as_text()
        .is_some_and(|text| info::read(text).role == Role::Master);
    was_master && obeyed.as_error().is_none()
}

/// The commands of it but the EXEC behind them. `order` is REPLICAOF, or its older name. Who is to follow nowhere says
/// first what it is until then.
pub(crate) fn commands<'a>(
    order: &'a str,
    [host, port]: [&'a str; 2],
    besides: Besides,
) -> Vec<Vec<&'a str>> {
    let Besides {
        rewrite,
        cut,
        unpause,
    } = besides;
    let mut all = vec![vec!["MULTI"]];
    if [host, port] == NOWHERE {
        all.push(vec!["INFO"]);
    }
    all.push(vec![order, host, port]);
    if rewrite {
        all.push(vec!["CONFIG", "REWRITE"]);
    }
    if cut {
        all.push(vec!["CLIENT", "KILL", "TYPE", "normal"]);
        all.push(vec!["CLIENT", "KILL", "TYPE", "pubsub"]);
    }
    if unpause {
        all.push(vec!["CLIENT", "UNPAUSE"]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leader_that_found_a_master_ended_its_reign() {
        let said = |role: &str| Frame::bulk(format!("run_id:r\r\nrole:{role}\r\n"));
        let (ok, refused) = (Frame::ok(), Frame::error("NOPERM"));
        let replies = [
            (Frame::Array(vec![said("master"), ok.clone()]), true),
            (Frame::Array(vec![said("slave"), ok.clone()]), false),
            (Frame::Array(vec![said("master"), refused.clone()]), false),
            (Frame::Array(vec![refused.clone(), ok]), false),
            (refused, false),
        ];
        for (reply, ended) in replies {
            assert_eq!(ended_a_reign(&reply), ended, "{reply:?}");
        }
    }
}
