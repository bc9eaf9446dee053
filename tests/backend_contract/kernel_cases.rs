//! What the backends promise whose sets live in the kernel, where others can reach them.

use btblocker::backend::{BackendKind, Hooks, Options, open};
use btblocker::ban::{BackendError, SetBackend};

use crate::cases::{ban, unban};
use crate::namespace::sh;
use crate::{Bench, Case};

pub(crate) const ALL: &[Case] = &[
    ("ensuring twice makes nothing twice", ensuring_twice, 65_536),
    (
        "every choice of hooks is made and verified",
        every_choice_of_hooks,
        65_536,
    ),
    ("a full set says so and still renews and unbans", full_set, 64),
    ("sets that are missing are named", missing_sets, 65_536),
    (
        "a set of another kind is refused and left alone",
        set_of_another_kind,
        65_536,
    ),
    ("a flush from outside is seen", flush_from_outside, 65_536),
    (
        "changes of others are told from own ones",
        changes_of_others,
        65_536,
    ),
    ("what is taken away is put back", what_is_taken_away, 65_536),
    (
        "a rule in front of ours is not verified and goes",
        rule_in_front,
        65_536,
    ),
    (
        "teardown removes all of ours and nothing else",
        teardown_removes_all,
        65_536,
    ),
    (
        "a network within a network harms no other change",
        network_within_network,
        65_536,
    ),
    (
        "somebody else's rule keeps a set from teardown",
        rule_of_somebody_else,
        65_536,
    ),
    (
        "sets made by hand are taken as they are",
        sets_made_by_hand,
        65_536,
    ),
    (
        "elements without an end are listed so",
        elements_without_end,
        65_536,
    ),
    ("without the capability it is said", without_capability, 65_536),
];

fn ruleset() -> String {
    sh("nft -s list ruleset")
}

