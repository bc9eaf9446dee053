//! What is remembered of one host.

use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU64};

use btblocker_detectors::{Side, Timestamp};

use super::report::FlowId;

/// Up to `N` distinct remote addresses with the time of their last mention; the oldest gives way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remotes<const N: usize> {
    // Side by side, they take a quarter less than as pairs.
    addresses: [u128; N],
    seen: [Timestamp; N],
    len: usize,
}

impl<const N: usize> Default for Remotes<N> {
    fn default() -> Self {
        Self {
            addresses: [0; N],
            seen: [Timestamp(0); N],
            len: 0,
        }
    }
}

impl<const N: usize> Remotes<N> {
    pub(super) fn insert(&mut self, remote: u128, at: Timestamp) {
        let known = self.addresses.iter().take(self.len);
        let same = known.into_iter().position(|known| *known == remote);
        let free = (self.len < N).then_some(self.len);
        let oldest = || (0..N).min_by_key(|index| self.seen.get(*index));
        let Some(index) = same.or(free).or_else(oldest) else {
            return;
        };
        if let (Some(address), Some(seen)) = (self.addresses.get_mut(index), self.seen.get_mut(index)) {
            (*address, *seen) = (remote, at);
        }
        self.len = self.len.max(index + 1);
    }

    fn within(&self, at: Timestamp, micros: u64) -> impl Iterator<Item = u128> + Clone {
        let known = self.addresses.iter().zip(&self.seen).take(self.len);
        known
            .filter(move |(_, seen)| at.since(**seen) <= micros)
            .map(|(remote, _)| *remote)
    }

    /// Whether this address was seen within the last `micros`.
    pub(super) fn has(&self, remote: u128, at: Timestamp, micros: u64) -> bool {
        self.within(at, micros).any(|known| known == remote)
    }

    /// Distinct addresses seen within the last `micros`.
    pub(super) fn count(&self, at: Timestamp, micros: u64) -> usize {
        self.within(at, micros).count()
    }
}

/// How many of a host's encrypted flows began with sizes that only message stream encryption has, and how many with
/// sizes that are merely possible for it. Of other protocols with random bytes few are exact, by accident; of a
/// program that encrypts its peer connections most are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Openings {
    exact: u32,
    possible: u32,
    since: Timestamp,
}

impl Openings {
    /// Counts a flow, once by each.
    pub(super) fn count(&mut self, exact: bool, at: Timestamp, micros: u64) {
        let age = at.since(self.since);
        if age > micros {
            let kept = u32::from(age <= 2 * micros);
            (self.exact, self.possible) = (self.exact / 2 * kept, self.possible / 2 * kept);
            self.since = at;
        }
        let counter = if exact {
            &mut self.exact
        } else {
            &mut self.possible
        };
        *counter = counter.saturating_add(1);
    }

    /// Whether exact ones are at least half of the possible ones; most exact ones were possible ones before.
    pub(super) const fn are_exact(&self) -> bool {
        self.exact.saturating_mul(2) >= self.possible
    }

    /// The same of at least two exact ones: a single one may be an accident.
    pub(super) const fn are_exact_again(&self) -> bool {
        self.exact >= 2 && self.are_exact()
    }
}

/// The last public keys of a host, by hash, each with its receiver.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keys {
    hashes: [Option<NonZeroU64>; 8],
    receivers: [u128; 8],
    next: usize,
}

impl Keys {
    /// Remembers a key; the oldest gives way.
    pub(super) fn insert(&mut self, key: NonZeroU64, remote: u128) {
        if self.known().any(|known| known == (key, remote)) {
            return;
        }
        if let (Some(hash), Some(receiver)) =
            (self.hashes.get_mut(self.next), self.receivers.get_mut(self.next))
        {
            (*hash, *receiver) = (Some(key), remote);
        }
        self.next = (self.next + 1) % self.hashes.len();
    }

    /// Whether another remote got the same key.
    pub(super) fn is_reused(&self, key: NonZeroU64, remote: u128) -> bool {
        self.known()
            .any(|(known, receiver)| known == key && receiver != remote)
    }

    fn known(&self) -> impl Iterator<Item = (NonZeroU64, u128)> {
        let known = self.hashes.iter().zip(&self.receivers);
        known.filter_map(|(hash, receiver)| Some(((*hash)?, *receiver)))
    }
}

/// The latest detections of a host, as many as matter: flows, by hash, each with the time when it was counted.
#[derive(Debug, Default)]
pub(super) struct Detections(VecDeque<(u64, Timestamp)>);

impl Detections {
    /// How many are remembered within the last `window` microseconds.
    pub(super) fn count(&self, at: Timestamp, window: u64) -> usize {
        let recent = self.0.iter().filter(|(_, counted)| at.since(*counted) <= window);
        recent.count()
    }

