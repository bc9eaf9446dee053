//! What every backend promises, the one in memory included.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use btblocker::backend::BackendKind;
use btblocker::ban::{BackendError, Change, Element, Timeout};

use crate::namespace::eventually;
use crate::{Bench, Case};

pub(crate) const ALL: &[Case] = &[
    (
        "what is banned is listed with its remaining time",
        listed_with_remaining_time,
        65_536,
    ),
    (
        "a ban alone and a ban in a batch are the same",
        alone_and_in_a_batch,
        65_536,
    ),
    (
        "banning again restarts the clock",
        banning_again_restarts_the_clock,
        65_536,
    ),
    (
        "banning again takes over another timeout",
        banning_again_takes_over_another_timeout,
        65_536,
    ),
    ("the longest timeout holds", longest_timeout_holds, 65_536),
    (
        "unbanning what is absent is fine",
        unbanning_what_is_absent,
        65_536,
    ),
    ("the last change of an element counts", last_change_counts, 65_536),
    ("a thousand changes of both families", thousand_changes, 65_536),
    (
        "a host within a banned network is its own element",
        host_within_network,
        65_536,
    ),
    ("networks of every size", networks_of_every_size, 65_536),
    ("bans run out", bans_run_out, 65_536),
    ("what is missing is named", what_is_missing, 65_536),
    ("a comparison begins anew", comparison_begins_anew, 65_536),
    ("no changes change nothing", no_changes, 65_536),
];

pub(crate) fn element(text: &str) -> Element {
    match text.split_once('/') {
        Some((address, len)) => Element::network(address.parse().unwrap(), len.parse().unwrap()).unwrap(),
        None => Element::host(text.parse().unwrap()),
    }
}

pub(crate) fn ban(text: &str, secs: u64) -> Change {
    Change::Ban(element(text), Timeout::from_duration(Duration::from_secs(secs)))
}

pub(crate) fn unban(text: &str) -> Change {
    Change::Unban(element(text))
}

impl Bench {
    pub(crate) fn ensure(&mut self) {
        self.backend.ensure().unwrap();
        self.backend.verify().unwrap();
    }

    pub(crate) fn apply(&mut self, changes: &[Change]) {
        self.backend.apply(changes).unwrap();
    }

    pub(crate) fn try_apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        self.backend.apply(changes)
    }

    /// Elements and their remaining seconds, rounded up.
    pub(crate) fn held(&mut self) -> BTreeMap<Element, u64> {
        let held = self.backend.list().unwrap();
        let count = held.len();
        let map: BTreeMap<_, _> = held
            .into_iter()
            .map(|held| {
                let remaining = held.remaining.expect("every ban of ours has an end");
                (held.element, remaining.as_millis().div_ceil(1000) as u64)
            })
            .collect();
        assert_eq!(map.len(), count, "nothing is listed twice");
        map
    }

    pub(crate) fn names(&mut self) -> Vec<String> {
        self.held().keys().map(Element::to_string).collect()
    }

    /// Asserts that `text` has between `secs - 2` and `secs` seconds left.
    pub(crate) fn assert_remaining(&mut self, text: &str, secs: u64) {
        let remaining = self.held().get(&element(text)).copied();
        assert!(
            remaining.is_some_and(|remaining| (secs.saturating_sub(2)..=secs).contains(&remaining)),
            "{text}: {remaining:?} s left, wanted {secs}"
        );
    }

    /// What the kernel does not hold of `expected`.
    fn missing(&mut self, expected: &[Element]) -> Vec<Element> {
        let (mut expected, mut missing) = (expected.to_vec(), Vec::new());
        self.backend.verify().unwrap();
        while !expected.is_empty() {
            missing.extend(self.backend.compare(&mut expected).unwrap());
        }
        missing
    }

    /// Waits until the clock of `text` shows less than `secs`.
    fn wait_for_clock(&mut self, text: &str, secs: u64) {
        let reached = eventually(Duration::from_secs(10), || self.held()[&element(text)] < secs);
        assert!(reached, "the clock of {text} does not run");
    }
}

