//! Bans on paper: what a kernel set would hold, in memory, for watching without blocking.
//!
//! Keeps the contract of [`SetBackend`] including expiry, so that everything above behaves as in earnest.
//! Deliberately drops no packet and outlives no restart.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::ban::{BackendError, Change, Element, Held, SetBackend};

/// Holds elements in memory.
#[derive(Debug, Default)]
pub struct DryRun {
    /// Each element with the instant at which it would leave the kernel set.
    held: HashMap<Element, Instant>,
}

impl SetBackend for DryRun {
    fn name(&self) -> &'static str {
        super::BackendKind::DryRun.name()
    }

    fn ensure(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn verify(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        // The kernel's clock is stood in for, so reading one here is the point.
        let now = Instant::now();
        for change in changes {
            match *change {
                Change::Ban(element, timeout) => {
                    self.held
                        .insert(element, now + Duration::from_secs(u64::from(timeout.secs())));
                }
                Change::Unban(element) => {
                    self.held.remove(&element);
                }
            }
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Held>, BackendError> {
        let now = Instant::now();
        self.held.retain(|_, deadline| *deadline > now);
        let held = self.held.iter();
        Ok(held
            .map(|(element, deadline)| Held {
                element: *element,
                remaining: Some(deadline.saturating_duration_since(now)),
            })
            .collect())
    }

    fn compare(&mut self, expected: &mut Vec<Element>) -> Result<Vec<Element>, BackendError> {
        let now = Instant::now();
        let is_missing = |element: &Element| self.held.get(element).is_none_or(|deadline| *deadline <= now);
        Ok(std::mem::take(expected).into_iter().filter(is_missing).collect())
    }

    fn teardown(&mut self) -> Result<(), BackendError> {
        self.held.clear();
        Ok(())
    }
}
