//! What others take away from the kernel is put back within five seconds, with the time that was left.

use std::time::{Duration, Instant};

use btblocker::backend::{BackendKind, Options, open};
#[cfg(feature = "xdp")]
use btblocker::backend::{XdpMode, XdpPin};
#[cfg(feature = "xdp")]
use btblocker::ban::Change;
use btblocker::ban::{Element, Held};

use crate::clock::monotonic;
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

/// Rules that use the sets, whatever for, are no drop rules of ours.
#[test]
fn drop_rules_come_back_beside_those_of_somebody_else() {
    in_namespace(|| {
        let lab = Lab::new("ipset");
        let _daemon = lab.start(&[]);
        let drops = || {
            let rules = |family| sh(&format!("nft list table {family} btblocker || true"));
            ["ip", "ip6"].map(|family| rules(family).matches(" drop").count())
        };
        let before = drops();
        assert_eq!(before, [4, 4]);
        sh("nft flush ruleset
            iptables -A INPUT -m set --match-set torrent_block src -j ACCEPT
            ip6tables -A INPUT -m set --match-set torrent_block6 src -j ACCEPT");
        let took = eventually(WITHIN, || drops() == before);
        assert!(took.is_some(), "{:?}", drops());
        assert!(sh("iptables -S INPUT").contains("torrent_block"));
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

/// Preloaded: between two seconds of the monotonic clock, `FAIL_FROM` and `FAIL_UNTIL`, what is said to netfilter or
/// what it answers, by `FAIL_CALL`, is lost as when the kernel has no room.
const DEAF_KERNEL: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int fails(const char *call)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return strcmp(getenv("FAIL_CALL"), call) == 0 && now.tv_sec >= atol(getenv("FAIL_FROM"))
        && now.tv_sec < atol(getenv("FAIL_UNTIL"));
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t ret = syscall(SYS_recvmsg, fd, message, flags);

    if (!fails("recvmsg"))
        return ret;
    errno = ENOBUFS;
    return -1;
}

ssize_t sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
    if (!to || to->sa_family != AF_NETLINK || !fails("sendto"))
        return syscall(SYS_sendto, fd, bytes, len, flags, to, to_len);
    errno = EBUSY;
    return -1;
}
"#;

/// Bans that the kernel did not hear of, or of which it could not tell that it did, are there when it can be spoken to
/// again.
fn check_deaf(backend: &'static str, call: &'static str, reason: &'static str) {
    in_namespace(move || {
        let mut lab = Lab::new(backend);
        lab.preload(DEAF_KERNEL);
        let from = monotonic().as_secs() + 4;
        lab.variables.extend([
            ("FAIL_CALL", call.to_owned()),
            ("FAIL_FROM", from.to_string()),
            ("FAIL_UNTIL", (from + 8).to_string()),
        ]);
        let daemon = lab.start(&[]);
        // Only the daemon's kernel is deaf.
        lab.variables.clear();
        lab.say(&["ban", "198.51.100.1"]);
        wait_for("the kernel is deaf", || monotonic().as_secs() >= from);
        let output = lab.run(&["ban", "198.51.100.2"]);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            error.contains("the kernel does not take it") && error.contains(reason),
            "{error}"
        );
        daemon.wait_line("trying again every 4 s");
        let held = || {
            open(backend.parse().unwrap(), &Options::default())
                .unwrap()
                .list()
                .unwrap()
                .len()
        };
        let took = eventually(Duration::from_secs(20), || monotonic().as_secs() >= from + 8);
        assert!(took.is_some());
        let took = eventually(WITHIN, || held() == 2);
        println!("{backend}: {call} fails: healed {took:?} after the last failure");
        assert!(took.is_some(), "{} bans are held", held());
        wait_for("the daemon knows", || {
            let status: serde_json::Value =
                serde_json::from_str(&lab.say(&["status", "--format", "json"])).unwrap();
            status["kernel_accepts"] == true && status["waiting_bans"] == 0
        });
        daemon.terminate();
    });
}

#[test]
fn ipset_survives_lost_answers() {
    check_deaf("ipset", "recvmsg", "No buffer space available");
}

#[test]
fn nftables_survives_lost_answers() {
    check_deaf("nftables", "recvmsg", "No buffer space available");
}

#[test]
fn ipset_survives_a_busy_kernel() {
    check_deaf("ipset", "sendto", "Device or resource busy");
}

#[test]
fn nftables_survives_a_busy_kernel() {
    check_deaf("nftables", "sendto", "Device or resource busy");
}
