//! Attaching: repeatedly, where it cannot be, where somebody else is, and after an interface was made again.

use std::path::Path;
use std::process::Command;

use libbpf_rs::libbpf_sys::bpf_map_create_opts;
use libbpf_rs::{MapHandle, MapType};

use btblocker::backend::{Options, Xdp, XdpMode, XdpPin};
use btblocker::ban::{BackendError, SetBackend};

use crate::lab::{self, BANNED, From, Lab, PIN_DIR, Probe, assert_answers, is_silent};
use crate::{attached, ban, listed, options, text};

/// Asserts that an error's text holds all parts.
fn names(error: BackendError, parts: &[&str]) {
    let text = text(error);
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}

#[test]
fn ensure_can_be_repeated_and_teardown_too() {
    lab::in_namespaces(|| {
        for pin in [XdpPin::Off, XdpPin::At(PIN_DIR.into())] {
            let mut xdp = Xdp::open(&Options {
                xdp_pin: pin.clone(),
                ..options("lo", XdpMode::Auto)
            })
            .unwrap();
            assert!(matches!(xdp.verify(), Err(BackendError::Missing { .. })));
            assert!(matches!(xdp.list(), Err(BackendError::Missing { .. })));
            assert!(matches!(
                xdp.apply(&[ban("10.0.0.1", 9)]),
                Err(BackendError::Missing { .. })
            ));
            xdp.teardown().unwrap();
            xdp.ensure().unwrap();
            xdp.apply(&[ban("10.0.0.1", 600)]).unwrap();
            xdp.ensure().unwrap();
            xdp.verify().unwrap();
            assert_eq!(listed(&mut xdp).len(), 1);
            assert_eq!(Path::new(PIN_DIR).exists(), pin != XdpPin::Off);
            xdp.teardown().unwrap();
            xdp.teardown().unwrap();
            assert!(!Path::new(PIN_DIR).exists());
            assert!(matches!(xdp.verify(), Err(BackendError::Missing { .. })));
            xdp.ensure().unwrap();
            assert!(listed(&mut xdp).is_empty());
        }
    });
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    lab::in_namespaces(|| {
        let offload = Xdp::open(&options("lo", XdpMode::Offload)).unwrap_err();
        names(offload, &["offload", "native"]);
        let nowhere = XdpPin::At("/run/elsewhere".into());
        let unmounted = Xdp::open(&Options {
            xdp_pin: nowhere,
            ..options("lo", XdpMode::Auto)
        })
        .unwrap_err();
        names(unmounted, &["bpf filesystem", "mount -t bpf"]);

        let none = Options {
            interfaces: Vec::new(),
            ..options("lo", XdpMode::Auto)
        };
        assert!(Xdp::open(&none).unwrap().ensure().is_err());
        let mut missing = Xdp::open(&options("bt-none", XdpMode::Auto)).unwrap();
        names(missing.ensure().unwrap_err(), &["bt-none", "No such device"]);
        drop(missing);
        let mut loopback = Xdp::open(&options("lo", XdpMode::Native)).unwrap();
        names(
            loopback.ensure().unwrap_err(),
            &["lo", "native", "generic or auto", "Operation not supported"],
        );
    });
}

#[test]
fn one_bad_interface_does_not_uncover_the_others() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        // The loopback has no native mode.
        let interfaces = ["lo", "lan0"].map(str::to_owned).to_vec();
        let mut xdp = Xdp::open(&Options {
            interfaces,
            ..options("lo", XdpMode::Native)
        })
        .unwrap();
        names(xdp.ensure().unwrap_err(), &["lo", "native"]);
        assert_answers(From::Router, Probe::Udp, BANNED[0]);
        xdp.apply(&[ban(BANNED[0], 600)]).unwrap();
        assert!(is_silent(From::Router, Probe::Udp, BANNED[0]));
        assert!(xdp.verify().is_err());
    });
}

#[test]
fn an_interface_that_does_not_exist_yet_is_awaited() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        for pin in [XdpPin::Off, XdpPin::At(PIN_DIR.into())] {
            lab::ip("link del lan0");
            let mut xdp = Xdp::open(&Options {
                interfaces: ["lan0", "wan0"].map(str::to_owned).to_vec(),
                xdp_pin: pin,
                ..options("lo", XdpMode::Auto)
            })
            .unwrap();
            xdp.ensure().unwrap();
            xdp.verify().unwrap();
            xdp.apply(&[ban(BANNED[0], 600)]).unwrap();

            lab::add_lan();
            names(xdp.verify().unwrap_err(), &["lan0"]);
            xdp.ensure().unwrap();
            xdp.verify().unwrap();
            assert!(is_silent(From::Router, Probe::Udp, BANNED[0]));
            xdp.teardown().unwrap();
        }
    });
}

