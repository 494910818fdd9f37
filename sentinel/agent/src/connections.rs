//! Who may be connected: so many at a time, and nobody at the expense of others.
//!
//! When all places are taken, whoever holds most of them loses its oldest. A stranger can thus keep
//! neither the kubelet nor anybody else from being answered, however many connections it opens and
//! whatever it does with them.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use tokio::task::AbortHandle;

/// Connections that are served at a time.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// The connections that are served now.
#[derive(Debug, Default)]
pub(crate) struct Connections(VecDeque<Connection>);

#[derive(Debug)]
struct Connection {
    from: IpAddr,
    task: AbortHandle,
}

impl Connections {
    /// Takes in one more, which `task` serves; ends another one if they are too many.
    pub(crate) fn admit(&mut self, from: IpAddr, task: AbortHandle) {
        self.0.retain(|known| !known.task.is_finished());
        let from = from.to_canonical();
        self.0.push_back(Connection { from, task });
        if self.0.len() > CONNECTIONS_MAX
            && let Some(dearest) = self.dearest()
            && let Some(ended) = self.0.remove(dearest)
        {
            ended.task.abort();
        }
    }

    /// The oldest connection of whoever has most.
    fn dearest(&self) -> Option<usize> {
        let mut counts = BTreeMap::<IpAddr, usize>::new();
        for known in &self.0 {
            *counts.entry(known.from).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        self.0
            .iter()
            .position(|known| counts.get(&known.from) == Some(&most))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// A connection from 10.0.0.`host` that lasts.
    fn lasting(connections: &mut Connections, host: u8) -> AbortHandle {
        let task = tokio::spawn(pending::<()>()).abort_handle();
        connections.admit(IpAddr::from([10, 0, 0, host]), task.clone());
        task
    }

    async fn ended(tasks: &[AbortHandle]) -> usize {
        tokio::task::yield_now().await;
        tasks.iter().filter(|task| task.is_finished()).count()
    }

    #[tokio::test]
    async fn whoever_has_most_loses_the_oldest() {
        let mut connections = Connections::default();
        let few: Vec<_> = (0..4).map(|_| lasting(&mut connections, 1)).collect();
        let many: Vec<_> = (0..100).map(|_| lasting(&mut connections, 2)).collect();
        let late = lasting(&mut connections, 3);
        assert_eq!(ended(&few).await, 0);
        assert_eq!(ended(&[late]).await, 0);
        assert_eq!(ended(&many).await, 4 + 100 + 1 - CONNECTIONS_MAX);
        assert_eq!(ended(&many[..41]).await, 41, "the oldest ones");
    }

    #[tokio::test]
    async fn connections_that_ended_by_themselves_take_no_place() {
        let mut connections = Connections::default();
        let short: Vec<_> = (0..60).map(|_| lasting(&mut connections, 1)).collect();
        for task in &short {
            task.abort();
        }
        tokio::task::yield_now().await;
        let lasting: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|_| lasting(&mut connections, 2))
            .collect();
        assert_eq!(ended(&lasting).await, 0);
    }

    #[tokio::test]
    async fn an_address_is_the_same_in_both_families() {
        let mut connections = Connections::default();
        let oldest = lasting(&mut connections, 1);
        for _ in 0..CONNECTIONS_MAX / 2 {
            lasting(&mut connections, 2);
        }
        for _ in 0..CONNECTIONS_MAX / 2 {
            let task = tokio::spawn(pending::<()>()).abort_handle();
            connections.admit("::ffff:10.0.0.1".parse().unwrap(), task);
        }
        assert_eq!(ended(&[oldest]).await, 1);
    }
}