/// Headers of all ipsets, without the memory that they happen to need.
fn ipsets() -> String {
    sh("ipset list -t")
        .lines()
        .filter(|line| !line.starts_with("Size"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn assert_missing(result: Result<(), BackendError>, part: &str) {
    match result {
        Err(BackendError::Missing { object, .. }) if object.contains(part) => {}
        other => panic!("wanted something missing with {part:?}, got {other:?}"),
    }
}

fn other_options(bench: &Bench, hooks: Hooks) -> Box<dyn SetBackend> {
    open(
        bench.kind,
        &Options {
            hooks,
            ..bench.options.clone()
        },
    )
    .unwrap()
}

fn ensuring_twice(bench: &mut Bench) {
    assert_missing(bench.backend.verify(), "torrent_block");
    bench.ensure();
    let once = (ruleset(), ipsets());
    bench.apply(&[ban("192.0.2.1", 60)]);
    bench.ensure();
    other_options(bench, Hooks::default()).ensure().unwrap();
    assert_eq!(bench.names(), ["192.0.2.1"]);
    bench.apply(&[unban("192.0.2.1")]);
    assert_eq!((ruleset(), ipsets()), once);
}

fn every_choice_of_hooks(bench: &mut Bench) {
    for bits in 1..8 {
        let hooks = Hooks {
            input: bits & 1 != 0,
            forward: bits & 2 != 0,
            prerouting: bits & 4 != 0,
        };
        let mut backend = other_options(bench, hooks);
        backend.ensure().unwrap();
        backend.verify().unwrap();
        let rules = ruleset();
        for (hook, wanted) in [
            ("hook input", hooks.input),
            ("hook output", hooks.input || hooks.prerouting),
            ("hook forward", hooks.forward),
            ("hook prerouting", hooks.prerouting),
        ] {
            assert_eq!(rules.contains(hook), wanted, "{hooks:?}: {rules}");
        }
        backend.teardown().unwrap();
    }
}

fn full_set(bench: &mut Bench) {
    bench.ensure();
    // A hash of ipset counts roughly, so it is filled until it refuses.
    let hosts: Vec<_> = (0..=255).map(|n| format!("192.0.2.{n}")).collect();
    let refused = hosts
        .iter()
        .find_map(|host| bench.try_apply(&[ban(host, 600)]).err());
    match refused {
        Some(BackendError::Full { set, max, .. }) => assert_eq!((set.as_str(), max), ("torrent_block", 64)),
        other => panic!("{other:?}"),
    }
    let held = bench.names();
    assert!(held.len() >= 64, "{}", held.len());
    bench.apply(&[ban(&held[0], 900)]);
    bench.assert_remaining(&held[0], 900);
    bench.apply(&[ban(&held[0], 700), ban(&held[1], 700)]);
    bench.assert_remaining(&held[1], 700);
    bench.apply(&[unban("203.0.113.1")]);
    bench.apply(&[unban(&held[0]), unban("203.0.113.1")]);
    assert_eq!(bench.held().len(), held.len() - 1);
    bench.apply(&[ban("2001:db8::1", 60)]);
    let many: Vec<_> = (0..200).map(|n| ban(&format!("198.51.100.{n}"), 600)).collect();
    assert!(matches!(bench.try_apply(&many), Err(BackendError::Full { .. })));
    bench.backend.verify().unwrap();
}

fn missing_sets(bench: &mut Bench) {
    assert_missing(bench.try_apply(&[ban("192.0.2.1", 60)]), "torrent_block");
    assert_missing(
        bench.try_apply(&[ban("192.0.2.1", 60), ban("192.0.2.2", 60)]),
        "torrent_block",
    );
    assert_missing(bench.backend.list().map(drop), "torrent_block");
    assert_missing(bench.backend.verify(), "torrent_block");
    bench.backend.teardown().unwrap();
}

fn set_of_another_kind(bench: &mut Bench) {
    let (make, show) = match bench.kind {
        BackendKind::Ipset => (
            [
                "bitmap:port range 0-1024",
                "hash:net",
                "hash:net family inet6 timeout 5",
                "hash:ip netmask 24 timeout 5",
            ]
            .map(|kind| format!("ipset create torrent_block {kind}")),
            "ipset list -t | grep -v Size",
        ),
        _ => (
            [
                "type ipv4_addr",
                "type ipv6_addr; flags timeout",
                "type ipv4_addr; flags interval,timeout",
                "type inet_service",
            ]
            .map(|kind| {
                format!(
                    "nft add table inet btblocker && nft 'add set inet btblocker torrent_block {{ {kind}; }}'"
                )
            }),
            "nft list ruleset",
        ),
    };
    for command in make {
        sh(&command);
        let before = sh(show);
        for result in [bench.backend.ensure(), bench.backend.verify()] {
            let Err(BackendError::Mismatch { set, .. }) = result else {
                panic!("{command}: {result:?}")
            };
            assert_eq!(set, "torrent_block");
        }
        assert_eq!(sh(show), before);
        sh("ipset destroy; nft flush ruleset");
    }
}

fn flush_from_outside(bench: &mut Bench) {
    bench.ensure();
    bench.apply(&[ban("192.0.2.1", 60), ban("2001:db8::1", 60)]);
    sh(match bench.kind {
        BackendKind::Ipset => "ipset flush",
        _ => "nft flush set inet btblocker torrent_block; nft flush set inet btblocker torrent_block6",
    });
    assert!(bench.held().is_empty());
    bench.ensure();
    bench.apply(&[ban("192.0.2.1", 60)]);
    assert_eq!(bench.names(), ["192.0.2.1"]);
}

fn changes_of_others(bench: &mut Bench) {
    // An ipset does not tell.
    let tells = bench.kind == BackendKind::Nftables;
    assert!(!bench.backend.is_untouched().unwrap(), "nothing is verified");
    bench.ensure();
    assert_eq!(bench.backend.is_untouched().unwrap(), tells);
    let many: Vec<_> = (0..255).map(|n| ban(&format!("192.0.2.{n}"), 600)).collect();
    bench.apply(&many);
    bench.apply(&many);
    bench.apply(&[unban("192.0.2.1"), ban("10.0.0.0/8", 60), unban("203.0.113.1")]);
    if tells {
        assert!(bench.try_apply(&[ban("10.1.0.0/16", 60)]).is_err());
    }
    assert_eq!(bench.backend.is_untouched().unwrap(), tells, "after own changes");
    for deed in [
        "nft add table ip foreign",
        "nft flush set inet btblocker torrent_block",
        "nft delete element inet btblocker torrent_block '{ 192.0.2.3 }'",
    ] {
        if tells {
            sh(deed);
            assert!(!bench.backend.is_untouched().unwrap(), "{deed}");
            bench.apply(&many);
            assert!(!bench.backend.is_untouched().unwrap(), "{deed}, and own changes");
            bench.backend.verify().unwrap();
            assert!(bench.backend.is_untouched().unwrap());
        }
    }
    bench.backend.teardown().unwrap();
    assert!(bench.backend.verify().is_err() && !bench.backend.is_untouched().unwrap());
}

fn what_is_taken_away(bench: &mut Bench) {
    bench.ensure();
    let whole = ruleset();
    let table = if bench.kind == BackendKind::Ipset {
        "ip6 btblocker"
    } else {
        "inet btblocker"
    };
    for damage in [
        "flush ruleset".to_owned(),
        format!("delete table {table}"),
        format!("flush chain {table} forward"),
        format!("flush chain {table} output; delete chain {table} output"),
        format!("flush chain {table} input; delete chain {table} input; add chain {table} input"),
        format!(
            "flush chain {table} input; delete chain {table} input; \
                 add chain {table} input {{ type filter hook input priority 5; policy drop; }}"
        ),
        format!(
            "delete rule {table} forward handle $(nft -a list chain {table} forward | sed -n 's/.*drop.*handle //p' | head -1)"
        ),
        format!("add chain {table} forward {{ policy drop; }}"),
    ] {
        for command in damage.split("; ").filter(|_| !damage.contains('{')) {
            sh(&format!("nft \"{command}\""));
        }
        if damage.contains('{') {
            sh(&format!("nft '{damage}'"));
        }
        assert!(
            matches!(bench.backend.verify(), Err(BackendError::Missing { .. })),
            "{damage}"
        );
        bench.ensure();
        assert_eq!(ordered(&ruleset()), ordered(&whole), "{damage}");
    }
    bench.apply(&[ban("192.0.2.1", 60), ban("2001:db8::1", 60)]);
}

/// Lines in an order that does not depend on when a chain was made.
fn ordered(rules: &str) -> Vec<&str> {
    let mut lines: Vec<_> = rules.lines().collect();
    lines.sort_unstable();
    lines
}

fn rule_in_front(bench: &mut Bench) {
    bench.ensure();
    let whole = ruleset();
    let table = if bench.kind == BackendKind::Ipset {
        "ip btblocker"
    } else {
        "inet btblocker"
    };
    sh(&format!("nft insert rule {table} input accept"));
    assert_missing(bench.backend.verify(), "input");
    bench.ensure();
    assert_eq!(ruleset(), whole);
}

fn teardown_removes_all(bench: &mut Bench) {
    sh(
        "nft add table inet foreign; nft 'add chain inet foreign c { type filter hook input priority 0; }'
        nft add rule inet foreign c ip saddr 192.0.2.1 counter accept
        nft add set inet foreign torrent_block '{ type ipv4_addr; }'
        ipset create foreign hash:ip; ipset add foreign 192.0.2.1",
    );
    let before = (ruleset(), sh("ipset list"));
    bench.ensure();
    bench.apply(&[ban("192.0.2.1", 60), ban("2001:db8::/64", 60)]);
    for _ in 0..2 {
        bench.backend.teardown().unwrap();
        assert_eq!((ruleset(), sh("ipset list")), before);
    }
    bench.ensure();
    assert!(bench.held().is_empty());
}

fn network_within_network(bench: &mut Bench) {
    bench.ensure();
    bench.apply(&[ban("10.0.0.0/8", 600)]);
    let result = bench.try_apply(&[
        ban("192.0.2.1", 60),
        ban("10.1.0.0/16", 60),
        ban("172.16.0.0/12", 60),
        ban("2001:db8::1", 60),
    ]);
    let mut held = vec!["10.0.0.0/8", "172.16.0.0/12", "192.0.2.1", "2001:db8::1"];
    match bench.kind {
        BackendKind::Ipset => {
            result.unwrap();
            held.insert(1, "10.1.0.0/16");
        }
        _ => {
            let error = result.unwrap_err();
            assert!(
                matches!(&error, BackendError::Kernel { object, .. } if object == "10.1.0.0/16"),
                "{error:?}"
            );
        }
    }
    assert_eq!(bench.names(), held);
    bench.apply(&[unban("10.1.0.0/16"), unban("10.0.0.0/12")]);
    bench.assert_remaining("10.0.0.0/8", 600);
}

fn rule_of_somebody_else(bench: &mut Bench) {
    bench.ensure();
    if bench.kind == BackendKind::Ipset {
        let drops = |program, set| format!("{program} -I INPUT -m set --match-set {set} src -j DROP");
        sh(&format!(
            "{}; {}",
            drops("iptables", "torrent_block"),
            drops("ip6tables", "torrent_block6")
        ));
        let error = bench.backend.teardown().unwrap_err();
        assert!(
            matches!(
                &error,
                BackendError::Kernel {
                    action: "destroying",
                    ..
                }
            ),
            "{error:?}"
        );
        // Their rules alone enforce the bans as well.
        bench.backend.verify().unwrap();
        sh("ip6tables -F");
        assert_missing(bench.backend.verify(), "torrent_block6");
        sh("iptables -F");
    }
    bench.backend.teardown().unwrap();
}

fn sets_made_by_hand(bench: &mut Bench) {
    if bench.kind == BackendKind::Ipset {
        sh(
            "ipset create torrent_block hash:ip timeout 300 maxelem 1000 counters comment
            ipset create torrent_block6 hash:ip family inet6 timeout 300 hashsize 64",
        );
    } else {
        sh("nft add table inet btblocker
            nft add set inet btblocker torrent_block '{ type ipv4_addr; flags timeout,dynamic; size 7; }'
            nft add set inet btblocker torrent_block6 '{ type ipv6_addr; flags timeout; }'");
    }
    bench.ensure();
    bench.apply(&[ban("192.0.2.1", 60)]);
    bench.apply(&[ban("2001:db8::1", 60), ban("192.0.2.2", 60)]);
    assert_eq!(bench.names(), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    bench.assert_remaining("192.0.2.1", 60);
    if bench.kind == BackendKind::Ipset {
        let refused = bench.try_apply(&[ban("10.0.0.0/30", 60)]);
        assert!(
            matches!(refused, Err(BackendError::Mismatch { .. })),
            "{refused:?}"
        );
        assert_eq!(bench.names().len(), 3);
        // To the kernel this network is its hosts.
        bench.apply(&[unban("192.0.2.0/30")]);
        assert_eq!(
            bench.names().len(),
            3,
            "a network that it cannot hold is not in it"
        );
        bench.apply(&[unban("192.0.2.0/30"), unban("192.0.2.1"), ban("192.0.2.3", 60)]);
        assert_eq!(bench.names(), ["192.0.2.2", "192.0.2.3", "2001:db8::1"]);
    }
}

fn elements_without_end(bench: &mut Bench) {
    bench.ensure();
    if bench.kind == BackendKind::Ipset {
        sh("ipset add torrent_block 192.0.2.1 timeout 0");
    } else {
        // An element without a timeout of its own has the set's.
        sh("nft add element inet btblocker torrent_block '{ 192.0.2.1 }'");
        bench.assert_remaining("192.0.2.1", 18_000);
        return;
    }
    let held = bench.backend.list().unwrap();
    assert!(held.len() == 1 && held[0].remaining.is_none(), "{held:?}");
}

fn without_capability(bench: &mut Bench) {
    bench.ensure();
    // Effective capabilities belong to the thread, and this thread ends with the case.
    let mut header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: version 3 of capset reads two words at `header` and six at `none`.
    let code = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), none.as_ptr()) };
    assert_eq!(code, 0);
    assert!(matches!(
        bench.try_apply(&[ban("192.0.2.1", 60)]),
        Err(BackendError::Permission { .. })
    ));
    assert!(matches!(
        bench.backend.list(),
        Err(BackendError::Permission { .. })
    ));
    assert!(matches!(
        bench.backend.verify(),
        Err(BackendError::Permission { .. })
    ));
    assert!(matches!(
        bench.backend.ensure(),
        Err(BackendError::Permission { .. })
    ));
    assert!(matches!(
        bench.backend.teardown(),
        Err(BackendError::Permission { .. })
    ));
    assert!(matches!(
        open(bench.kind, &bench.options),
        Err(BackendError::Permission { .. })
    ));
}
