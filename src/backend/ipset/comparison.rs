//! Comparing with what the sets hold, in steps of milliseconds: first they are listed, then what is expected is looked
//! for in the lists.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::message::{Ipsets, Listing};
use super::set::Set;
use crate::ban::{BackendError, Element};

/// Elements of one step: the judge waits so long.
const AT_ONCE: usize = 4_096;

/// What of the sets has been read.
#[derive(Default)]
pub(super) struct Comparison {
    held: HashSet<Element, RandomState>,
    /// The list that is being read: of the next set.
    listing: Option<Listing>,
    /// Sets that are read to their end.
    read: usize,
}

impl Comparison {
    /// One step.
    pub(super) fn step(
        &mut self,
        ipsets: &Ipsets,
        sets: &[Set],
        expected: &mut Vec<Element>,
    ) -> Result<Vec<Element>, BackendError> {
        // A table that grows has all its elements moved in one step.
        self.held.reserve(expected.len().saturating_sub(self.held.len()));
        let enough = self.held.len() + AT_ONCE;
        while let Some(set) = sets.get(self.read) {
            if self.held.len() >= enough {
                return Ok(Vec::new());
            }
            let listing = match &mut self.listing {
                Some(listing) => listing,
                none => none.insert(set.begin_reading(ipsets)?),
            };
            let held = &mut self.held;
            if set.read_some(listing, |entry| _ = held.insert(entry.element))? {
                (self.listing, self.read) = (None, self.read + 1);
            }
        }
        let mut some = expected.split_off(expected.len().saturating_sub(AT_ONCE));
        some.retain(|element| !self.held.contains(element));
        Ok(some)
    }
}
