//! What is remembered of bans across runs.

use std::time::{Duration, SystemTime};

use btblocker_detectors::Timestamp;
use log::{error, info, warn};

use crate::ban::{Element, Manager, Record};
use crate::config::Config;
use crate::state::{Store, Writer};

/// The file of bans, if there is one.
pub(super) struct Memory {
    kept: Option<(Store, Writer)>,
    /// Whether bans changed that the writer does not know of.
    stale: bool,
}

impl Memory {
    /// Gives the manager what is remembered. Bans on paper are neither remembered nor recalled.
    pub(super) fn recall(config: &Config, manager: &mut Manager, now: Duration) -> anyhow::Result<Self> {
        let Some(store) = config.store() else {
            return Ok(Self {
                kept: None,
                stale: false,
            });
        };
        let restored = store.load(wall_clock(), now);
        if let Some(trouble) = restored.trouble {
            error!(
                "bans of an earlier run are not known: {:#}",
                anyhow::Error::from(trouble)
            );
        }
        let (known, over) = (restored.bans.len(), restored.over);
        let anew = manager.restore(restored.bans, now);
        if known + over > 0 {
            info!("{known} bans are remembered, {anew} of them are put back; {over} ran out meanwhile");
        }
        let writer = Writer::start(store.clone())?;
        Ok(Self {
            kept: Some((store, writer)),
            stale: true,
        })
    }

    /// Has the bans written if they have changed. Never waits for the disk.
    pub(super) fn keep(&mut self, manager: &mut Manager, now: Duration) {
        self.stale |= manager.take_changed();
        if let Some((_, writer)) = self.kept.as_ref().filter(|_| self.stale) {
            self.stale = !writer.offer(|| all(manager), wall_clock(), now);
        }
    }

    /// Writes the bans for the last time, or removes the file.
    pub(super) fn end(&mut self, manager: &Manager, now: Duration, remove: bool) {
        let Some((store, writer)) = self.kept.take() else {
            return;
        };
        writer.finish(all(manager), wall_clock(), now);
        if remove && let Err(error) = store.remove() {
            warn!("{:#}", anyhow::Error::from(error));
        }
    }
}

/// All bans in force.
pub(super) fn all(manager: &Manager) -> Vec<(Element, Record)> {
    manager
        .active()
        .map(|(element, record)| (element, record.clone()))
        .collect()
}

/// The wall clock's time.
pub(super) fn wall_clock() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
