//! Reading the network, in network namespaces of the tests' own. Needs root and `ip`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "the module is shared by test programs")]

mod namespace;

use btblocker::network::{Ingress, InterfaceKind, Network, Prefix, Watcher};
use namespace::{in_namespace, ip, veth};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

fn prefixes(network: &Network) -> Vec<String> {
    network.local_networks().iter().map(Prefix::to_string).collect()
}

fn texts(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(IpAddr::to_string).collect()
}

#[test]
fn reads_interfaces_routes_and_what_follows_from_them() {
    in_namespace(|| {
        veth("up0", "far0");
        veth("lan0", "far1");
        ip("link set lan0 address 02:00:00:00:00:11");
        ip("addr add 203.0.113.5/24 dev up0");
        ip("addr add 2001:db8::5/64 dev up0 nodad");
        ip("addr add 10.1.0.1/16 dev lan0");
        ip("addr add 10.99.0.1 peer 10.99.0.2 dev lan0");
        ip("route add 172.16.0.0/12 via 10.1.0.2");
        ip("route add fd00:1::/64 dev lan0");
        ip("route add default via 203.0.113.1");
        ip("route add blackhole 192.168.0.0/16");
        ip("-6 route add default via 2001:db8::1 dev up0");
        ip("route add 192.0.2.0/24 proto bgp via 10.1.0.3");
        ip("route add 100.64.0.0/10 nexthop via 10.1.0.2 dev lan0 nexthop via 203.0.113.9 dev up0");

        let network = Network::read().expect("network is read");
        let lan = network.interface("lan0").expect("lan0");
        assert_eq!(
            (lan.mac, lan.up, lan.kind),
            (Some([2, 0, 0, 0, 0, 0x11]), true, InterfaceKind::Ethernet)
        );
        assert_eq!(
            network.interface("lo").map(|lo| lo.kind),
            Some(InterfaceKind::Loopback)
        );
        assert_eq!(network.default_interfaces(), ["up0"]);
        assert_eq!(texts(&network.gateways()), ["203.0.113.1", "2001:db8::1"]);
        let own = texts(&network.own_addresses());
        for address in [
            "127.0.0.1",
            "::1",
            "203.0.113.5",
            "2001:db8::5",
            "10.1.0.1",
            "10.99.0.1",
        ] {
            assert!(own.iter().any(|own| own == address), "{address} in {own:?}");
        }
        assert!(!own.contains(&"10.99.0.2".to_owned()));
        let mut local = prefixes(&network);
        let mut expected = [
            "203.0.113.5/32",
            "2001:db8::5/128",
            "10.1.0.1/32",
            "10.1.0.0/16",
            "10.99.0.1/32",
            "10.99.0.2/32",
            "172.16.0.0/12",
            "fd00:1::/64",
            "100.64.0.0/10",
        ];
        local.sort();
        expected.sort();
        assert_eq!(local, expected);

        let ingress = Ingress::new(&network, &["up0", "lan0"]);
        let from = |number, source: &str| {
            ingress.plausible(
                number,
                Some([2, 9, 9, 9, 9, 9]),
                Prefix::host(source.parse().unwrap()).first(),
            )
        };
        assert!(from(0, "198.51.100.1") && !from(1, "198.51.100.1"));
        assert!(from(1, "10.1.2.3") && !from(0, "10.1.2.3"));
        assert!(from(0, "100.64.0.1") && from(1, "100.64.0.1"));
        assert!(!from(0, "203.0.113.5"));
    });
}

#[test]
fn an_empty_namespace_has_no_uplink() {
    in_namespace(|| {
        let network = Network::read().expect("network is read");
        assert!(network.default_interfaces().is_empty() && network.gateways().is_empty());
        assert!(network.local_networks().is_empty());
    });
}

/// Whether the watcher's descriptor becomes readable in that time.
fn readable(watcher: &Watcher, millis: i32) -> bool {
    let mut fd = libc::pollfd {
        fd: watcher.as_fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the pointer and the count are those of one live value.
    let ready = unsafe { libc::poll(&raw mut fd, 1, millis) };
    ready == 1
}

/// Reads changes until there are none for a while: a new device goes on changing until its addresses are settled.
fn settle(watcher: &mut Watcher) {
    while readable(watcher, 300) {
        assert!(watcher.changed(), "readable without a change");
    }
}

#[test]
fn the_watcher_tells_each_kind_of_change() {
    in_namespace(|| {
        veth("here", "there");
        let mut watcher = Watcher::new().expect("watcher");
        for change in [
            "link set here down",
            "addr add 192.0.2.1/24 dev there",
            "route add 198.51.100.0/24 via 192.0.2.2 onlink dev there",
            "-6 addr add 2001:db8::1/64 dev here nodad",
            "link set there down",
            "link del here",
        ] {
            settle(&mut watcher);
            ip(change);
            assert!(readable(&watcher, 10_000) && watcher.changed(), "{change}");
        }
        settle(&mut watcher);
        assert!(!watcher.changed());
    });
}

/// Messages that the kernel could not give to subscribers of this namespace.
fn dropped() -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/netlink").expect("netlink sockets");
    let drops = |line: &str| line.split_whitespace().nth(8)?.parse::<u64>().ok();
    table.lines().filter_map(drops).sum()
}

#[test]
fn more_changes_than_the_watcher_has_room_for_are_a_change() {
    in_namespace(|| {
        let mut watcher = Watcher::new().expect("watcher");
        settle(&mut watcher);
        let changes: String = (0..4_000)
            .map(|number| format!("addr add 10.{}.{}.1/32 dev lo\n", number / 200, number % 200))
            .collect();
        let file = std::env::temp_dir().join(format!("btblocker-changes-{}", std::process::id()));
        std::fs::write(&file, changes).expect("a file of commands");
        ip(&format!("-batch {}", file.display()));
        std::fs::remove_file(&file).expect("the file is there");
        assert!(dropped() > 0, "there was room for all");
        assert!(watcher.changed());
        let own = Network::read().expect("network is read").own_addresses();
        assert!(own.len() >= 4_000, "{} addresses", own.len());
        // It goes on as before.
        settle(&mut watcher);
        assert!(!watcher.changed());
        ip("addr add 192.0.2.1/24 dev lo");
        assert!(readable(&watcher, 10_000) && watcher.changed());
    });
}

#[test]
fn the_other_end_of_an_ssh_session_is_known() {
    in_namespace(|| {
        for address in ["192.0.2.22", "192.0.2.80"] {
            ip(&format!("addr add {address}/32 dev lo"));
        }
        let sessions = ["192.0.2.22:22", "192.0.2.80:80"].map(|address| {
            let listener = TcpListener::bind(address).expect("listener");
            let client = TcpStream::connect(address).expect("client");
            (listener.accept().expect("accepted"), client)
        });
        // The session that runs this test may be one too.
        let peers = texts(&Network::read().expect("network is read").hosts.ssh_peers);
        assert!(peers.contains(&"192.0.2.22".to_owned()), "{peers:?}");
        assert!(!peers.contains(&"192.0.2.80".to_owned()), "{peers:?}");
        drop(sessions);
    });
}
