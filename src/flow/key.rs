//! The name of a flow, the same for both directions, and its hash.

use crate::packet::{PacketView, TransportView};
use btblocker_detectors::{Endpoint, Transport};
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;

/// Both endpoints of a flow in ascending order, and its transport. 40 bytes: a `u128` would be aligned to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    low_address: [u64; 2],
    high_address: [u64; 2],
    low_port: u16,
    high_port: u16,
    transport: Transport,
}

impl FlowKey {
    /// The flow between two endpoints, in whichever order they are given.
    pub fn new(transport: Transport, a: Endpoint, b: Endpoint) -> Self {
        Self::directed(transport, a, b).0
    }
    /// The flow that a packet belongs to, and whether its lesser endpoint sent it.
    pub fn of(packet: &PacketView<'_>) -> (Self, bool) {
        let transport = match packet.transport {
            TransportView::Tcp(_) => Transport::Tcp,
            TransportView::Udp(_) => Transport::Udp,
        };
        Self::directed(transport, packet.source, packet.destination)
    }
    /// The same of two endpoints, of which `a` sends.
    #[inline(always)]
    fn directed(transport: Transport, a: Endpoint, b: Endpoint) -> (Self, bool) {
        // Written out: the derived comparison takes more instructions.
        let from_low = a.address < b.address || (a.address == b.address && a.port <= b.port);
        let (low, high) = if from_low { (a, b) } else { (b, a) };
        let key = Self {
            low_address: halves(low.address),
            high_address: halves(high.address),
            low_port: low.port,
            high_port: high.port,
            transport,
        };
        (key, from_low)
    }
    /// The same as numbers: lesser address, upper half first, greater address, then 32 bits of the lesser port, 16 of the
    /// greater one and 16 of the protocol's number.
    pub const fn words(&self) -> [u64; 5] {
        let [low, high] = [self.low_address, self.high_address];
        let protocol = match self.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        };
        let ports = (self.low_port as u64) << 32 | (self.high_port as u64) << 16;
        [low[0], low[1], high[0], high[1], ports | protocol]
    }
    /// The key of a place where no flow is.
    pub(super) const fn vacant() -> Self {
        Self {
            low_address: [0; 2],
            high_address: [0; 2],
            low_port: 0,
            high_port: 0,
            transport: Transport::Udp,
        }
    }
    /// The lesser endpoint, by address, then port.
    pub const fn low(&self) -> Endpoint {
        Endpoint {
            address: whole(self.low_address),
            port: self.low_port,
        }
    }
    /// The greater endpoint.
    pub const fn high(&self) -> Endpoint {
        Endpoint {
            address: whole(self.high_address),
            port: self.high_port,
        }
    }
    /// The transport.
    pub const fn transport(&self) -> Transport {
        self.transport
    }
}

/// The upper and the lower half of an address.
const fn halves(address: u128) -> [u64; 2] {
    [(address >> 64) as u64, address as u64]
}

const fn whole([upper, lower]: [u64; 2]) -> u128 {
    (upper as u128) << 64 | lower as u128
}

/// Seeded hash of flows and of address pairs. The seed is not known outside of the process, so that nobody can
/// choose addresses and ports that meet in one bucket or on one worker.
#[derive(Clone, Debug)]
pub struct FlowHasher(FixedState);