fn what_is_missing(bench: &mut Bench) {
    bench.ensure();
    let held: Vec<String> = (1..100).map(|n| format!("198.51.100.{n}")).collect();
    let networks = ["172.16.0.0/12", "10.0.0.0/8", "2001:db8:1::/64", "2001:db8::1"];
    let all: Vec<&str> = held.iter().map(String::as_str).chain(networks).collect();
    let bans: Vec<_> = all.iter().map(|text| ban(text, 600)).collect();
    bench.apply(&bans);
    bench.apply(&[ban("192.0.2.1", 1)]);
    let absent = [
        "192.0.2.2",
        "11.0.0.0/8",
        "10.0.0.1",
        "2001:db8:2::/64",
        "2001:db8::2",
    ];
    let asked: Vec<Element> = all.iter().chain(&absent).map(|text| element(text)).collect();
    let mut missing = bench.missing(&asked);
    missing.sort();
    let mut wanted = absent.map(element);
    wanted.sort();
    assert_eq!(missing, wanted);
    // With nftables it cannot be there beside the wider one.
    let inner = [element("172.16.0.0/16")];
    if bench.kind != BackendKind::Nftables {
        assert_eq!(bench.missing(&inner), inner);
    }
    let short = [element("192.0.2.1")];
    let gone = eventually(Duration::from_secs(10), || bench.missing(&short) == short);
    assert!(gone, "a ban that has run out is missing");
}

/// As when it was given up: more elements than a step compares, and the list is read in part.
fn comparison_begins_anew(bench: &mut Bench) {
    bench.ensure();
    let host = |number: u32| Element::host(Ipv4Addr::from_bits(0x0a00_0000 + number).into());
    let hosts: Vec<Element> = (0..20_000).map(host).collect();
    let timeout = Timeout::from_duration(Duration::from_secs(600));
    let bans: Vec<Change> = hosts.iter().map(|host| Change::Ban(*host, timeout)).collect();
    bench.apply(&bans);
    for _ in 0..2 {
        bench.backend.verify().unwrap();
        bench.backend.compare(&mut hosts.clone()).unwrap();
    }
    let mut expected = hosts;
    expected.push(host(20_000));
    assert_eq!(bench.missing(&expected), [host(20_000)]);
}

fn listed_with_remaining_time(bench: &mut Bench) {
    bench.ensure();
    assert!(bench.held().is_empty());
    bench.apply(&[
        ban("192.0.2.1", 600),
        ban("2001:db8::1", 18_000),
        ban("198.51.100.0/24", 50),
    ]);
    assert_eq!(bench.names(), ["192.0.2.1", "198.51.100.0/24", "2001:db8::1"]);
    bench.assert_remaining("192.0.2.1", 600);
    bench.assert_remaining("2001:db8::1", 18_000);
    bench.assert_remaining("198.51.100.0/24", 50);
}

fn alone_and_in_a_batch(bench: &mut Bench) {
    bench.ensure();
    for text in ["192.0.2.1", "2001:db8::1", "203.0.113.0/25", "2001:db8:1::/48"] {
        bench.apply(&[ban(text, 300)]);
        bench.assert_remaining(text, 300);
    }
    bench.apply(&[
        ban("192.0.2.1", 500),
        ban("2001:db8::1", 500),
        ban("203.0.113.0/25", 500),
        ban("2001:db8:1::/48", 500),
    ]);
    for text in ["192.0.2.1", "2001:db8::1", "203.0.113.0/25", "2001:db8:1::/48"] {
        bench.assert_remaining(text, 500);
        bench.apply(&[unban(text)]);
    }
    assert!(bench.held().is_empty());
}

fn banning_again_restarts_the_clock(bench: &mut Bench) {
    bench.ensure();
    let all = [
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "203.0.113.0/25",
        "2001:db8:1::/48",
    ];
    bench.apply(&all.map(|text| ban(text, 100)));
    for text in all {
        bench.wait_for_clock(text, 98);
    }
    // One by one and together go different ways to the kernel.
    bench.apply(&[ban("192.0.2.1", 100)]);
    assert!(bench.held()[&element("192.0.2.1")] >= 98);
    bench.apply(&all.map(|text| ban(text, 100)));
    for text in all {
        assert!(bench.held()[&element(text)] >= 98, "{text}");
    }
}

fn banning_again_takes_over_another_timeout(bench: &mut Bench) {
    bench.ensure();
    for (first, second) in [(100, 5_000), (5_000, 100)] {
        for text in ["192.0.2.1", "2001:db8::1", "203.0.113.0/25"] {
            bench.apply(&[ban(text, first)]);
            bench.assert_remaining(text, first);
            bench.apply(&[ban(text, second)]);
            bench.assert_remaining(text, second);
            bench.apply(&[ban(text, first), ban("192.0.2.9", 9)]);
            bench.assert_remaining(text, first);
        }
    }
}

fn longest_timeout_holds(bench: &mut Bench) {
    bench.ensure();
    let longest = u64::from(Timeout::MAX_SECS);
    bench.apply(&[ban("192.0.2.1", u64::MAX)]);
    bench.apply(&[ban("192.0.2.2", u64::MAX), ban("2001:db8::2", u64::MAX)]);
    for text in ["192.0.2.1", "192.0.2.2", "2001:db8::2"] {
        bench.assert_remaining(text, longest);
    }
}

