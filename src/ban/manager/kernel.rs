//! What the kernel is told and asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Manager;
use crate::ban::{BackendError, Change, Element, Record, Timeout};

/// Refusals in a row, of changes of one kind one by one, after which the kernel is taken to refuse all of the kind.
const HOPELESS: usize = 4;

/// Kernel sets differ in what they take: hosts or networks as well, of one family.
type Kind = (bool, bool);

fn kind(element: Element) -> Kind {
    (element.address().is_ipv4(), element.is_host())
}

impl Manager {
    /// Tells the kernel what has changed. What it does not take is tried again later, except that bans for which
    /// its set has no room are given up. Sets and rules that are missing are made at once, and everything is put
    /// back into them.
    ///
    /// # Errors
    /// The backend's, unchanged.
    pub fn flush(&mut self, now: Duration) -> Result<(), BackendError> {
        if self.dirty.is_empty() {
            return Ok(());
        }
        match self.apply_dirty(now) {
            Err(BackendError::Missing { .. }) if self.policy.setup => {
                self.backend.ensure()?;
                self.dirty.extend(self.active.elements());
                self.absent.extend(self.active.elements());
                self.apply_dirty(now)
            }
            outcome => outcome,
        }
    }

    /// Compares what should be banned with what the kernel holds, and has the missing bans put back with their
    /// remaining time. Many bans are compared in several calls, until [`Manager::is_comparing`] is over. Returns how
    /// many were missing, when all are compared.
    ///
    /// # Errors
    /// The backend's, unchanged. What was to be compared is left to the next reconciliation.
    pub fn reconcile(&mut self, now: Duration) -> Result<usize, BackendError> {
        if self.unchecked.is_empty() {
            self.begin_comparing(now)?;
        }
        let outcome = self.compare_some(now);
        if outcome.is_err() {
            self.unchecked.clear();
        }
        if self.is_comparing() {
            return Ok(0);
        }
        let put_back = std::mem::take(&mut self.put_back);
        outcome.map(|()| put_back)
    }

    /// Whether [`Manager::reconcile`] is to be called again at once.
    pub fn is_comparing(&self) -> bool {
        !self.unchecked.is_empty()
    }

    fn begin_comparing(&mut self, now: Duration) -> Result<(), BackendError> {
        self.history.prune(now);
        if !self.backend.is_untouched()? {
            let verified = self.backend.verify();
            let is_missing = matches!(verified, Err(BackendError::Missing { .. })) && self.policy.setup;
            if !is_missing {
                verified?;
            }
            // Rules of somebody else may be enough for `verify`; where we make rules, ours are to be there.
            if self.policy.setup {
                self.backend.ensure()?;
            }
            if is_missing {
                self.absent.extend(self.active.elements());
            }
            self.unchecked.extend(self.active.elements());
        }
        Ok(())
    }

    fn compare_some(&mut self, now: Duration) -> Result<(), BackendError> {
        let mut missing = 0;
        if !self.unchecked.is_empty() {
            for element in self.backend.compare(&mut self.unchecked)? {
                let in_force = |record: &Record| record.deadline > now;
                if self.active.get(&element).is_some_and(in_force) {
                    self.absent.insert(element);
                    let is_new = self.dirty.insert(element);
                    missing += usize::from(is_new && !self.refused.contains(&element));
                }
            }
        }
        self.dirty.append(&mut self.refused);
        self.flush(now)?;
        self.tally.restored += missing as u64;
        self.put_back += missing;
        Ok(())
    }

    /// Has the kernel freed of bans that have run out, where it does not do so by itself.
    ///
    /// # Errors
    /// The backend's, unchanged.
    pub fn sweep(&mut self) -> Result<(), BackendError> {
        self.tally.swept += self.backend.sweep()? as u64;
        Ok(())
    }

    /// Whether the kernel has not taken the latest change of the element.
    pub fn is_waiting(&self, element: Element) -> bool {
        self.dirty.contains(&element) || self.refused.contains(&element)
    }

    /// Whether the kernel has not taken the latest change of any element.
    pub fn is_any_waiting(&self) -> bool {
        !(self.dirty.is_empty() && self.refused.is_empty())
    }

    /// Bans whose latest change the kernel has not taken.
    pub fn waiting(&self) -> usize {
        let waiting = self.dirty.union(&self.refused);
        waiting.filter(|element| self.is_banned(**element)).count()
    }

    fn apply_dirty(&mut self, now: Duration) -> Result<(), BackendError> {
        let change = |element: &Element| match self.active.get(element) {
            Some(record) if record.deadline > now => {
                Change::Ban(*element, Timeout::from_duration(record.deadline - now))
            }
            _ => Change::Unban(*element),
        };
        let changes: Vec<Change> = self.dirty.iter().map(change).collect();
        match self.backend.apply(&changes) {
            Ok(()) => {
                let taken = std::mem::take(&mut self.dirty);
                self.refused.retain(|element| !taken.contains(element));
                Ok(())
            }
            Err(error) if may_concern_one(&error) => self.apply_one_by_one(&changes),
            Err(error) => Err(error),
        }
    }

    /// Finds out which changes the kernel takes when it has refused them as a whole. Bans for which there is no
    /// room are given up; what is refused otherwise, and surely by itself, waits for the reconciliation.
    fn apply_one_by_one(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        let (mut taken, mut refused, mut last) = (BTreeSet::new(), Vec::new(), None);
        let mut refusals: BTreeMap<Kind, usize> = BTreeMap::new();
        for change in changes {
            let element = change.element();
            let kind = kind(element);
            if !taken.contains(&kind) && refusals.get(&kind) == Some(&HOPELESS) {
                refused.push(element);
                continue;
            }
            match self.backend.apply(&[*change]) {
                Ok(()) => {
                    taken.insert(kind);
                    self.dirty.remove(&element);
                    self.refused.remove(&element);
                }
                Err(error @ BackendError::Full { .. }) => {
                    taken.insert(kind);
                    last = Some(error);
                    self.dirty.remove(&element);
                    self.refused.remove(&element);
                    self.active.remove(&element);
                    self.tally.kernel_full += 1;
                    self.changed = true;
                }
                Err(error) => {
                    refused.push(element);
                    *refusals.entry(kind).or_default() += 1;
                    let all = !may_concern_one(&error);
                    last = Some(error);
                    if all {
                        break;
                    }
                }
            }
        }
        let concerns_them = !taken.is_empty() || matches!(last, Some(BackendError::Mismatch { .. }));
        if concerns_them {
            for element in refused {
                self.dirty.remove(&element);
                self.refused.insert(element);
            }
        }
        last.map_or(Ok(()), Err)
    }
}

/// Whether the kernel may have refused for the sake of one change among others.
fn may_concern_one(error: &BackendError) -> bool {
    match error {
        // As a network for a set that holds hosts only.
        BackendError::Full { .. } | BackendError::Mismatch { .. } => true,
        BackendError::Kernel { source, .. } => source.kind() != std::io::ErrorKind::TimedOut,
        _ => false,
    }
}
