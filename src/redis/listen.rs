//! Listens to the Dukes' events and wakes the controller.
//!
//! One task per Pipeline holds one subscription per Duke. A message is only a reason to look: what
//! it says is never believed, the reconcile asks the Dukes themselves. Lost connections come back
//! with a growing pause; messages lost meanwhile cost nothing, since a new subscription wakes the
//! controller as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use tracing::debug;

use super::{Credentials, client};

/// What a Duke publishes that makes the controller look.
///
/// `+switch-master` is the one that moves clients; the others change what a plan would say.
const CHANNELS: [&str; 4] = ["+switch-master", "+reboot", "+sdown", "-sdown"];

/// The event that moves the master.
const SWITCH: &str = "+switch-master";

/// The shortest and longest pause before a lost subscription is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a connection may take before it counts as failed.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// What a listener reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// A Duke published something else, or a subscription has just begun.
    Look,
    /// A Duke published `+switch-master`.
    Switched,
}

/// Which Dukes of a Pipeline to listen to, and as whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Targets {
    /// The Dukes' addresses.
    pub dukes: BTreeSet<SocketAddr>,
    /// The operator's user at the Dukes.
    pub credentials: Credentials,
}

struct Listener {
    targets: watch::Sender<Targets>,
    task: AbortHandle,
}

/// Called by the listeners' tasks with the Pipeline concerned.
type Waker<K> = dyn Fn(&K, Wake) + Send + Sync;

/// All listeners, by Pipeline key.
pub struct Listeners<K> {
    wake: Arc<Waker<K>>,
    running: Mutex<BTreeMap<K, Listener>>,
}

impl<K: std::fmt::Debug> std::fmt::Debug for Listeners<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}

impl<K: Clone + Ord + Send + Sync + 'static> Listeners<K> {
    /// No listeners yet; `wake` is called from their tasks.
    #[must_use]
    pub fn new(wake: impl Fn(&K, Wake) + Send + Sync + 'static) -> Self {
        Self {
            wake: Arc::new(wake),
            running: Mutex::default(),
        }
    }

    /// Makes the Pipeline's listener follow exactly `targets`; starts it if there is none.
    pub fn follow(&self, key: &K, targets: Targets) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listener) = running.get(key) {
            listener.targets.send_if_modified(|current| {
                let changed = *current != targets;
                *current = targets;
                changed
            });
            return;
        }
        let (sender, receiver) = watch::channel(targets);
        let wake = Arc::clone(&self.wake);
        let owner = key.clone();
        let task = tokio::spawn(follow(receiver, move |event| wake(&owner, event)));
        running.insert(
            key.clone(),
            Listener {
                targets: sender,
                task: task.abort_handle(),
            },
        );
    }

    /// Ends the listeners of all Pipelines that `keep` does not name.
    pub fn retain(&self, keep: impl Fn(&K) -> bool) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|key, listener| {
            let kept = keep(key);
            if !kept {
                listener.task.abort();
            }
            kept
        });
    }
}

/// One Pipeline's listener: a task per Duke, started and ended as the targets change.
async fn follow(
    mut targets: watch::Receiver<Targets>,
    wake: impl Fn(Wake) + Send + Sync + 'static,
) {
    let wake = Arc::new(wake);
    let mut tasks: JoinSet<()> = JoinSet::new();
    let mut followed: BTreeMap<SocketAddr, AbortHandle> = BTreeMap::new();
    let mut credentials = None;
    loop {
        let wanted = targets.borrow_and_update().clone();
        if credentials.as_ref() != Some(&wanted.credentials) {
            tasks.abort_all();
            followed.clear();
            credentials = Some(wanted.credentials.clone());
        }
        followed.retain(|address, task| {
            let kept = wanted.dukes.contains(address);
            if !kept {
                task.abort();
            }
            kept
        });
        for address in wanted.dukes {
            let (wake, credentials) = (Arc::clone(&wake), wanted.credentials.clone());
            followed.entry(address).or_insert_with(|| {
                tasks.spawn(async move {
                    subscribe(address, &credentials, &*wake).await;
                })
            });
        }
        if targets.changed().await.is_err() {
            return;
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Holds one subscription for ever, with a growing pause between attempts.
async fn subscribe(
    address: SocketAddr,
    credentials: &Credentials,
    wake: &(impl Fn(Wake) + Sync),
) -> ! {
    let (shortest, longest) = PAUSE;
    let mut pause = shortest;
    loop {
        if let Err(error) = listen(address, credentials, wake, || pause = shortest).await {
            debug!(%address, %error, "lost a subscription to a duke");
        }
        tokio::time::sleep(pause).await;
        pause = longest.min(pause.saturating_mul(2));
    }
}

/// One subscription from connect to loss; `began` is called once it stands.
async fn listen(
    address: SocketAddr,
    credentials: &Credentials,
    wake: &(impl Fn(Wake) + Sync),
    mut began: impl FnMut(),
) -> Result<(), super::Error> {
    let limit = CONNECT_LIMIT;
    let silent = |_elapsed| super::Error::Silent { address, limit };
    let client = client(address, credentials)?;
    let ours = |error: &redis::RedisError| super::Error::from_redis(address, limit, error);
    let mut subscription = tokio::time::timeout(limit, client.get_async_pubsub())
        .await
        .map_err(silent)?
        .map_err(|error| ours(&error))?;
    tokio::time::timeout(limit, subscription.subscribe(&CHANNELS[..]))
        .await
        .map_err(silent)?
        .map_err(|error| ours(&error))?;
    began();
    // Whatever happened while nobody listened has to be looked at once.
    wake(Wake::Look);
    let mut messages = subscription.on_message();
    while let Some(message) = messages.next().await {
        wake(if message.get_channel_name() == SWITCH {
            Wake::Switched
        } else {
            Wake::Look
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        sync::mpsc,
    };

    use super::*;

    /// Accepts one client, answers AUTH and SUBSCRIBE, and hands the stream over.
    async fn accept(server: &TcpListener) -> TcpStream {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut seen = String::new();
        let mut buffer = [0_u8; 1024];
        while !seen.contains("-sdown") {
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the listener left early");
            let before = seen.contains("AUTH");
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            if seen.contains("AUTH") && !before {
                stream.write_all(b"+OK\r\n").await.unwrap();
            }
        }
        for (index, channel) in CHANNELS.iter().enumerate() {
            let text = format!(
                "*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:{}\r\n",
                channel.len(),
                index + 1
            );
            stream.write_all(text.as_bytes()).await.unwrap();
        }
        stream
    }

    #[tokio::test]
    async fn a_switch_wakes_and_a_lost_subscription_comes_back() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let (sender, mut woken) = mpsc::unbounded_channel();
        let listeners = Listeners::new(move |key: &u8, wake| {
            sender.send((*key, wake)).unwrap();
        });
        let credentials = Credentials {
            user: "operator".into(),
            password: "pw".into(),
        };
        listeners.follow(
            &7,
            Targets {
                dukes: [address].into(),
                credentials,
            },
        );

        let mut stream = accept(&server).await;
        assert_eq!(woken.recv().await, Some((7, Wake::Look)));
        let text = b"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$1\r\nx\r\n";
        stream.write_all(text).await.unwrap();
        assert_eq!(woken.recv().await, Some((7, Wake::Switched)));

        drop(stream);
        let _again = accept(&server).await;
        assert_eq!(woken.recv().await, Some((7, Wake::Look)));
        listeners.retain(|_| false);
    }
}