#[test]
fn a_second_instance_is_told_and_the_first_is_not_disturbed() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        for mode in [XdpMode::Native, XdpMode::Generic] {
            let mut first = attached("lan0", mode);
            first.apply(&[ban(BANNED[0], 600)]).unwrap();

            let mut second = Xdp::open(&options("lan0", mode)).unwrap();
            names(second.ensure().unwrap_err(), &[PIN_DIR, "another btblocker"]);
            assert_eq!(listed(&mut second), listed(&mut first), "it may still ask");
            names(second.teardown().unwrap_err(), &[PIN_DIR, "another btblocker"]);
            for other_mode in [XdpMode::Auto, XdpMode::Native, XdpMode::Generic] {
                let unpinned = Options {
                    xdp_pin: XdpPin::Off,
                    ..options("lan0", other_mode)
                };
                let mut third = Xdp::open(&unpinned).unwrap();
                names(
                    third.ensure().unwrap_err(),
                    &["lan0", "another XDP program (number ", "bt_ethernet"],
                );
                third.teardown().unwrap();
            }

            first.verify().unwrap();
            assert!(is_silent(From::Router, Probe::Udp, BANNED[0]));
            first.teardown().unwrap();
            second.ensure().unwrap();
            assert_answers(From::Router, Probe::Udp, BANNED[0]);
            second.teardown().unwrap();
        }
    });
}

#[test]
fn an_interface_made_again_is_covered_again() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        for pin in [XdpPin::Off, XdpPin::At(PIN_DIR.into())] {
            let mut xdp = Xdp::open(&Options {
                xdp_pin: pin,
                ..options("lan0", XdpMode::Auto)
            })
            .unwrap();
            xdp.ensure().unwrap();
            xdp.apply(&[ban(BANNED[0], 600)]).unwrap();
            lab::ip("link del lan0");
            assert!(xdp.verify().is_err());
            assert!(xdp.ensure().is_err());
            lab::add_lan();
            names(xdp.verify().unwrap_err(), &["lan0"]);
            assert_answers(From::Router, Probe::Udp, BANNED[0]);
            xdp.ensure().unwrap();
            xdp.verify().unwrap();
            assert!(is_silent(From::Router, Probe::Udp, BANNED[0]));
            xdp.teardown().unwrap();
        }
    });
}

#[test]
fn interfaces_no_longer_named_are_let_go() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        let mut before = attached("lan0", XdpMode::Auto);
        before.apply(&[ban(BANNED[0], 600)]).unwrap();
        drop(before);
        assert_answers(From::Router, Probe::Udp, lab::OTHERS[0]);
        assert!(is_silent(From::Router, Probe::Udp, BANNED[0]));
        let mut after = attached("wan0", XdpMode::Auto);
        assert_eq!(listed(&mut after).len(), 1);
        assert_answers(From::Router, Probe::Udp, BANNED[0]);
        after.teardown().unwrap();
    });
}

#[test]
fn another_mode_is_taken_up_with_the_bans() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        for (mode, shown) in [
            (XdpMode::Auto, " xdp qdisc"),
            (XdpMode::Generic, " xdpgeneric qdisc"),
            (XdpMode::Auto, " xdpgeneric qdisc"),
            (XdpMode::Native, " xdp qdisc"),
        ] {
            let mut xdp = attached("lan0", mode);
            xdp.apply(&[ban(BANNED[0], 600)]).unwrap();
            xdp.verify().unwrap();
            assert!(is_silent(From::Router, Probe::Udp, BANNED[0]), "{mode}");
            let output = Command::new("ip")
                .args(["link", "show", "lan0"])
                .output()
                .unwrap();
            let output = String::from_utf8(output.stdout).unwrap();
            assert!(output.contains(shown), "{mode}: {output}");
        }
    });
}

#[test]
fn a_pinned_map_of_another_shape_is_left_alone() {
    lab::in_namespaces(|| {
        std::fs::create_dir(PIN_DIR).unwrap();
        let path = format!("{PIN_DIR}/bt_hosts4");
        let opts = bpf_map_create_opts {
            sz: size_of::<bpf_map_create_opts>() as _,
            ..Default::default()
        };
        let mut stranger = MapHandle::create(MapType::Array, Some("stranger"), 4, 4, 1, &opts).unwrap();
        stranger.pin(&path).unwrap();
        let mut xdp = Xdp::open(&options("lo", XdpMode::Auto)).unwrap();
        let error = xdp.ensure().unwrap_err();
        assert!(matches!(error, BackendError::Mismatch { .. }), "{error}");
        names(error, &[&path, "Array", "Hash"]);
        assert!(Path::new(&path).exists());
    });
}

