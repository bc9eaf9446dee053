//! One entry of the table that the filter looks flows up in, and who gets it.
//!
//! An entry is *offered* first, with a deadline that has passed, so that everything still arrives. It comes into force
//! when a packet that was captured later shows the flow settled, and is renewed in the same way, by a packet that was
//! captured behind the last deadline. So what the filter let pass before it knew the flow, such as the SYN of the next
//! flow on the same ports, has been looked at by then; and one that comes later ends the entry in the filter.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::memory::Value;

/// Deadline of an entry that is being written: long past.
const WRITING: u64 = 1;
/// Nanoseconds that the filter's clock may be behind: it goes in ticks, of 10 ms at most.
const LAG: u64 = 20_000_000;
/// Nanoseconds behind its deadline from which on an entry gives way to another flow.
const PATIENCE: u64 = 1_000_000_000;

/// An entry as the filter reads it. Nanoseconds of CLOCK_MONOTONIC.
#[derive(Default)]
#[repr(C)]
pub(super) struct Slot {
    /// Until when the flow's packets are left out.
    until: AtomicU64,
    /// Set by the filter when a segment with SYN, FIN or RST passes.
    over: AtomicU64,
    key: [AtomicU64; 5],
    unused: u64,
}

const _: () = assert!(size_of::<Slot>() == 64);
// SAFETY: 64 bytes as `struct slot`, of which the atomics are read.
unsafe impl Value for Slot {}

impl Slot {
    /// Hears that a flow, of which a packet was captured at `seen`, is settled for `lasts` after that.
    pub(super) fn settled(&self, flow: &[u64; 5], seen: u64, lasts: u64, now: impl Fn() -> u64) {
        let until = self.until.load(Ordering::Relaxed);
        let claim = |until| {
            let (taken, not) = (Ordering::Acquire, Ordering::Relaxed);
            self.until.compare_exchange(until, WRITING, taken, not).is_ok()
        };
        if until == WRITING || !claim(until) {
            return;
        }
        let mut words = self.key.iter().zip(flow);
        let is_known = words.all(|(word, wanted)| word.load(Ordering::Relaxed) == *wanted);
        let next = if is_known && self.over.load(Ordering::Relaxed) == 0 {
            match seen > until.saturating_add(LAG) {
                true => seen.saturating_add(lasts),
                false => until,
            }
        } else if !is_known && now() < until.saturating_add(PATIENCE) {
            until
        } else {
            self.write(flow);
            now().saturating_sub(LAG)
        };
        self.until.store(next, Ordering::Release);
    }

    fn write(&self, flow: &[u64; 5]) {
        for (word, new) in self.key.iter().zip(flow) {
            word.store(*new, Ordering::Relaxed);
        }
        self.over.store(0, Ordering::Relaxed);
        // The clock is read when the filter can find the flow.
        fence(Ordering::SeqCst);
    }
}

/// The place of a flow among `slots`, a power of two, as the filter finds it.
pub(super) fn place(seed: u64, flow: &[u64; 5], slots: usize) -> usize {
    let mix = |hash: u64, word: &u64| {
        let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ hash >> 32
    };
    flow.iter().fold(seed, mix) as usize & slots.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u64; 5] = [0, 1, 0, 2, 3];
    const B: [u64; 5] = [0, 1, 0, 2, 4];
    const LASTS: u64 = 8_000_000_000;

    fn key(slot: &Slot) -> [u64; 5] {
        slot.key.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    #[test]
    fn an_entry_comes_into_force_and_is_renewed_by_later_packets_only() {
        let slot = Slot::default();
        let start = 50_000_000_000;
        let offered = start + 100;
        let in_force = offered + 1 + LASTS;
        for (seen, now, until) in [
            (start, offered, offered - LAG),
            // Captured before the filter knew the flow.
            (start + 99, start + 200, offered - LAG),
            (offered, start + 300, offered - LAG),
            (offered + 1, start + 400, in_force),
            // Captured before it was in force, read late.
            (offered + 2, start + 500, in_force),
            (in_force + LAG, in_force + LAG + 5, in_force),
            (in_force + LAG + 1, in_force + LAG + 5, in_force + LAG + 1 + LASTS),
        ] {
            slot.settled(&A, seen, LASTS, || now);
            assert_eq!(slot.until.load(Ordering::Relaxed), until, "seen {seen} at {now}");
        }
    }

    #[test]
    fn a_flow_that_is_over_is_offered_anew() {
        let slot = Slot::default();
        slot.settled(&A, 1_000, LASTS, || 2_000_000_000);
        slot.settled(&A, 3_000_000_000, LASTS, || 3_000_000_000);
        slot.over.store(1, Ordering::Relaxed);
        slot.settled(&A, 4_000_000_000, LASTS, || 4_000_000_100);
        let state = (
            slot.until.load(Ordering::Relaxed),
            slot.over.load(Ordering::Relaxed),
        );
        assert_eq!(
            state,
            (4_000_000_100 - LAG, 0),
            "everything passes, the filter looks for its end"
        );
    }

    #[test]
    fn an_entry_gives_way_when_it_is_not_renewed() {
        let slot = Slot::default();
        let offered = 10_000_000_000;
        slot.settled(&A, offered - 1, LASTS, || offered);
        for (now, holder) in [(offered - LAG + PATIENCE - 1, A), (offered - LAG + PATIENCE, B)] {
            slot.settled(&B, now - 1, LASTS, || now);
            assert_eq!(key(&slot), holder);
        }
        // In force.
        let later = offered + 2 * PATIENCE;
        slot.settled(&B, later, LASTS, || later);
        slot.settled(&A, later + LASTS, LASTS, || later + LASTS);
        assert_eq!(key(&slot), B);
    }

    #[test]
    fn what_another_thread_is_writing_is_left_alone() {
        let slot = Slot::default();
        slot.until.store(WRITING, Ordering::Relaxed);
        slot.settled(&A, 9, LASTS, || 5_000_000_000);
        assert_eq!(
            (key(&slot), slot.until.load(Ordering::Relaxed)),
            ([0; 5], WRITING)
        );
    }

    #[test]
    fn places_spread_and_depend_on_the_seed() {
        let mut found: Vec<usize> = (0..1_000)
            .map(|port| place(7, &[0, 1, 0, 2, port << 16], 1 << 16))
            .collect();
        assert!(found.iter().all(|place| *place < 1 << 16));
        let other: Vec<usize> = (0..1_000)
            .map(|port| place(8, &[0, 1, 0, 2, port << 16], 1 << 16))
            .collect();
        assert_ne!(found, other);
        found.sort_unstable();
        found.dedup();
        assert!(found.len() > 980, "{}", found.len());
    }
}
