//! Bans on a router with real traffic over veth, native and generic.

use std::time::{Duration, Instant};

use btblocker::backend::{Xdp, XdpMode};
use btblocker::ban::SetBackend;

use crate::lab::{self, BANNED, From, Lab, OTHERS, Probe, assert_answers, is_silent};
use crate::{attached, ban, counters, listed, unban};

/// Asserts that the peer's address is silent, and that the program is why.
fn assert_dropped(xdp: &mut Xdp, from: From, probe: Probe, address: &str) {
    let before = counters(xdp);
    assert!(
        is_silent(from, probe, address),
        "{probe:?} to {address} from {from:?}"
    );
    // The answer may be later than the probe is patient.
    lab::eventually("the drop to be counted", || {
        let after = counters(xdp);
        after.dropped_v4 + after.dropped_v6 > before.dropped_v4 + before.dropped_v6
    });
}

/// Every protocol from both places: answers before, silence while banned, answers after; the neighbour always answers.
fn bans_and_unbans(mode: XdpMode, elements: [&'static str; 2]) {
    lab::in_namespaces(move || {
        let _lab = Lab::new();
        let mut xdp = attached("lan0", mode);
        xdp.verify().unwrap();
        for (address, other) in BANNED.into_iter().zip(OTHERS) {
            for from in [From::Router, From::Far] {
                for probe in Probe::ALL {
                    assert_answers(from, probe, address);
                    assert_answers(from, probe, other);
                }
            }
        }
        xdp.apply(&elements.map(|element| ban(element, 600))).unwrap();
        for (address, other) in BANNED.into_iter().zip(OTHERS) {
            for from in [From::Router, From::Far] {
                for probe in Probe::ALL {
                    assert_dropped(&mut xdp, from, probe, address);
                    assert_answers(from, probe, other);
                }
            }
        }
        xdp.apply(&elements.map(unban)).unwrap();
        for address in BANNED {
            for probe in Probe::ALL {
                assert_answers(From::Far, probe, address);
            }
        }
        xdp.apply(&elements.map(|element| ban(element, 600))).unwrap();
        assert_dropped(&mut xdp, From::Router, Probe::Udp, BANNED[0]);
        xdp.teardown().unwrap();
        for address in BANNED {
            assert_answers(From::Router, Probe::Udp, address);
        }
    });
}

#[test]
fn native_drops_banned_hosts_only() {
    bans_and_unbans(XdpMode::Native, BANNED);
}

#[test]
fn generic_drops_banned_hosts_only() {
    bans_and_unbans(XdpMode::Generic, BANNED);
}

#[test]
fn native_drops_banned_networks_only() {
    bans_and_unbans(XdpMode::Native, ["10.1.0.2/31", "fd00:1::2/127"]);
}

#[test]
fn a_ban_ends_without_user_space() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        let mut xdp = attached("lan0", XdpMode::Auto);
        for address in BANNED {
            assert_answers(From::Router, Probe::Udp, address);
            xdp.apply(&[ban(address, 2)]).unwrap();
            let start = Instant::now();
            assert_dropped(&mut xdp, From::Router, Probe::Udp, address);
            assert_answers(From::Router, Probe::Udp, address);
            assert!(
                start.elapsed() >= Duration::from_millis(1900),
                "after {:?}",
                start.elapsed()
            );
        }
        assert!(listed(&mut xdp).is_empty());
    });
}

#[test]
fn a_second_ban_restarts_the_clock() {
    lab::in_namespaces(|| {
        let mut xdp = attached("lo", XdpMode::Auto);
        for element in ["10.0.0.1", "10.0.0.0/8", "fd00::1", "fd00::/8"] {
            for secs in [10, 300, 20] {
                xdp.apply(&[ban(element, secs)]).unwrap();
                let held = xdp.list().unwrap();
                let remaining = held[0].remaining.unwrap();
                assert_eq!(held.len(), 1);
                assert!(remaining > Duration::from_secs(secs - 5) && remaining <= Duration::from_secs(secs));
            }
            xdp.apply(&[unban(element), unban(element)]).unwrap();
            assert!(listed(&mut xdp).is_empty(), "{element}");
        }
    });
}
