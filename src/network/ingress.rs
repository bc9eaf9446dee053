//! Whether a frame can really come from the address that it names.
//!
//! A router knows which networks lie behind which interface. A frame that comes in elsewhere (a martian,
//! RFC 1812 section 5.3.8) is forged or misrouted, and must not count against the address it names.
//!
//! Promise: [`Ingress::plausible`] answers without allocation by one binary search. Where the picture is not
//! complete it says "plausible": a VLAN trunk, a PPPoE carrier, a bridge port and a mirror port have networks
//! above them that are not their own, so an interface is taken together with the bridge or bond that it is a
//! port of and with everything that lies on it; what has no address or route even then is not judged; and PPP
//! links, whose carrier the kernel does not name, may come in anywhere.
//!
//! Deliberately not done: layer-3 devices are not judged, because their frames do not tell which way they go.
//! On a bridge port the frames of other ports carry foreign MAC addresses in both directions; they are judged
//! like incoming ones, and pass because the bridge's networks are the port's.

use super::{Interface, InterfaceKind, Network, Prefix};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Watched interfaces beyond this number are not judged.
const MAX_WATCHED: usize = 64;
const EVERYWHERE: u64 = u64::MAX;

/// Which networks may come in on which watched interface.
#[derive(Clone, Debug, Default)]
pub struct Ingress {
    /// Own MAC addresses, sorted.
    macs: Vec<u64>,
    /// First addresses of ranges, ascending; each range ends where the next one begins. The first is 0.
    starts: Vec<u128>,
    /// For each range a bit per watched interface that its addresses may come in on.
    allowed: Vec<u64>,
}

impl Ingress {
    /// `watched` are the names of the captured interfaces, by their number in the frames.
    pub fn new(network: &Network, watched: &[impl AsRef<str>]) -> Self {
        let mut reach = Reach::new(network, watched);
        let (mut default4, mut default6) = (None, None);
        for interface in &network.interfaces {
            let bits = reach.bits(interface);
            let attached = interface.addresses.iter().map(|(_, attached)| *attached);
            let routes = network
                .routes
                .iter()
                .filter(|route| route.interface == interface.index);
            for prefix in attached.chain(routes.map(|route| route.destination)) {
                if prefix.is_default() {
                    let default = if prefix.is_ipv4() {
                        &mut default4
                    } else {
                        &mut default6
                    };
                    *default = Some(default.unwrap_or(reach.unjudged) | bits);
                } else {
                    reach.add(prefix, bits);
                }
            }
        }
        let unjudged = reach.unjudged;
        // Without a default route nobody can say where strangers come in.
        reach.set(
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            0,
            default6.unwrap_or(EVERYWHERE),
        );
        reach.set(
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            0,
            default4.unwrap_or(EVERYWHERE),
        );
        reach.set(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8, unjudged);
        reach.set(IpAddr::V6(Ipv6Addr::LOCALHOST), 128, unjudged);
        for own in network.own_addresses() {
            reach.prefixes.insert(Prefix::host(own), unjudged);
        }
        // Each link has its own of these.
        reach.prefixes.retain(|prefix, _| !prefix.is_link_local());
        reach.set(IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16, EVERYWHERE);
        reach.set(
            IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)),
            10,
            EVERYWHERE,
        );
        let mut macs: Vec<u64> = network
            .interfaces
            .iter()
            .filter_map(|interface| interface.mac)
            .map(mac_bits)
            .collect();
        macs.sort_unstable();
        macs.dedup();
        let (starts, allowed) = reach.flatten();
        Self {
            macs,
            starts,
            allowed,
        }
    }

    /// Whether a frame that was captured on the watched interface of that number may come from `source` (IPv4
    /// mapped, of the outermost packet). Frames without a source MAC address and frames that this machine sends
    /// are always plausible.
    #[inline]
    pub fn plausible(&self, interface: u16, source_mac: Option<[u8; 6]>, source: u128) -> bool {
        let Some(mac) = source_mac else { return true };
        let after = self.starts.partition_point(|start| *start <= source);
        let allowed = after
            .checked_sub(1)
            .and_then(|at| self.allowed.get(at))
            .copied()
            .unwrap_or(EVERYWHERE);
        let bit = 1u64.checked_shl(u32::from(interface)).unwrap_or(0);
        // Frames of our own are the exception, so their search comes last.
        bit == 0 || allowed & bit != 0 || self.macs.binary_search(&mac_bits(mac)).is_ok()
    }
}