impl FlowHasher {
    /// With a seed from the operating system.
    pub fn random() -> Self {
        Self::seeded(RandomState::new().hash_one(0_u8))
    }
    /// With a known seed, for runs that must be repeatable.
    pub const fn seeded(seed: u64) -> Self {
        Self(FixedState::with_seed(seed))
    }
    /// Hash of a flow.
    pub fn flow(&self, key: &FlowKey) -> u64 {
        let ports = u64::from(key.low_port) << 16 | u64::from(key.high_port);
        let mut hasher = self.0.build_hasher();
        hasher.write_u128(whole(key.low_address));
        hasher.write_u128(whole(key.high_address));
        hasher.write_u64(ports << 8 | key.transport as u64);
        hasher.finish()
    }
    /// Which of `shards` owns all flows between two addresses: less than `shards`, the same in both orders.
    ///
    /// Ports are left out because fragments behind the first have none: so a datagram comes to the owner of its
    /// flow whether it is fragmented or not.
    pub fn shard(&self, a: u128, b: u128, shards: NonZeroUsize) -> usize {
        let mut hasher = self.0.build_hasher();
        hasher.write_u128(a.min(b));
        hasher.write_u128(a.max(b));
        let scaled = u128::from(hasher.finish()) * shards.get() as u128;
        (scaled >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint() -> impl Strategy<Value = Endpoint> {
        (any::<u128>(), any::<u16>()).prop_map(|(address, port)| Endpoint { address, port })
    }

    proptest! {
        #[test]
        fn both_directions_have_one_key_one_hash_and_one_shard(
            a in endpoint(), b in endpoint(), seed: u64, shards in 1_usize..9,
        ) {
            let (there, back) = (FlowKey::new(Transport::Udp, a, b), FlowKey::new(Transport::Udp, b, a));
            let hasher = FlowHasher::seeded(seed);
            let shards = NonZeroUsize::new(shards).unwrap();
            prop_assert_eq!(there, back);
            prop_assert_eq!(hasher.flow(&there), hasher.flow(&back));
            let shard = hasher.shard(a.address, b.address, shards);
            prop_assert_eq!(shard, hasher.shard(b.address, a.address, shards));
            prop_assert!(shard < shards.get());
        }

        #[test]
        fn another_endpoint_or_transport_is_another_flow(a in endpoint(), b in endpoint(), c in endpoint()) {
            let key = FlowKey::new(Transport::Tcp, a, b);
            prop_assert_ne!(key, FlowKey::new(Transport::Udp, a, b));
            prop_assert_eq!(b == c, key == FlowKey::new(Transport::Tcp, a, c));
        }
    }

    #[test]
    fn flows_that_were_chosen_to_collide_spread_under_another_seed() {
        let (guessed, real) = (FlowHasher::seeded(1), FlowHasher::seeded(2));
        let shards = NonZeroUsize::new(4).unwrap();
        let key = |address| {
            let (host, server) = (Endpoint { address, port: 7 }, Endpoint { address: 1, port: 80 });
            FlowKey::new(Transport::Udp, host, server)
        };
        // Hosts whose flows meet in one of 256 buckets, and on one of four workers, for whoever guesses the seed.
        let chosen: Vec<u128> = (2..)
            .filter(|&host| guessed.flow(&key(host)) % 256 == 0 && guessed.shard(host, 1, shards) == 0)
            .take(2_560)
            .collect();
        let (mut buckets, mut workers) = ([0; 256], [0; 4]);
        for host in chosen {
            buckets[usize::try_from(real.flow(&key(host)) % 256).unwrap()] += 1;
            workers[real.shard(host, 1, shards)] += 1;
        }
        assert!(buckets.iter().all(|count| *count < 40), "{buckets:?}");
        assert!(
            workers.iter().all(|count| (540..740).contains(count)),
            "{workers:?}"
        );
        assert_ne!(
            FlowHasher::random().flow(&key(5)),
            FlowHasher::random().flow(&key(5))
        );
    }

    #[test]
    fn shards_and_seeds_spread() {
        let shards = NonZeroUsize::new(4).unwrap();
        let mut counts = [0; 4];
        for address in 0..4000 {
            counts[FlowHasher::seeded(1).shard(1 << 40, address, shards)] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
        let a = Endpoint { address: 1, port: 2 };
        let key = FlowKey::new(Transport::Tcp, a, a);
        assert_ne!(FlowHasher::seeded(1).flow(&key), FlowHasher::seeded(2).flow(&key));
        assert_eq!(size_of::<FlowKey>(), 40);
    }
}
