//! Escalation: who was banned before is banned for longer.

use std::collections::HashMap;
use std::time::Duration;

use super::{Element, Timeout};

/// Bans of a host that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// How many they were.
    pub times: u32,
    /// How long ago the last one ended.
    pub ago: Duration,
}

/// How often hosts were banned, for as long as that is remembered.
#[derive(Debug)]
pub(super) struct History {
    /// How long a ban is remembered after its end; zero remembers nothing.
    memory: Duration,
    /// Most hosts that are remembered; beyond it, a host counts as banned for the first time.
    most: usize,
    /// Number of bans, and when they are forgotten.
    past: HashMap<Element, (u32, Duration)>,
}

impl History {
    pub(super) fn new(memory: Duration, most: usize) -> Self {
        Self {
            memory,
            most,
            past: HashMap::new(),
        }
    }

    /// How often the host was banned before.
    pub(super) fn times(&self, element: Element, now: Duration) -> u32 {
        match self.past.get(&element) {
            Some((times, until)) if *until > now => *times,
            _ => 0,
        }
    }

    /// Remembers a ban that was the host's `times`th and ended at `end`.
    pub(super) fn remember(&mut self, element: Element, times: u32, end: Duration) {
        self.insert(element, times, end + self.memory);
    }

    /// Takes over what an earlier run remembered.
    pub(super) fn restore(&mut self, element: Element, past: Past, now: Duration) {
        if let Some(left) = self.memory.checked_sub(past.ago) {
            self.insert(element, past.times, now + left);
        }
    }

    fn insert(&mut self, element: Element, times: u32, until: Duration) {
        if self.memory.is_zero() || times == 0 {
            return;
        }
        if self.past.len() < self.most || self.past.contains_key(&element) {
            self.past.insert(element, (times, until));
        }
    }

    /// Forgets the host's bans.
    pub(super) fn forgive(&mut self, element: Element) {
        self.past.remove(&element);
    }

    /// Forgets what is over.
    pub(super) fn prune(&mut self, now: Duration) {
        self.past.retain(|_, (_, until)| *until > now);
    }

    /// What is remembered, in no order.
    pub(super) fn all(&self, now: Duration) -> impl ExactSizeIterator<Item = (Element, Past)> {
        self.past.iter().map(move |(element, (times, until))| {
            let ago = (now + self.memory).saturating_sub(*until);
            (*element, Past { times: *times, ago })
        })
    }
}

/// `duration`, doubled for each ban before the `times`th; at most [`Timeout::MAX_SECS`].
pub(super) fn escalated(duration: Duration, times: u32) -> Duration {
    let longest = Duration::from_secs(Timeout::MAX_SECS.into());
    let factor = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    duration
        .checked_mul(factor)
        .map_or(longest, |long| long.min(longest))
}
