//! What is remembered of bans across runs.

use std::time::Duration;

use log::{error, info, warn};

use crate::ban::{Element, Manager, Record};
use crate::config::Config;
use crate::state::{Picture, Store, Writer, wall_clock};

/// The file is written this often even when nothing changes: for the numbers of flows, and so that a step of the
/// wall clock, in which deadlines are written, is forgotten.
const REFRESH: Duration = Duration::from_secs(60);
/// Least time between two writings, for each ban in the file: one takes some 300 bytes, so this is 6 MB/s at most.
const PAUSE_PER_BAN: Duration = Duration::from_micros(50);

/// The file of bans, if there is one.
pub(super) struct Memory {
    kept: Option<(Store, Writer)>,
    /// Whether bans changed that the writer does not know of.
    stale: bool,
    /// When the writer last took them.
    offered: Duration,
}

impl Memory {
    /// Gives the manager what is remembered. Bans on paper are neither remembered nor recalled.
    pub(super) fn recall(config: &Config, manager: &mut Manager, now: Duration) -> anyhow::Result<Self> {
        let Some(store) = config.store() else {
            return Ok(Self {
                kept: None,
                stale: false,
                offered: now,
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
        manager.restore_past(restored.past, now);
        if known + over > 0 {
            info!("{known} bans are remembered, {anew} of them are put back; {over} ran out meanwhile");
        }
        let writer = Writer::start(store.clone())?;
        Ok(Self {
            kept: Some((store, writer)),
            stale: true,
            offered: now,
        })
    }

    /// Has the bans written if they have changed. Never waits for the disk.
    pub(super) fn keep(&mut self, manager: &mut Manager, now: Duration) {
        self.stale |= manager.take_changed();
        let since = now.saturating_sub(self.offered);
        let count = manager.active().len() + manager.past(now).len();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let due = since >= REFRESH || (self.stale && since >= PAUSE_PER_BAN.saturating_mul(count));
        if let Some((_, writer)) = self.kept.as_ref().filter(|_| due)
            && writer.offer(|| picture(manager, now))
        {
            (self.stale, self.offered) = (false, now);
        }
    }

    /// Writes the bans for the last time, or removes the file.
    pub(super) fn end(&mut self, manager: &Manager, now: Duration, remove: bool) {
        let Some((store, writer)) = self.kept.take() else {
            return;
        };
        writer.finish(picture(manager, now));
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

fn picture(manager: &Manager, now: Duration) -> Picture {
    Picture {
        bans: all(manager),
        past: manager.past(now).collect(),
        wall: wall_clock(),
        now,
    }
}
