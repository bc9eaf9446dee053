//! A bounded memory of recent things: two generations, the older of which is forgotten as a whole.
//!
//! Constant time per access, bounded in number and in age, and without an order list: an entry that is
//! touched lives for at least one and at most two generations after its last touch.

use std::collections::HashMap;
use std::hash::Hash;

use btblocker_detectors::Timestamp;

/// A map of at most `capacity` entries, each forgotten between `span` and twice `span` after its last
/// touch.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Packet time at which the young generation began.
    since: Timestamp,
    span_micros: u64,
    capacity: usize,
}

impl<K: Eq + Hash + Copy, V> Recent<K, V> {
    pub(super) fn new(capacity: usize, span_micros: u64) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            since: Timestamp::default(),
            span_micros,
            capacity,
        }
    }

    /// The entry, made young, or a new one.
    pub(super) fn entry(&mut self, key: K, at: Timestamp, new: impl FnOnce() -> V) -> &mut V {
        self.turn(at);
        let Self { young, old, .. } = self;
        young
            .entry(key)
            .or_insert_with(|| old.remove(&key).unwrap_or_else(new))
    }

    /// The entry, if it is remembered at `at`; its age is left as it is.
    pub(super) fn get(&mut self, key: &K, at: Timestamp) -> Option<&mut V> {
        self.turn(at);
        match self.young.get_mut(key) {
            Some(value) => Some(value),
            None => self.old.get_mut(key),
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Starts a new generation when the young one is full or old enough.
    fn turn(&mut self, at: Timestamp) {
        let age = at.since(self.since);
        if age >= self.span_micros || self.young.len() >= self.capacity / 2 {
            if age >= 2 * self.span_micros {
                self.young.clear();
            }
            self.old = std::mem::take(&mut self.young);
            self.since = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_entries_live_and_others_are_forgotten() {
        let mut recent = Recent::new(1_000, 10);
        recent.entry(1, Timestamp(100), || "one");
        recent.entry(2, Timestamp(100), || "two");
        recent.entry(1, Timestamp(111), || "new");
        assert_eq!(recent.get(&2, Timestamp(111)), Some(&mut "two"));
        recent.entry(1, Timestamp(122), || "new");
        assert_eq!(recent.get(&1, Timestamp(122)), Some(&mut "one"));
        assert_eq!(recent.get(&2, Timestamp(122)), None);
        assert_eq!(recent.get(&1, Timestamp(1_000)), None);
    }

    #[test]
    fn number_of_entries_is_bounded() {
        let mut recent = Recent::new(100, 1_000_000);
        for key in 0..10_000 {
            recent.entry(key, Timestamp(1), || ());
            assert!(recent.len() <= 100, "{} entries", recent.len());
        }
        assert!(recent.get(&9_999, Timestamp(1)).is_some());
    }
}
