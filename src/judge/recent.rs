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
    displaced: u64,
}

impl<K: Eq + Hash + Copy, V> Recent<K, V> {
    pub(super) fn new(capacity: usize, span_micros: u64) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            since: Timestamp::default(),
            span_micros,
            capacity,
            displaced: 0,
        }
    }

    /// Entries that were forgotten before their time because there was no room for more. Only grows.
    pub(super) const fn displaced(&self) -> u64 {
        self.displaced
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) {
        *self = Self {
            displaced: self.displaced,
            ..Self::new(self.capacity, self.span_micros)
        };
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

    /// The entry, if it is remembered at `at`; nothing changes.
    pub(super) fn peek(&self, key: &K, at: Timestamp) -> Option<&V> {
        self.generations(at).find_map(|entries| entries.get(key))
    }

    /// All entries that are remembered at `at`, in no order.
    pub(super) fn entries(&self, at: Timestamp) -> impl Iterator<Item = (&K, &V)> {
        self.generations(at).flatten()
    }

    /// The generations that have not run out at `at`, the young one first.
    fn generations(&self, at: Timestamp) -> impl Iterator<Item = &HashMap<K, V>> {
        let spans = at.since(self.since) / self.span_micros.max(1);
        let alive = 2_usize.saturating_sub(usize::try_from(spans).unwrap_or(2));
        [&self.young, &self.old].into_iter().take(alive)
    }

    /// Bytes that both generations take when they are as large as the larger one, by the shape of the standard library's
    /// tables: a byte beside each place.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let places = |entries: &HashMap<K, V>| (entries.capacity() * 8 / 7).next_power_of_two();
        2 * places(&self.young).max(places(&self.old)) * (size_of::<(K, V)>() + 1)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Starts a new generation when the young one is full or old enough.
    fn turn(&mut self, at: Timestamp) {
        let age = at.since(self.since);
        if age >= self.span_micros || self.young.len() >= self.capacity / 2 {
            if age < self.span_micros {
                self.displaced += self.old.len() as u64;
            }
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
        for (key, at, found) in [
            (2, 111, Some(&"two")),
            (2, 121, None),
            (1, 121, Some(&"one")),
            (1, 131, None),
        ] {
            assert_eq!(recent.peek(&key, Timestamp(at)), found, "{key} at {at}");
        }
        assert_eq!(recent.entries(Timestamp(111)).count(), 2);
        assert_eq!(recent.entries(Timestamp(121)).count(), 1);
        assert_eq!(recent.get(&2, Timestamp(111)), Some(&mut "two"));
        recent.entry(1, Timestamp(122), || "new");
        assert_eq!(recent.get(&1, Timestamp(122)), Some(&mut "one"));
        assert_eq!(recent.get(&2, Timestamp(122)), None);
        assert_eq!(recent.get(&1, Timestamp(1_000)), None);
        assert_eq!(recent.displaced(), 0);
    }

    #[test]
    fn number_of_entries_is_bounded_and_what_gives_way_is_counted() {
        let mut recent = Recent::new(100, 1_000_000);
        for key in 0..10_000 {
            recent.entry(key, Timestamp(1), || ());
            assert!(recent.len() <= 100, "{} entries", recent.len());
            assert_eq!(recent.displaced() + recent.len() as u64, key + 1);
        }
        assert!(recent.get(&9_999, Timestamp(1)).is_some());
        let displaced = recent.displaced();
        recent.clear();
        assert_eq!((recent.len(), recent.displaced()), (0, displaced));
    }
}
