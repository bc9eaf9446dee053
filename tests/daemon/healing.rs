//! What others take away from the kernel is put back within five seconds.

use std::time::Duration;

use btblocker::backend::{BackendKind, Options, open};
use btblocker::ban::Element;

use crate::namespace::in_namespace;
use crate::program::{Lab, eventually, sh};

/// What is promised.
const WITHIN: Duration = Duration::from_secs(5);

fn check(backend: &'static str, deeds: &'static [&'static str]) {
    in_namespace(move || {
        let lab = Lab::new(backend);
        let mut daemon = lab.start(&[]);
        lab.say(&["ban", "198.51.100.9", "2001:db8::9", "--for", "2h"]);
        let kind: BackendKind = backend.parse().unwrap();
        let wanted: Vec<Element> = ["198.51.100.9", "2001:db8::9"]
            .map(|text| text.parse().unwrap())
            .into();
        let is_whole = || {
            let mut backend = open(kind, &Options::default()).unwrap();
            let mut held: Vec<Element> = backend
                .list()
                .unwrap_or_default()
                .iter()
                .map(|held| held.element)
                .collect();
            held.sort();
            backend.verify().is_ok() && held == wanted
        };
        assert!(is_whole());
        for deed in deeds {
            sh(deed);
            assert!(!is_whole(), "{deed} does no harm");
            let took = eventually(WITHIN, is_whole);
            println!("{backend}: {deed}: healed after {took:?}");
            assert!(took.is_some(), "{deed} is not healed in time");
        }
        assert!(daemon.is_running());
    });
}

#[test]
fn ipset_is_healed() {
    check(
        "ipset",
        &[
            "nft flush ruleset",
            "nft delete table ip btblocker",
            "nft flush chain ip6 btblocker forward",
            "ipset flush torrent_block",
            "ipset del torrent_block6 2001:db8::9",
            "nft flush ruleset; ipset destroy",
        ],
    );
}

#[test]
fn nftables_is_healed() {
    check(
        "nftables",
        &[
            "nft flush ruleset",
            "nft delete table inet btblocker",
            "nft flush chain inet btblocker input",
            "nft flush set inet btblocker torrent_block6",
            "nft add table ip foreign; nft delete element inet btblocker torrent_block '{ 198.51.100.9 }'",
        ],
    );
}

#[test]
fn a_ban_after_the_sets_are_gone_does_not_wait() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let _daemon = lab.start(&[]);
        lab.say(&["ban", "198.51.100.9"]);
        sh("nft flush ruleset");
        lab.say(&["ban", "198.51.100.10"]);
        let held = open(BackendKind::Nftables, &Options::default())
            .unwrap()
            .list()
            .unwrap();
        assert_eq!(held.len(), 2);
    });
}