    /// Counts a detection on a flow, unless the flow was counted within the last `pause`; whether there are `enough`
    /// within the last `window`. Both are microseconds.
    pub(super) fn reach(&mut self, enough: usize, flow: u64, at: Timestamp, pause: u64, window: u64) -> bool {
        if enough <= 1 {
            return true;
        }
        self.0.retain(|(_, counted)| at.since(*counted) <= window);
        let repeats = |&(known, counted): &(u64, Timestamp)| known == flow && at.since(counted) < pause;
        if !self.0.iter().any(repeats) {
            self.0.push_back((flow, at));
        }
        while self.0.len() > enough {
            self.0.pop_front();
        }
        self.0.len() == enough
    }
}

/// Bytes of a public key of message stream encryption.
const KEY_BYTES: u16 = 96;
/// Flows that wait for corroboration, at most this many per host; the oldest gives way.
pub(super) const MAX_PENDING: usize = 16;

/// What is remembered of one host.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Remotes with which the host spoke BitTorrent for certain, proven to take part.
    pub confirmed: Remotes<8>,
    /// Remotes of flows that look like message stream encryption, which this host opened.
    pub mse: Remotes<8>,
    /// The same for flows that others opened to it.
    pub mse_inbound: Remotes<8>,
    /// Bytes that the last flow of message stream encryption began with and a digest of its remote, of flows that this host
    /// opened and of those that others opened to it.
    pub began: [Option<(NonZeroU16, u32)>; 2],
    /// Sizes of the flows that this host opened.
    pub openings: Openings,
    /// The same for flows that others opened to it.
    pub openings_inbound: Openings,
    /// Remotes to which this host sent uTP connection attempts or spoke uTP.
    pub utp: Remotes<8>,
    /// Remotes with which DHT maintenance was proven.
    pub dht: Remotes<4>,
    /// Hashes of public keys that this host sent in the key exchange of encrypted streams, each with the remote
    /// that got it. A program that sends one key twice speaks message stream encryption.
    pub keys: Keys,
    /// Remotes of weak evidence.
    pub weak: Remotes<12>,
    /// Flows with the host as an end that were judged BitTorrent.
    pub judged: Detections,
    /// Such flows in which the host is proven to take part.
    pub answerable: Detections,
    /// Flows with strong evidence that wait for corroboration, oldest first.
    pub pending: Vec<FlowId>,
}

impl Host {
    /// Whether a flow began with as many bytes as the last one, which had another remote. A key alone has always 96.
    pub(super) fn begins_alike(&mut self, side: Side, opening: NonZeroU16, remote: u128) -> bool {
        let folded = remote ^ remote >> 64 ^ remote >> 32;
        let remote = u32::try_from(folded & u128::from(u32::MAX)).unwrap_or_default();
        let last = side.pick(&mut self.began).replace((opening, remote));
        let is_same = |(bytes, other)| bytes == opening && other != remote;
        opening.get() != KEY_BYTES && last.is_some_and(is_same)
    }

    pub(super) fn wait(&mut self, flow: FlowId) {
        if !self.pending.contains(&flow) {
            if self.pending.len() == MAX_PENDING {
                self.pending.remove(0);
            }
            self.pending.push(flow);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use btblocker_detectors::Endpoint;

    use super::*;

    fn address(text: &str) -> u128 {
        Endpoint::new(text.parse::<IpAddr>().unwrap(), 0).address
    }

    #[test]
    fn detections_count_flows_and_lasting_flows_again() {
        let mut detections = Detections::default();
        // Flow, time, whether three are reached with a pause of 30 and a window of 100.
        for (flow, at, reached) in [
            (1, 0, false),
            (1, 29, false),
            (1, 30, false),
            (2, 31, true),
            (2, 32, true),
            (2, 60, true),
            // The first has left the window, the second has not.
            (3, 101, true),
            (4, 300, false),
        ] {
            assert_eq!(
                detections.reach(3, flow, Timestamp(at), 30, 100),
                reached,
                "flow {flow} at {at}"
            );
            assert!(detections.0.len() <= 3);
            assert_eq!(detections.count(Timestamp(at), 100) == 3, reached);
        }
        assert!(Detections::default().reach(1, 1, Timestamp(0), 30, 100));
    }

    #[test]
    fn remotes_count_distinct_addresses_within_the_window() {
        let mut remotes = Remotes::<4>::default();
        for (remote, at) in [
            ("192.0.2.1", 10),
            ("192.0.2.1", 20),
            ("192.0.9.9", 30),
            ("2001:db8::1", 40),
        ] {
            remotes.insert(address(remote), Timestamp(at));
        }
        assert_eq!(remotes.count(Timestamp(40), 100), 3);
        assert_eq!(remotes.count(Timestamp(40), 15), 2);
        for last in 1..=9 {
            remotes.insert(address(&format!("198.51.100.{last}")), Timestamp(50 + last));
        }
        assert_eq!(remotes.count(Timestamp(60), 100), 4);
    }
}
