//! The hosts that this machine depends on, followed while bans are made: who logs in is exempt from then on.
//!
//! The kernel tells nobody of new connections, and its table of them takes milliseconds to read however few there are, so a
//! thread reads it: soon after somebody was banned, and now and then as long as somebody is.

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::RECONCILE;
use crate::network::Hosts;

/// Least time between two readings.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Depended {
    ask: Sender<()>,
    found: Receiver<Hosts>,
    asked_at: Instant,
    /// Somebody was banned since the last reading.
    due: bool,
}

impl Depended {
    pub(super) fn start() -> io::Result<Self> {
        let (ask, asked) = bounded::<()>(1);
        let (tell, found) = bounded(1);
        std::thread::Builder::new()
            .name("hosts".to_owned())
            .spawn(move || {
                // Ends with the daemon, which holds the other ends.
                while asked.recv().is_ok() && tell.send(Hosts::read()).is_ok() {}
            })?;
        Ok(Self {
            ask,
            found,
            asked_at: Instant::now(),
            due: false,
        })
    }

    /// Somebody is to be banned.
    pub(super) fn banned(&mut self) {
        self.due = true;
    }

    /// Has the hosts read when it is time.
    pub(super) fn tick(&mut self, anybody_banned: bool) {
        let age = self.asked_at.elapsed();
        let due = (self.due && age >= PAUSE) || (anybody_banned && age >= RECONCILE);
        // While a reading is under way another one waits for it.
        if due && self.ask.try_send(()).is_ok() {
            (self.asked_at, self.due) = (Instant::now(), false);
        }
    }

    /// What was read since the last call.
    pub(super) const fn found(&self) -> &Receiver<Hosts> {
        &self.found
    }
}
