//! The storm brake: so many new bans in so short a time are a fault or an attack, and then nobody is banned.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::Element;

/// The time within which requests are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts who is newly to be banned within a minute, each once, admitted or not. From the limit on nobody is
/// admitted until the number has fallen below it. Memory is bounded by the limit.
#[derive(Debug)]
pub(super) struct Brake {
    /// Most requests within the window; 0 admits everybody.
    limit: usize,
    /// Latest requests, oldest first; never more than `limit`.
    asked: VecDeque<(Duration, Element)>,
    /// The elements in `asked`.
    counted: HashSet<Element>,
    holding: bool,
}

impl Brake {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            asked: VecDeque::new(),
            counted: HashSet::new(),
            holding: false,
        }
    }

    /// Holds from another limit on from now on; the oldest requests beyond it are forgotten.
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = usize::try_from(limit).unwrap_or(usize::MAX);
        while self.asked.len() > self.limit
            && let Some((_, oldest)) = self.asked.pop_front()
        {
            self.counted.remove(&oldest);
        }
    }

    /// Whether the element may be banned now.
    pub(super) fn admits(&mut self, element: Element, now: Duration) -> bool {
        if self.limit == 0 || (!self.is_holding(now) && self.counted.contains(&element)) {
            return true;
        }
        self.holding |= self.asked.len() >= self.limit;
        if self.counted.insert(element) {
            if self.asked.len() >= self.limit
                && let Some((_, oldest)) = self.asked.pop_front()
            {
                self.counted.remove(&oldest);
            }
            self.asked.push_back((now, element));
        }
        !self.holding
    }

    /// Whether nobody is admitted at this time.
    pub(super) fn is_holding(&mut self, now: Duration) -> bool {
        while let Some((at, oldest)) = self.asked.front()
            && *at + WINDOW <= now
        {
            self.counted.remove(oldest);
            self.asked.pop_front();
        }
        self.holding &= self.limit > 0 && self.asked.len() >= self.limit;
        self.holding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> Element {
        Element::host(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn holds_from_the_limit_on_until_fewer_ask() {
        let mut brake = Brake::new(3);
        // Time in seconds, host, whether it is admitted.
        for (now, number, admitted) in [
            (0, 1, true),
            (0, 1, true),
            (10, 2, true),
            (20, 3, true),
            (21, 4, false),
            // Asking again does not prolong the storm.
            (30, 4, false),
            (60, 4, false),
            // Host 2 has left the window, 3 and 4 are in it.
            (70, 4, true),
            (70, 5, true),
            (70, 6, false),
        ] {
            let now = Duration::from_secs(now);
            assert_eq!(brake.admits(host(number), now), admitted, "{number} at {now:?}");
            assert!(brake.asked.len() <= 3 && brake.counted.len() == brake.asked.len());
        }
    }

    #[test]
    fn another_limit_holds_at_once() {
        let mut brake = Brake::new(2);
        let now = Duration::from_secs(1);
        for (limit, number, admitted) in [
            (2, 1, true),
            (2, 2, true),
            (2, 3, false),
            (4, 4, true),
            (4, 5, true),
            (4, 6, false),
            (1, 7, false),
            (0, 8, true),
        ] {
            brake.set_limit(limit);
            assert_eq!(brake.admits(host(number), now), admitted, "{number} with {limit}");
            assert_eq!(brake.is_holding(now), !admitted, "{limit}");
            assert!(brake.counted.len() == brake.asked.len());
        }
    }

    #[test]
    fn a_storm_that_goes_on_is_held_for_its_whole_time() {
        let mut brake = Brake::new(10);
        let admitted = (0..1_000)
            .filter(|n| brake.admits(host(*n), Duration::from_millis(u64::from(*n) * 500)))
            .count();
        assert_eq!(admitted, 10, "120 a minute against a limit of 10");
        assert!(!brake.is_holding(Duration::from_secs(600)));
    }

    #[test]
    fn a_limit_of_zero_admits_everybody() {
        let mut brake = Brake::new(0);
        assert!((0..10_000).all(|n| brake.admits(host(n), Duration::ZERO)));
        assert!(brake.asked.is_empty());
    }
}
