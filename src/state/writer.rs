//! Writes bans in a thread of its own: a slow disk delays no ban.

use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};

use super::{Picture, Store};

/// How long after a failure the disk is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The thread that replaces the file.
pub struct Writer {
    pictures: Sender<Picture>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(store: Store) -> std::io::Result<Self> {
        let (pictures, inbox) = crossbeam_channel::bounded(1);
        let thread = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || write(&store, &inbox))?;
        Ok(Self { pictures, thread })
    }

    /// Has the bans written; `false` when the last ones are still being written, and these are to be offered
    /// again later. Never blocks. `picture` is called only when it is taken.
    pub fn offer(&self, picture: impl FnOnce() -> Picture) -> bool {
        if self.pictures.is_full() {
            return false;
        }
        match self.pictures.try_send(picture()) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Writes the bans and ends the thread.
    pub fn finish(self, picture: Picture) {
        // The thread can only be gone by a panic, which it has told of itself.
        let _ = self.pictures.send(picture);
        drop(self.pictures);
        let _ = self.thread.join();
    }
}

fn write(store: &Store, inbox: &Receiver<Picture>) {
    let mut failing = false;
    let mut waiting: Option<Picture> = None;
    loop {
        let next = match waiting {
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => inbox.recv_timeout(RETRY),
        };
        match next {
            Ok(newer) => waiting = Some(newer),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(picture) = &waiting else { continue };
        match store.save(picture) {
            Ok(()) => {
                if failing {
                    log::info!("bans are remembered again in {}", store.path().display());
                }
                (failing, waiting) = (false, None);
            }
            Err(error) => {
                if !failing {
                    log::error!(
                        "bans are in force, but not remembered: {}; trying again",
                        chain(&error)
                    );
                }
                failing = true;
            }
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use btblocker_detectors::Timestamp;

    use super::*;
    use crate::backend::SetName;

    #[test]
    fn a_disk_that_refuses_is_tried_again_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("state");
        std::fs::write(&blocked, "in the way").unwrap();
        let store = Store::new(&blocked, &SetName::default(), 1);
        let writer = Writer::start(store.clone()).unwrap();
        let nothing = || Picture {
            bans: Vec::new(),
            past: Vec::new(),
            wall: Timestamp(0),
            now: Duration::ZERO,
        };
        for _ in 0..100 {
            writer.offer(nothing);
        }
        std::fs::remove_file(&blocked).unwrap();
        writer.finish(nothing());
        assert!(store.path().exists());
    }
}
