//! What the program answers to single packets (`BPF_PROG_TEST_RUN`), on the maps of the backend.

use libbpf_rs::{MapCore, MapHandle, Object, ObjectBuilder, ProgramInput};

use btblocker::backend::XdpMode;
use btblocker::ban::SetBackend;

use crate::frames::{Front, ethernet, udp};
use crate::lab::{self, PIN_DIR};
use crate::{attached, ban, counters, unban};

const DROP: u32 = 1;
const PASS: u32 = 2;

/// A second load of the committed object, on the pinned maps.
fn object() -> Object {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/xdp/btblocker_xdp.o");
    let mut object = ObjectBuilder::default().open_file(path).unwrap();
    for mut map in object.maps_mut() {
        let pin = format!("{PIN_DIR}/{}", map.name().display());
        map.reuse_pinned_map(pin).unwrap();
    }
    object.load().unwrap()
}

fn run(object: &Object, program: &str, packet: &[u8]) -> u32 {
    let program = object
        .progs_mut()
        .find(|candidate| candidate.name() == program)
        .unwrap();
    let input = ProgramInput {
        data_in: Some(packet),
        ..ProgramInput::default()
    };
    program.test_run(input).unwrap().return_value
}

const V4: [&str; 2] = ["1.2.3.4", "192.0.2.1"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8:ffff::1"];

#[test]
fn both_ends_are_looked_up_in_network_order_behind_every_header() {
    lab::in_namespaces(|| {
        let mut xdp = attached("lo", XdpMode::Generic);
        xdp.apply(&[ban(V4[0], 100), ban(V6[0], 100)]).unwrap();
        let object = object();
        for [banned, other] in [V4, V6] {
            let reversed = if banned == V4[0] {
                "4.3.2.1"
            } else {
                "100::b80d:120"
            };
            for front in [
                Front::Plain,
                Front::Vlan,
                Front::QinQ,
                Front::Pppoe,
                Front::VlanPppoe,
            ] {
                for (from, to, verdict) in [
                    (banned, other, DROP),
                    (other, banned, DROP),
                    (other, other, PASS),
                    (reversed, other, PASS),
                ] {
                    let packet = udp(from, to, b"x");
                    assert_eq!(
                        run(&object, "bt_ethernet", &ethernet(front, &packet)),
                        verdict,
                        "{front:?} {from} to {to}"
                    );
                    assert_eq!(run(&object, "bt_raw_ip", &packet), verdict, "raw {from} to {to}");
                }
            }
        }
    });
}

#[test]
fn what_cannot_be_read_passes() {
    lab::in_namespaces(|| {
        let mut xdp = attached("lo", XdpMode::Generic);
        xdp.apply(&[ban("0.0.0.0/0", 100), ban("::/0", 100)]).unwrap();
        let object = object();
        for [from, to] in [V4, V6] {
            let packet = udp(from, to, b"x");
            let whole = ethernet(Front::QinQ, &packet);
            assert_eq!(run(&object, "bt_ethernet", &whole), DROP);
            let addresses_end = whole.len() - packet.len() + if from == V4[0] { 20 } else { 40 };
            for len in 14..whole.len() {
                let verdict = if len < addresses_end { PASS } else { DROP };
                assert_eq!(run(&object, "bt_ethernet", &whole[..len]), verdict, "{len} bytes");
            }
            assert_eq!(
                run(&object, "bt_ethernet", &ethernet(Front::ThreeTags, &packet)),
                PASS
            );
        }
        let arp = [&[0xff; 12][..], &[0x08, 0x06], &[0; 28]].concat();
        assert_eq!(run(&object, "bt_ethernet", &arp), PASS);
        assert_eq!(run(&object, "bt_raw_ip", &[0; 40]), PASS, "version 0");
    });
}

#[test]
fn networks_cover_what_is_inside_and_nothing_else() {
    lab::in_namespaces(|| {
        let mut xdp = attached("lo", XdpMode::Generic);
        xdp.apply(&[
            ban("198.51.100.128/25", 100),
            ban("2001:db8:1::/48", 100),
            ban("10.0.0.0/8", 100),
        ])
        .unwrap();
        let object = object();
        for (from, to, verdict) in [
            ("198.51.100.128", "192.0.2.1", DROP),
            ("198.51.100.255", "192.0.2.1", DROP),
            ("192.0.2.1", "198.51.100.200", DROP),
            ("198.51.100.127", "192.0.2.1", PASS),
            ("198.51.101.128", "192.0.2.1", PASS),
            ("10.255.255.255", "192.0.2.1", DROP),
            ("2001:db8:1:ffff::1", "fd00::1", DROP),
            ("2001:db8:2::1", "fd00::1", PASS),
        ] {
            assert_eq!(
                run(&object, "bt_raw_ip", &udp(from, to, b"x")),
                verdict,
                "{from} to {to}"
            );
        }
        xdp.apply(&[unban("10.0.0.0/8")]).unwrap();
        assert_eq!(
            run(&object, "bt_raw_ip", &udp("10.1.1.1", "192.0.2.1", b"x")),
            PASS
        );
    });
}

#[test]
fn a_network_that_expired_does_not_hide_a_wider_one() {
    lab::in_namespaces(|| {
        let mut xdp = attached("lo", XdpMode::Generic);
        let narrow = "10.1.1.0/24";
        xdp.apply(&[ban("10.1.0.0/16", 100), ban(narrow, 1)]).unwrap();
        let object = object();
        let verdict = || run(&object, "bt_raw_ip", &udp("10.1.1.1", "192.0.2.1", b"x"));
        assert_eq!(verdict(), DROP);
        let pinned = MapHandle::from_pinned_path(format!("{PIN_DIR}/bt_networks4")).unwrap();
        // The narrow network leaves the list when it has expired, and the map when that is swept; at all times it
        // must drop.
        lab::eventually("the narrow ban to expire", || {
            assert_eq!(verdict(), DROP);
            xdp.list().unwrap().len() == 1
        });
        assert_eq!(pinned.keys().count(), 2);
        assert_eq!((xdp.sweep().unwrap(), xdp.sweep().unwrap()), (1, 0));
        assert_eq!(pinned.keys().count(), 1);
        assert_eq!(verdict(), DROP);
        xdp.apply(&[ban(narrow, 100), unban("10.1.0.0/16")]).unwrap();
        assert_eq!(verdict(), DROP);
    });
}

#[test]
fn counters_say_what_was_dropped() {
    lab::in_namespaces(|| {
        let mut xdp = attached("lo", XdpMode::Generic);
        xdp.apply(&[ban(V4[0], 100), ban(V6[0], 100)]).unwrap();
        let object = object();
        let before = counters(&mut xdp);
        let v4 = udp(V4[0], V4[1], b"four");
        let v6 = udp(V6[0], V6[1], b"six");
        for packet in [&v4, &v6, &udp(V4[1], V4[1], b"")] {
            run(&object, "bt_raw_ip", packet);
        }
        run(&object, "bt_ethernet", &ethernet(Front::Vlan, &v4));
        let after = counters(&mut xdp);
        assert_eq!(after.passed - before.passed, 1);
        assert_eq!(after.dropped_v4 - before.dropped_v4, 2);
        assert_eq!(after.dropped_v6 - before.dropped_v6, 1);
        let bytes = 2 * v4.len() + v6.len();
        assert_eq!(after.dropped_bytes - before.dropped_bytes, bytes as u64);
    });
}