fn unbanning_what_is_absent(bench: &mut Bench) {
    bench.ensure();
    bench.apply(&[unban("192.0.2.1")]);
    bench.apply(&[unban("203.0.113.0/24")]);
    bench.apply(&[
        unban("192.0.2.1"),
        unban("2001:db8::1"),
        ban("192.0.2.2", 60),
        unban("192.0.2.3"),
    ]);
    assert_eq!(bench.names(), ["192.0.2.2"]);
    bench.apply(&[unban("192.0.2.0/24")]);
    assert_eq!(
        bench.names(),
        ["192.0.2.2"],
        "a network is not the hosts within it"
    );
}

fn last_change_counts(bench: &mut Bench) {
    bench.ensure();
    bench.apply(&[
        ban("192.0.2.1", 60),
        unban("192.0.2.1"),
        unban("192.0.2.2"),
        ban("192.0.2.2", 60),
    ]);
    assert_eq!(bench.names(), ["192.0.2.2"]);
    bench.apply(&[
        ban("192.0.2.2", 60),
        ban("192.0.2.2", 700),
        ban("2001:db8::/64", 5),
        ban("2001:db8::/64", 70),
    ]);
    bench.assert_remaining("192.0.2.2", 700);
    bench.assert_remaining("2001:db8::/64", 70);
}

fn thousand_changes(bench: &mut Bench) {
    bench.ensure();
    let elements: Vec<Element> = (0..1_000_u32)
        .map(|n| {
            let v4 = Ipv4Addr::from_bits(0x0a00_0001 + n).into();
            let v6 = Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(n)).into();
            Element::host(if n % 2 == 0 { v4 } else { v6 })
        })
        .collect();
    let timeout = Timeout::from_duration(Duration::from_secs(900));
    let bans: Vec<_> = elements
        .iter()
        .map(|element| Change::Ban(*element, timeout))
        .collect();
    bench.apply(&bans);
    let mut expected = elements.clone();
    expected.sort();
    assert!(
        bench.held().into_keys().eq(expected.iter().copied()),
        "exactly the thousand are held"
    );
    assert!(
        bench
            .held()
            .into_values()
            .all(|remaining| (890..=900).contains(&remaining))
    );
    bench.apply(&bans);
    assert_eq!(bench.held().len(), 1_000);
    let unbans: Vec<_> = elements.iter().map(|element| Change::Unban(*element)).collect();
    bench.apply(&unbans);
    assert!(bench.held().is_empty());
}

fn host_within_network(bench: &mut Bench) {
    bench.ensure();
    bench.apply(&[ban("192.0.2.0/24", 600)]);
    bench.apply(&[
        ban("192.0.2.7", 60),
        ban("2001:db8::7", 60),
        ban("2001:db8::/64", 600),
    ]);
    assert_eq!(
        bench.names(),
        ["192.0.2.0/24", "192.0.2.7", "2001:db8::/64", "2001:db8::7"]
    );
    bench.apply(&[unban("192.0.2.7"), unban("2001:db8::/64")]);
    assert_eq!(bench.names(), ["192.0.2.0/24", "2001:db8::7"]);
    bench.assert_remaining("192.0.2.0/24", 600);
}

fn networks_of_every_size(bench: &mut Bench) {
    bench.ensure();
    for text in [
        "128.0.0.0/1",
        "10.0.0.0/8",
        "192.0.2.254/31",
        "255.255.255.254/31",
        "8000::/1",
        "2001:db8::/32",
        "2001:db8::/64",
        "2001:db8::/127",
        "ffff:ffff::/32",
    ] {
        bench.apply(&[ban(text, 60)]);
        assert_eq!(bench.names(), [text]);
        bench.apply(&[ban(text, 90)]);
        bench.assert_remaining(text, 90);
        bench.apply(&[unban(text)]);
        assert!(bench.held().is_empty(), "{text}");
    }
}

fn bans_run_out(bench: &mut Bench) {
    bench.ensure();
    bench.apply(&[
        ban("192.0.2.1", 1),
        ban("2001:db8::1", 1),
        ban("203.0.113.0/24", 1),
        ban("192.0.2.2", 600),
    ]);
    assert!(
        eventually(Duration::from_secs(6), || bench.names() == ["192.0.2.2"]),
        "{:?}",
        bench.held()
    );
    bench.apply(&[ban("192.0.2.1", 60)]);
    assert_eq!(bench.names(), ["192.0.2.1", "192.0.2.2"]);
}

fn no_changes(bench: &mut Bench) {
    bench.ensure();
    bench.apply(&[]);
    assert!(bench.held().is_empty());
}
