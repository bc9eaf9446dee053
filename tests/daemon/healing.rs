//! What others take away from the kernel is put back within five seconds, with the time that was left.

use std::time::{Duration, Instant};

use btblocker::backend::{BackendKind, Options, open};
#[cfg(feature = "xdp")]
use btblocker::backend::{XdpMode, XdpPin};
#[cfg(feature = "xdp")]
use btblocker::ban::Change;
use btblocker::ban::{Element, Held};

use crate::namespace::in_namespace;
#[cfg(feature = "xdp")]
use crate::program::bpf_filesystem;
use crate::program::{Lab, eventually, sh, wait_for};

/// What is promised.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the bans last.
const FULL: Duration = Duration::from_secs(7_200);
/// What has to be gone of it before a deed, so that a ban that began anew is told apart.
const GONE: Duration = Duration::from_secs(4);
/// Kernel sets count in whole seconds, and times are rounded up.
const ROUNDING: Duration = Duration::from_secs(2);

const BANNED: [&str; 2] = ["198.51.100.9", "2001:db8::9"];

/// What somebody else does to the kernel.
enum Deed {
    Shell(&'static str),
    /// Lifts these bans in the kernel only.
    #[cfg(feature = "xdp")]
    Lift(&'static [&'static str]),
}

impl Deed {
    fn name(&self) -> String {
        match self {
            Self::Shell(command) => (*command).to_owned(),
            #[cfg(feature = "xdp")]
            Self::Lift(elements) => format!("{elements:?} lifted"),
        }
    }

    #[cfg_attr(not(feature = "xdp"), allow(unused_variables, reason = "shell needs none"))]
    fn does(&self, kind: BackendKind, options: &Options) {
        match self {
            Self::Shell(command) => drop(sh(command)),
            #[cfg(feature = "xdp")]
            Self::Lift(elements) => {
                let changes: Vec<Change> = elements
                    .iter()
                    .map(|element| Change::Unban(element.parse().unwrap()))
                    .collect();
                open(kind, options).unwrap().apply(&changes).unwrap();
            }
        }
    }
}

/// What the kernel holds, when all of it is there.
fn whole(kind: BackendKind, options: &Options) -> Option<Vec<Held>> {
    let mut backend = open(kind, options).unwrap();
    let mut held = backend.list().unwrap_or_default();
    held.sort_by_key(|held| held.element);
    let elements: Vec<Element> = held.iter().map(|held| held.element).collect();
    let wanted: Vec<Element> = BANNED.map(|text| text.parse().unwrap()).into();
    (backend.verify().is_ok() && elements == wanted).then_some(held)
}

/// Bans, then has each deed done and healed.
fn check(lab: &Lab, words: &[&str], options: &Options, deeds: &[Deed]) {
    let kind: BackendKind = lab.backend.parse().unwrap();
    let mut daemon = lab.start(words);
    let banned = Instant::now();
    lab.say(&[&["ban"], &BANNED[..], &["--for", "2h"], words].concat());
    assert!(whole(kind, options).is_some());
    let has_aged = || {
        whole(kind, options).is_some_and(|held| {
            held.iter()
                .all(|held| held.remaining.unwrap() < FULL.saturating_sub(GONE))
        })
    };
    wait_for("the bans have begun to run out", has_aged);
    for deed in deeds {
        let name = deed.name();
        deed.does(kind, options);
        assert!(whole(kind, options).is_none(), "{name} does no harm");
        let mut held = None;
        let took = eventually(WITHIN, || {
            held = whole(kind, options);
            held.is_some()
        });
        println!("{}: {name}: healed after {took:?}", lab.backend);
        let held = held.unwrap_or_else(|| panic!("{name} is not healed in time"));
        let left = FULL.saturating_sub(banned.elapsed());
        for held in held {
            let remaining = held.remaining.unwrap();
            assert!(
                remaining < FULL.saturating_sub(ROUNDING)
                    && remaining < left + ROUNDING
                    && remaining + ROUNDING > left,
                "{name}: {remaining:?} of {} instead of {left:?}",
                held.element
            );
        }
    }
    assert!(daemon.is_running());
}

#[test]
fn ipset_is_healed() {
    in_namespace(|| {
        let deeds = [
            "nft flush ruleset",
            "nft delete table ip btblocker",
            "nft flush chain ip6 btblocker forward",
            "ipset flush torrent_block",
            "ipset del torrent_block6 2001:db8::9",
            "nft flush ruleset; ipset destroy",
        ];
        check(
            &Lab::new("ipset"),
            &[],
            &Options::default(),
            &deeds.map(Deed::Shell),
        );
    });
}

#[test]
fn nftables_is_healed() {
    in_namespace(|| {
        let deeds = [
            "nft flush ruleset",
            "nft delete table inet btblocker",
            "nft flush chain inet btblocker input",
            "nft flush set inet btblocker torrent_block6",
            "nft add table ip foreign; nft delete element inet btblocker torrent_block '{ 198.51.100.9 }'",
        ];
        check(
            &Lab::new("nftables"),
            &[],
            &Options::default(),
            &deeds.map(Deed::Shell),
        );
    });
}

#[cfg(feature = "xdp")]
#[test]
fn xdp_is_healed() {
    in_namespace(|| {
        let pins = bpf_filesystem();
        let options = Options {
            interfaces: vec!["bt0".to_owned()],
            xdp_mode: XdpMode::Generic,
            xdp_pin: XdpPin::At(pins.into()),
            ..Options::default()
        };
        let deeds = [
            Deed::Lift(&BANNED[..1]),
            Deed::Lift(&BANNED),
            Deed::Shell("rm /run/bpf/btblocker/link_*"),
            Deed::Shell("rm -r /run/bpf/btblocker"),
        ];
        let words = ["--xdp-pin", pins, "--xdp-mode", "generic"];
        check(&Lab::new("xdp"), &words, &options, &deeds);
    });
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
