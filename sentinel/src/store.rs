//! Duke's memory on disk: one small file, replaced as a whole.
//!
//! Decides when a state counts as durable, and nothing about what it says. Writes beside the event
//! loop, so a slow disk delays only what waits for it. A crash at any moment leaves the old file or
//! the new one: the text goes to a second file in the same folder, is flushed, takes the place of
//! the old one, and then the folder is flushed. Only after that is a state acknowledged.
//!
//! Every file ends in a seal (a checksum over all before it). A Duke that forgot a vote may vote
//! twice, so a file that was cut short or changed is a fatal error and never read as "no memory".

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use duke_core::conf;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

/// How long to wait after a failed write, the first time and at most.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// From here on a write is worth a word: votes wait for it, and masters for votes.
const SLOW: Duration = Duration::from_millis(500);
const SEAL: &str = "# seal ";

/// Why the state file cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file was cut short, or changed by someone else.
    #[error(
        "the state file {} is damaged ({reason}); Duke does not start without its memory, because \
         it could vote twice: restore the file, or move it away to start as a newcomer that asks \
         the other Dukes before it votes",
        path.display()
    )]
    Damaged {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The folder the file would stand in does not exist.
    #[error(
        "the folder {} of the state file does not exist; create it, or name another file with \
         `duke state`",
        path.display()
    )]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The file exists and cannot be read.
    #[error("cannot read the state file {}", path.display())]
    Unreadable {
        /// The state file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Reads the state that was last made durable at `path`; `None` if there never was one.
///
/// # Errors
///
/// A file that exists and is not exactly what was written, or a folder that does not exist.
pub fn load(path: &Path) -> Result<Option<String>, StoreError> {
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(StoreError::NoFolder {
            path: folder.to_owned(),
        });
    }
    match fs::read(path) {
        Ok(bytes) => unseal(&bytes)
            .map(Some)
            .map_err(|reason| StoreError::Damaged {
                path: path.to_owned(),
                reason,
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

/// What became of a state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// Everything up to this sequence is durable.
    Durable(u64),
    /// This one could not be written; it is tried again.
    Failed(u64),
}

/// How a file is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// As it is: a file that people write, too.
    Plain,
    /// With a seal, which tells a damaged file from a whole one.
    Sealed,
}

/// The one writer of the state file.
///
/// A newer state replaces an older one that was not begun yet; the acknowledgement of a sequence
/// therefore stands for all before it.
#[derive(Debug)]
pub struct Store {
    wanted: watch::Sender<Option<Save>>,
}

#[derive(Clone, Debug)]
struct Save {
    sequence: u64,
    text: String,
}

impl Store {
    /// Starts the writer; what becomes of every state is sent to `written`.
    #[must_use]
    pub fn start(path: PathBuf, form: Form, written: mpsc::UnboundedSender<Written>) -> Self {
        let (wanted, receiver) = watch::channel(None);
        tokio::spawn(run(path, form, receiver, written));
        Self { wanted }
    }

    /// Asks for `text` to be made durable; returns at once.
    pub fn save(&self, sequence: u64, text: String) {
        self.wanted.send_replace(Some(Save { sequence, text }));
    }
}

async fn run(
    path: PathBuf,
    form: Form,
    mut wanted: watch::Receiver<Option<Save>>,
    outcomes: mpsc::UnboundedSender<Written>,
) {
    let mut pause = None;
    loop {
        // After a failure a newer state is tried at once, the same one after a pause.
        match pause {
            None if wanted.changed().await.is_err() => return,
            None => {}
            Some(pause) => {
                if let Ok(Err(_)) = timeout(pause, wanted.changed()).await {
                    return;
                }
            }
        }
        let Some(Save { sequence, text }) = wanted.borrow_and_update().clone() else {
            continue;
        };
        let target = path.clone();
        let bytes = match form {
            Form::Plain => conf::encode(&text),
            Form::Sealed => seal(&text).into_bytes(),
        };
        let begun = Instant::now();
        let written = spawn_blocking(move || write(&target, bytes)).await;
        if begun.elapsed() >= SLOW {
            let millis = begun.elapsed().as_millis();
            warn!(path = %path.display(), %millis, "the disk is slow; elections wait for it");
        }
        match written.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
            Ok(()) => {
                if pause.take().is_some() {
                    info!(path = %path.display(), "wrote the state file again");
                }
                if outcomes.send(Written::Durable(sequence)).is_err() {
                    return;
                }
            }
            Err(error) => {
                let (first, most) = RETRY_PAUSE;
                pause = Some(pause.map_or(first, |pause| most.min(pause * 2)));
                if outcomes.send(Written::Failed(sequence)).is_err() {
                    return;
                }
                error!(
                    path = %path.display(),
                    %error,
                    "could not write the state file; nothing that depends on it is answered"
                );
            }
        }
    }
}

/// Replaces the file at `path` so that a crash leaves the old text or the new one.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside)?;
    file.write_all(bytes.as_ref())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn seal(text: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let body = format!("{text}{end}");
    let sum = checksum(body.as_bytes());
    format!("{body}{SEAL}{sum:08x}\n")
}

fn unseal(bytes: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let line = text.strip_suffix('\n').ok_or("its end is missing")?;
    let start = line.rfind('\n').map_or(0, |end| end + 1);
    let (body, last) = line.split_at(start);
    let sum = last.strip_prefix(SEAL).ok_or("its end is missing")?;
    if sum != format!("{:08x}", checksum(body.as_bytes())) {
        return Err("its checksum does not match");
    }
    Ok(body.to_owned())
}

/// CRC-32 as in gzip; bit by bit, since a state has a few hundred bytes.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                sum >> 1 ^ 0xedb8_8320
            } else {
                sum >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("duke-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn state(&self) -> PathBuf {
            self.0.join("duke.state")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let folder = Folder::new("written");
        assert_eq!(load(&folder.state()).unwrap(), None);
        write(
            &folder.state(),
            seal("sentinel myid a\nsentinel current-epoch 3"),
        )
        .unwrap();
        write(&folder.state(), seal("sentinel current-epoch 4\n")).unwrap();
        assert_eq!(
            load(&folder.state()).unwrap().unwrap(),
            "sentinel current-epoch 4\n"
        );
    }

    #[test]
    fn a_file_cut_anywhere_or_changed_is_refused() {
        let folder = Folder::new("cut");
        let whole = seal("sentinel myid a\nsentinel current-epoch 12\n");
        for end in 0..whole.len() {
            fs::write(folder.state(), &whole[..end]).unwrap();
            assert!(
                matches!(load(&folder.state()), Err(StoreError::Damaged { .. })),
                "{end}"
            );
        }
        fs::write(folder.state(), whole.replace("12", "13")).unwrap();
        let text = load(&folder.state()).unwrap_err().to_string();
        assert!(
            text.contains("checksum") && text.contains("move it away"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let text = load(Path::new("/nonexistent/duke.state"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("/nonexistent"), "{text}");
    }

    #[tokio::test]
    async fn a_failing_disk_is_retried_and_never_acknowledged() {
        let folder = Folder::new("failing");
        let inner = folder.0.join("inner");
        let (sender, mut durable) = mpsc::unbounded_channel();
        let store = Store::start(inner.join("duke.state"), Form::Sealed, sender);
        store.save(1, "a\n".into());
        assert_eq!(durable.recv().await, Some(Written::Failed(1)));
        assert_eq!(
            durable.recv().await,
            Some(Written::Failed(1)),
            "tried again"
        );
        store.save(2, "b\n".into());
        fs::create_dir(&inner).unwrap();
        let end = loop {
            match durable.recv().await.unwrap() {
                Written::Failed(_) => {}
                end @ Written::Durable(_) => break end,
            }
        };
        assert_eq!(end, Written::Durable(2));
        assert_eq!(load(&inner.join("duke.state")).unwrap().unwrap(), "b\n");
    }
}
