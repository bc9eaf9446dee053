//! `contrib/setup-firewall.sh`: each variant drops, is found by the backend, and goes without a trace.

use std::sync::Arc;
use std::time::Duration;

use btblocker::backend::{BackendKind, Options, open};

use crate::namespace::{sh, try_sh};
use crate::packets::{BANNED, BRIEFLY, Network, PATIENTLY};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/setup-firewall.sh");

/// Everything that the script could touch, as lines without counters and memory sizes. Empty tables that
/// iptables leaves behind do not count.
fn firewall() -> Vec<String> {
    let rules = sh(
        "nft -s list ruleset; iptables-save; ip6tables-save; iptables-legacy-save; ip6tables-legacy-save; ipset list -t",
    );
    rules
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("Size"))
        .map(|line| line.split('[').next().unwrap().to_owned())
        .collect()
}

fn check(variant: &'static str, kind: BackendKind) {
    check_with_programs(variant, kind, "/nowhere");
}

/// Checks one variant while the programs in folder `path` go before all others.
fn check_with_programs(variant: &'static str, kind: BackendKind, path: &str) {
    let path = path.to_owned();
    let run = Arc::new(move |action: &str, variant: &str| {
        try_sh(&format!(
            "PATH={path}:$PATH {SCRIPT} {action} {variant} --set bt-test"
        ))
    });
    let run_before = Arc::clone(&run);
    let network = Network::new();
    let options = Options {
        set_name: "bt-test".parse().unwrap(),
        ..Options::default()
    };
    network.router.run(move || {
        // A host with a firewall of its own, which accepts what is established and the client altogether.
        for tables in ["iptables", "ip6tables"] {
            sh(&format!(
                "{tables} -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
                         {tables} -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
                         {tables} -A OUTPUT -j ACCEPT"
            ));
        }
        sh("ipset create somebodys hash:ip; nft add table inet somebodys");
        let before = firewall();
        assert!(!run_before("status", variant).0, "nothing is installed yet");

        assert_eq!(run_before("install", variant), (true, String::new()));
        let once = firewall();
        assert_ne!(once, before);
        assert_eq!(run_before("install", variant), (true, String::new()));
        assert_eq!(firewall(), once, "the second run changes nothing");
        assert_eq!(run_before("status", variant), (true, String::new()));

        // The daemon finds what the script made, and needs to make nothing.
        let mut backend = open(kind, &options).unwrap();
        backend.verify().unwrap();
        backend
            .apply(&BANNED.map(|address| crate::cases::ban(address, 600)))
            .unwrap();
    });
    assert_eq!(network.passing(BRIEFLY), [""; 0], "banned");
    network.assert_innocent_passes();
    network.router.run(move || {
        assert_eq!(
            run("install", variant),
            (true, String::new()),
            "with bans in place"
        );
        let mut backend = open(
            kind,
            &Options {
                set_name: "bt-test".parse().unwrap(),
                ..Options::default()
            },
        )
        .unwrap();
        let held = backend.list().unwrap();
        assert_eq!(held.len(), 2, "bans survive: {held:?}");
        assert!(
            held.iter()
                .all(|held| held.remaining > Some(Duration::from_secs(500)))
        );
        assert_eq!(run("remove", variant), (true, String::new()));
        assert_eq!(
            run("remove", variant),
            (true, String::new()),
            "nothing is left to remove"
        );
        let left = firewall();
        assert!(
            !left
                .iter()
                .any(|line| line.contains("bt-test") || line.to_lowercase().contains("btblocker")),
            "{left:#?}"
        );
        for theirs in ["somebodys", "ESTABLISHED"] {
            assert!(
                left.iter().any(|line| line.contains(theirs)),
                "{theirs} is left alone: {left:#?}"
            );
        }
        assert!(!run("status", variant).0);
    });
    assert_eq!(network.passing(PATIENTLY).len(), Network::all_passing());
}

#[test]
fn script_for_ipset_drops() {
    check("ipset", BackendKind::Ipset);
}

#[test]
fn script_for_nftables_drops() {
    check("nftables", BackendKind::Nftables);
}

#[test]
fn script_for_iptables_drops() {
    check("iptables", BackendKind::Ipset);
}

#[test]
fn script_for_legacy_iptables_drops() {
    // As on a host whose `iptables` is the legacy one, whose rules nftables cannot see.
    let programs = tempfile::tempdir().unwrap();
    let path = programs.path().display().to_string();
    sh(&format!(
        "for name in iptables ip6tables; do ln -s $(command -v $name-legacy) {path}/$name; done"
    ));
    check_with_programs("iptables", BackendKind::Ipset, &path);
}

#[test]
fn script_refuses_what_it_does_not_understand() {
    for arguments in [
        "",
        "install",
        "install pf",
        "destroy ipset",
        "install ipset --set",
        "install ipset --set 6x",
        "install ipset --set 'a b'",
        "install ipset --set aaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "install ipset --timeout 0",
        "install ipset --timeout 2147484",
        "install ipset --timeout 5h",
        "install ipset --colour red",
    ] {
        let (success, output) = try_sh(&format!("{SCRIPT} {arguments} >/dev/null; [ $? -eq 2 ]"));
        assert!(success && output.contains("usage:"), "{arguments}: {output}");
    }
}
