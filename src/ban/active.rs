//! The table of bans in force.
//!
//! A host that speaks BitTorrent is asked for with every report of it, so what answers that ("has its ban long to
//! run?") lies in the table itself, 40 bytes for each ban, and the rest of the record elsewhere.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::{Element, Record};

/// Bans by element.
#[derive(Default)]
pub(super) struct Active {
    entries: HashMap<Element, Entry, RandomState>,
}

/// Times are whole seconds on the clock of the manager, rounded down: before them the answer is sure, from them on
/// the record is asked.
struct Entry {
    renewed_from: u32,
    over_from: u32,
    record: Box<Record>,
}

impl Entry {
    fn new(record: Box<Record>) -> Self {
        Self {
            renewed_from: whole_secs(renewed_from(&record)),
            over_from: whole_secs(record.deadline),
            record,
        }
    }
}

impl Active {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, element: &Element) -> bool {
        self.entries.contains_key(element)
    }

    pub(super) fn get(&self, element: &Element) -> Option<&Record> {
        self.entries.get(element).map(|entry| entry.record.as_ref())
    }

    pub(super) fn insert(&mut self, element: Element, record: Record) {
        self.entries.insert(element, Entry::new(Box::new(record)));
    }

    pub(super) fn remove(&mut self, element: &Element) -> Option<Record> {
        self.entries.remove(element).map(|entry| *entry.record)
    }

    /// Changes a record; whether there is one.
    pub(super) fn change(&mut self, element: &Element, change: impl FnOnce(&mut Record)) -> bool {
        let Some(entry) = self.entries.get_mut(element) else {
            return false;
        };
        change(&mut entry.record);
        entry.renewed_from = whole_secs(renewed_from(&entry.record));
        entry.over_from = whole_secs(entry.record.deadline);
        true
    }

    /// Whether the element is banned for more than half of its time from now on.
    pub(super) fn has_long_to_run(&self, element: &Element, now: Duration) -> bool {
        self.entries
            .get(element)
            .is_some_and(|entry| whole_secs(now) < entry.renewed_from || now < renewed_from(&entry.record))
    }

    /// Bans whose time is over.
    pub(super) fn over(&self, now: Duration) -> Vec<Element> {
        let is_over = |entry: &Entry| whole_secs(now) >= entry.over_from && now >= entry.record.deadline;
        self.entries
            .iter()
            .filter(|(_, entry)| is_over(entry))
            .map(|(element, _)| *element)
            .collect()
    }

    pub(super) fn elements(&self) -> impl ExactSizeIterator<Item = Element> {
        self.entries.keys().copied()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (Element, &Record)> {
        self.entries
            .iter()
            .map(|(element, entry)| (*element, entry.record.as_ref()))
    }
}

/// When no more than half of the ban's time is left.
fn renewed_from(record: &Record) -> Duration {
    record.deadline.saturating_sub(record.duration / 2)
}

fn whole_secs(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
