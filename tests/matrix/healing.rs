//! An interface that is deleted and made again while it is watched: what was banned stays banned with its remaining
//! time, and new bans are made, for every backend.

use std::time::{Duration, Instant};

use crate::cell::{BRIEFLY, Cell, Family};
use crate::lab::{self, Link, eventually};
use crate::namespace::{in_namespace, ip};
use crate::program::{Backend, Program};
use crate::{IPSET, NFTABLES, XDP_GENERIC, XDP_NATIVE};

/// What is promised.
const WITHIN: Duration = Duration::from_secs(5);

fn check(backend: Backend) {
    in_namespace(move || {
        lab::build();
        let cells = Cell::of(Link::Ethernet);
        let program = Program::new(backend, &[Link::Ethernet.device()]);
        let daemon = program.watch(&["--ban-duration", "1h", "--ban-target", "client"]);
        let ban = |cell: Cell| {
            cell.shake_hands();
            daemon.wait_for(&format!("banned {}", cell.address()));
            eventually("the ban", || (!cell.passes(BRIEFLY)).then_some(()));
        };
        let [v4, v6] = [Family::Ipv4, Family::Ipv6].map(|family| {
            let cells = cells.iter().copied().filter(|cell| cell.family == family);
            cells.collect::<Vec<_>>()
        });
        let old = [v4[0], v6[0]];
        old.into_iter().for_each(&ban);

        ip("link del wire0");
        daemon.wait_for("not capturing");
        Link::Ethernet.make().unwrap();
        let made = Instant::now();
        daemon.wait_for("capturing on");
        for cell in old {
            eventually("the old ban", || (!cell.passes(BRIEFLY)).then_some(()));
        }
        let took = made.elapsed();
        println!(
            "{}: the interface is made again: healed after {took:.1?}",
            backend.name
        );
        assert!(took < WITHIN, "{took:?}");
        let held = program.say(&["bans", "--format", "json"]);
        assert_eq!(held.lines().count(), old.len(), "{held}");
        for line in held.lines() {
            let held: serde_json::Value = serde_json::from_str(line).unwrap();
            let left = held["remaining_seconds"].as_u64().unwrap();
            assert!((3_500..3_600).contains(&left), "{held}");
        }

        ban(v4[1]);
        ban(v6[1]);
    });
}

#[test]
fn an_interface_made_again_is_enforced_with_nftables() {
    check(NFTABLES);
}

#[test]
fn an_interface_made_again_is_enforced_with_ipset() {
    check(IPSET);
}

#[test]
fn an_interface_made_again_is_enforced_with_generic_xdp() {
    check(XDP_GENERIC);
}

#[test]
fn an_interface_made_again_is_enforced_with_native_xdp() {
    check(XDP_NATIVE);
}