fn mac_bits(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Prefixes with the watched interfaces that they may come in on.
struct Reach {
    /// For each watched interface the numbers of the interfaces whose networks it carries.
    carried: Vec<BTreeSet<u32>>,
    /// Bits of watched interfaces whose networks are not known.
    unjudged: u64,
    /// In the order of prefixes a covering one comes before what it covers.
    prefixes: BTreeMap<Prefix, u64>,
}

impl Reach {
    fn new(network: &Network, watched: &[impl AsRef<str>]) -> Self {
        let carried: Vec<_> = watched
            .iter()
            .take(MAX_WATCHED)
            .map(|name| carried_by(network, name.as_ref()))
            .collect();
        let addresses = network.interfaces.iter().flat_map(|interface| {
            interface
                .addresses
                .iter()
                .map(|(_, attached)| (interface.index, *attached))
        });
        let routes = network
            .routes
            .iter()
            .map(|route| (route.interface, route.destination));
        let known: BTreeSet<u32> = addresses
            .chain(routes)
            .filter(|(_, prefix)| !prefix.is_link_local())
            .map(|(index, _)| index)
            .collect();
        let unknown = carried
            .iter()
            .enumerate()
            .filter(|(_, carried)| carried.is_disjoint(&known));
        let unjudged = unknown.fold(0, |bits, (number, _)| bits | 1 << number);
        Self {
            carried,
            unjudged,
            prefixes: BTreeMap::new(),
        }
    }

    /// The watched interfaces that carry the networks of `interface`.
    fn bits(&self, interface: &Interface) -> u64 {
        if interface.kind == InterfaceKind::Ppp {
            return EVERYWHERE;
        }
        let carriers = self.carried.iter().enumerate();
        let carriers = carriers.filter(|(_, carried)| carried.contains(&interface.index));
        carriers.fold(self.unjudged, |bits, (number, _)| bits | 1 << number)
    }

    fn add(&mut self, prefix: Prefix, bits: u64) {
        *self.prefixes.entry(prefix).or_insert(0) |= bits;
    }

    fn set(&mut self, address: IpAddr, prefix_len: u8, bits: u64) {
        self.prefixes
            .extend(Prefix::new(address, prefix_len).map(|prefix| (prefix, bits)));
    }

    /// Ranges without overlap, each with the bits of the longest prefix that covers it.
    fn flatten(&self) -> (Vec<u128>, Vec<u64>) {
        let mut ranges: Vec<(u128, u64)> = Vec::new();
        let mut begin = |start: u128, bits: u64| {
            ranges.pop_if(|(last, _)| *last == start);
            if ranges.last().is_none_or(|(_, last)| *last != bits) {
                ranges.push((start, bits));
            }
        };
        // Prefixes that cover the place, the longest last.
        let mut covering: Vec<(Prefix, u64)> = Vec::new();
        let leave = |covering: &mut Vec<(Prefix, u64)>, begin: &mut dyn FnMut(u128, u64)| {
            if let Some((left, _)) = covering.pop()
                && let Some((_, outer)) = covering.last()
                && let Some(next) = left.last().checked_add(1)
            {
                begin(next, *outer);
            }
        };
        for (prefix, bits) in &self.prefixes {
            while covering
                .last()
                .is_some_and(|(cover, _)| cover.last() < prefix.first())
            {
                leave(&mut covering, &mut begin);
            }
            begin(prefix.first(), *bits);
            covering.push((*prefix, *bits));
        }
        while !covering.is_empty() {
            leave(&mut covering, &mut begin);
        }
        ranges.into_iter().unzip()
    }
}

/// The interface of that name, the bridge or bond that it is a port of, and what lies on any of them.
fn carried_by(network: &Network, name: &str) -> BTreeSet<u32> {
    let mut carried: BTreeSet<u32> = network
        .interface(name)
        .map(|interface| interface.index)
        .into_iter()
        .collect();
    loop {
        let before = carried.len();
        for interface in &network.interfaces {
            if carried.contains(&interface.index) {
                carried.extend(interface.master);
            }
            if interface.lower.is_some_and(|lower| carried.contains(&lower)) {
                carried.insert(interface.index);
            }
        }
        if carried.len() == before {
            return carried;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Route;
    use proptest::prelude::*;

    const STRANGER: [u8; 6] = [2, 9, 9, 9, 9, 9];

    /// A router: uplink eth0, LAN eth1, VPN wg0, a trunk with a VLAN, a bridge with a port, a bare mirror port.
    fn router() -> Network {
        use InterfaceKind::{Ethernet, Loopback, Other};
        let interface = |index: u32, name: &str, kind, master, lower, addresses: &[(&str, u8)]| Interface {
            name: name.to_owned(),
            index,
            kind,
            mac: (kind == Ethernet).then_some([2, 0, 0, 0, 0, index as u8]),
            up: true,
            master,
            lower,
            addresses: addresses
                .iter()
                .map(|(own, len)| {
                    let own = own.parse().unwrap();
                    (own, Prefix::new(own, *len).unwrap())
                })
                .collect(),
        };
        let route = |destination: &str, len, interface| Route {
            destination: Prefix::new(destination.parse().unwrap(), len).unwrap(),
            interface,
            gateway: None,
            table: 254,
        };
        Network {
            interfaces: vec![
                interface(1, "lo", Loopback, None, None, &[("127.0.0.1", 8), ("::1", 128)]),
                interface(
                    2,
                    "eth0",
                    Ethernet,
                    None,
                    None,
                    &[("203.0.113.5", 24), ("2001:db8::5", 64), ("fe80::2", 64)],
                ),
                interface(
                    3,
                    "eth1",
                    Ethernet,
                    None,
                    None,
                    &[("10.1.0.1", 16), ("fe80::3", 64)],
                ),
                interface(4, "wg0", Other, None, None, &[("10.1.8.1", 24)]),
                interface(5, "trunk", Ethernet, None, None, &[("fe80::5", 64)]),
                interface(6, "trunk.7", Ethernet, None, Some(5), &[("10.7.0.1", 24)]),
                interface(7, "br0", Ethernet, None, None, &[("10.9.0.1", 24)]),
                interface(8, "port", Ethernet, Some(7), None, &[]),
                interface(9, "mirror", Ethernet, None, None, &[]),
            ],
            routes: vec![
                route("0.0.0.0", 0, 2),
                route("::", 0, 2),
                route("172.16.0.0", 12, 3),
                route("fd00:7::", 64, 6),
                route("fe80::", 64, 3),
            ],
            ..Network::default()
        }
    }

    const WATCHED: [&str; 6] = ["eth0", "eth1", "wg0", "trunk", "port", "mirror"];

    #[test]
    fn tells_martians_by_interface() {
        let ingress = Ingress::new(&router(), &WATCHED);
        // Source, then for each watched interface whether it may come in there; frames of wg0 have no MAC.
        for (source, expected) in [
            ("198.51.100.1", [true, false, true, false, false, true]), // a stranger
            ("203.0.113.77", [true, false, true, false, false, true]), // a neighbour of the uplink
            ("10.1.0.77", [false, true, true, false, false, true]),    // the LAN
            ("172.20.0.1", [false, true, true, false, false, true]),   // routed behind the LAN
            ("10.1.8.77", [false, false, true, false, false, true]),   // VPN, a hole in the LAN's prefix
            ("10.1.9.0", [false, true, true, false, false, true]),     // first address behind that hole
            ("10.7.0.9", [false, false, true, true, false, true]),     // VLAN on the trunk
            ("10.9.0.9", [false, false, true, false, true, true]),     // bridge of the port
            ("10.1.0.1", [false, false, true, false, false, true]),    // our own
            ("127.0.0.9", [false, false, true, false, false, true]),   // loopback
            ("169.254.3.4", [true, true, true, true, true, true]),     // link-local
            ("fe80::99", [true, true, true, true, true, true]),        // link-local
            ("2400:1::1", [true, false, true, false, false, true]),    // a stranger
            ("2001:db8::5", [false, false, true, false, false, true]), // our own
            ("fd00:7::1", [false, false, true, true, false, true]),    // VLAN on the trunk
        ] {
            let bits = Prefix::host(source.parse().unwrap()).first();
            for (number, expected) in expected.into_iter().enumerate() {
                let mac = (WATCHED[number] != "wg0").then_some(STRANGER);
                assert_eq!(
                    ingress.plausible(number as u16, mac, bits),
                    expected,
                    "{source} on {}",
                    WATCHED[number]
                );
                assert!(ingress.plausible(number as u16, None, bits));
                assert!(
                    ingress.plausible(number as u16, Some([2, 0, 0, 0, 0, 3]), bits),
                    "sent by us"
                );
            }
            assert!(ingress.plausible(64, Some(STRANGER), bits), "beyond the table");
        }
    }

    #[test]
    fn without_a_default_route_strangers_may_come_in_anywhere() {
        let mut network = router();
        network
            .routes
            .retain(|route| !(route.destination.is_default() && route.destination.is_ipv4()));
        let ingress = Ingress::new(&network, &WATCHED);
        let bits = |text: &str| Prefix::host(text.parse().unwrap()).first();
        assert!(ingress.plausible(1, Some(STRANGER), bits("198.51.100.1")));
        assert!(!ingress.plausible(1, Some(STRANGER), bits("203.0.113.77")));
        assert!(!ingress.plausible(1, Some(STRANGER), bits("2400:1::1")));
    }

    #[test]
    fn what_a_ppp_link_brings_may_come_in_on_its_carrier() {
        let mut network = router();
        network.interfaces[1].kind = InterfaceKind::Ppp;
        let ingress = Ingress::new(&network, &WATCHED);
        let bits = |text: &str| Prefix::host(text.parse().unwrap()).first();
        assert!(ingress.plausible(1, Some(STRANGER), bits("198.51.100.1")));
        assert!(!ingress.plausible(1, Some(STRANGER), bits("10.7.0.9")));
    }

    #[test]
    fn an_empty_network_judges_nobody() {
        for ingress in [Ingress::default(), Ingress::new(&Network::default(), &WATCHED)] {
            assert!(
                ingress.plausible(0, Some(STRANGER), 0) && ingress.plausible(0, Some(STRANGER), u128::MAX)
            );
        }
    }

    proptest! {
        #[test]
        fn ranges_say_what_the_longest_prefix_says(prefixes in prop::collection::btree_map((any::<u128>(), 0u8..=128), 1u64..8, 0..12), probe: u128) {
            let mut reach = Reach { carried: vec![], unjudged: 0, prefixes: BTreeMap::new() };
            reach.set(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0, 0);
            for ((address, len), bits) in prefixes {
                // Small addresses nest often.
                reach.set(IpAddr::V6(Ipv6Addr::from(address >> (len / 2))), len, bits);
            }
            let (starts, allowed) = reach.flatten();
            let near = reach.prefixes.keys().flat_map(|prefix| {
                [prefix.first().saturating_sub(1), prefix.first(), prefix.last(), prefix.last().saturating_add(1)]
            });
            for address in near.chain([probe, 0, u128::MAX]) {
                let covering = reach.prefixes.iter().filter(|(prefix, _)| prefix.contains(address));
                let longest = covering.min_by_key(|(prefix, _)| prefix.last() - prefix.first());
                let expected = longest.map(|(_, bits)| *bits);
                let at = starts.partition_point(|start| *start <= address) - 1;
                prop_assert_eq!(Some(allowed[at]), expected);
            }
        }
    }
}