#[test]
fn a_full_map_makes_room_of_what_expired() {
    lab::in_namespaces(|| {
        let small = Options {
            max_elements: 4.try_into().unwrap(),
            ..options("lo", XdpMode::Auto)
        };
        let mut xdp = Xdp::open(&small).unwrap();
        xdp.ensure().unwrap();
        for prefix_len in ["", "/24"] {
            let element = |n: usize| format!("10.0.{n}.0{prefix_len}");
            xdp.apply(&[ban(&element(0), 1)]).unwrap();
            for n in 1..4 {
                xdp.apply(&[ban(&element(n), 600)]).unwrap();
            }
            // Full until the first has expired; nobody lists in between.
            let mut refused = None;
            lab::eventually("room", || {
                match xdp.apply(&[ban(&element(3), 600), ban(&element(4), 600)]) {
                    Ok(()) => true,
                    Err(error) => {
                        refused = Some(error);
                        false
                    }
                }
            });
            assert!(
                matches!(refused, Some(BackendError::Full { max: 4, .. })),
                "{refused:?}"
            );
            assert_eq!(listed(&mut xdp).len(), 4);
            for n in 0..5 {
                xdp.apply(&[crate::unban(&element(n))]).unwrap();
            }
        }
    });
}

#[test]
fn everything_is_listed_however_much_it_is() {
    lab::in_namespaces(|| {
        let large = Options {
            max_elements: 30_000.try_into().unwrap(),
            ..options("lo", XdpMode::Auto)
        };
        let mut xdp = Xdp::open(&large).unwrap();
        xdp.ensure().unwrap();
        let texts = (0..20_000).flat_map(|n| {
            let (high, low) = (n / 250, n % 250);
            [
                format!("10.0.{high}.{low}"),
                format!("fd00::{n:x}"),
                format!("11.{high}.{low}.0/24"),
                format!("fd00:{n:x}::/32"),
            ]
        });
        let changes: Vec<_> = texts.map(|text| ban(&text, 600)).collect();
        xdp.apply(&changes).unwrap();
        let mut wanted: Vec<_> = changes
            .iter()
            .map(|change| match change {
                btblocker::ban::Change::Ban(element, _) | btblocker::ban::Change::Unban(element) => *element,
            })
            .collect();
        wanted.sort();
        assert!(listed(&mut xdp) == wanted, "lists differ");
    });
}

/// Leaves the calling thread these capabilities alone (`capabilities(7)`).
fn keep_capabilities(numbers: &[u32]) {
    let mut words = [0_u32; 6];
    for number in numbers {
        // Effective, permitted and inheritable, first the low halves, then the high ones.
        let word = (*number as usize / 32) * 3;
        words[word] |= 1 << (number % 32);
        words[word + 1] |= 1 << (number % 32);
    }
    // _LINUX_CAPABILITY_VERSION_3, and 0 for this thread.
    let header = [0x2008_0522_u32, 0];
    // SAFETY: header and data have the sizes of the kernel's structures and outlive the call.
    let ret = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), words.as_ptr()) };
    assert_eq!(ret, 0, "capset: {}", std::io::Error::last_os_error());
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_BPF: u32 = 39;

#[test]
fn two_capabilities_suffice_and_one_does_not() {
    for (capabilities, suffice) in [
        (&[CAP_NET_ADMIN, CAP_BPF][..], true),
        (&[CAP_NET_ADMIN], false),
        (&[CAP_BPF], false),
        (&[], false),
    ] {
        lab::in_namespaces(move || {
            keep_capabilities(capabilities);
            let mut xdp = Xdp::open(&options("lo", XdpMode::Auto)).unwrap();
            match xdp.ensure() {
                Ok(()) => {
                    assert!(suffice, "{capabilities:?}");
                    xdp.apply(&[ban("10.0.0.1", 600), ban("10.0.0.0/8", 600)])
                        .unwrap();
                    assert_eq!(listed(&mut xdp).len(), 2);
                    xdp.verify().unwrap();
                    xdp.teardown().unwrap();
                }
                Err(error) => {
                    let permission = matches!(error, BackendError::Permission { .. });
                    assert!(permission && !suffice, "{capabilities:?}: {}", text(error));
                }
            }
        });
    }
}
