//! Who is never banned, against the real program: forged floods, and addresses that come while it runs.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use crate::namespace::{in_namespace, ip};
use crate::program::{Lab, wait_for};

/// Its ends: SSH server and client, in `198.51.100.0/24` and `2001:db8:22::/64`.
const SSH: [[&str; 2]; 2] = [
    ["198.51.100.1", "198.51.100.22"],
    ["2001:db8:22::1", "2001:db8:22::22"],
];
const OWN: [&str; 2] = ["203.0.113.5", "2001:db8:5::5"];
const GATEWAY: [&str; 2] = ["203.0.113.1", "2001:db8:5::1"];
const ALLOWED: [&str; 2] = ["192.0.2.77", "2001:db8:77::77"];
/// Nobody protects them; the first speaks, the second is spoken to.
const CONTROL: [[&str; 2]; 2] = [
    ["192.0.2.98", "2001:db8:98::98"],
    ["192.0.2.99", "2001:db8:99::99"],
];
/// The others in all flows are allowed, too, so that nobody else can be banned.
const STRANGERS: [&str; 2] = ["100.64.0.0/10", "2001:db8:ffff::/48"];
/// Flows of each kind for each address in each direction.
const FLOWS: u8 = 20;

const ID: &[u8; 20] = b"\xd0\x8b\xe1\x02\x9f\xc6\x11\x83\xa4\x7e\xf5\x18\xb9\x6c\x93\x04\xea\x57\x80\xcd";

/// One end of a flow.
#[derive(Clone, Copy)]
struct End {
    address: IpAddr,
    port: u16,
}

/// An Ethernet frame for somebody else, with an IP packet around `segment`.
fn frame(from: End, to: End, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 0x99];
    let len = segment.len() as u16;
    match (from.address, to.address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + len).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend([source.octets(), destination.octets()].concat());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend([source.octets(), destination.octets()].concat());
        }
        _ => panic!("two families"),
    }
    frame.extend(segment);
    frame
}

fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    let header = [from.port, to.port, len, 0].map(u16::to_be_bytes).concat();
    frame(from, to, 17, &[&header, payload].concat())
}

fn tcp(from: End, to: End, sequence: u32, acknowledged: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [from.port, to.port].map(u16::to_be_bytes).concat();
    segment.extend([sequence, acknowledged].map(u32::to_be_bytes).concat());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    frame(from, to, 6, &segment)
}

/// A whole connection in which both ends shake hands (BEP 3), a DHT query and its answer (BEP 5), and a request to a
/// UDP tracker with its answer (BEP 15).
fn flood(speaker: IpAddr, other: IpAddr, number: u8) -> Vec<Vec<u8>> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let port = 40_000 + u16::from(number);
    let (here, there) = (
        End {
            address: speaker,
            port,
        },
        End {
            address: other,
            port: 6_881,
        },
    );
    let handshake = [
        b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05",
        &ID[..],
        b"-TR4060-forged-flood",
    ]
    .concat();
    let query = [b"d1:ad2:id20:", &ID[..], b"e1:q4:ping1:t4:aabb1:y1:qe"].concat();
    let answer = [b"d1:rd2:id20:", &ID[..], b"e1:t4:aabb1:y1:re"].concat();
    let connect = [&0x0417_2710_1980_u64.to_be_bytes()[..], &[0; 4], &[number; 4]].concat();
    let connected = [&[0; 4][..], &[number; 4], &[9; 8]].concat();
    let tracker = End { port: 6_969, ..there };
    vec![
        tcp(here, there, 1_000, 0, SYN, &[]),
        tcp(there, here, 5_000, 1_001, SYN | ACK, &[]),
        tcp(here, there, 1_001, 5_001, ACK, &[]),
        tcp(here, there, 1_001, 5_001, ACK, &handshake),
        tcp(there, here, 5_001, 1_069, ACK, &handshake),
        tcp(here, there, 1_069, 5_069, ACK, &[]),
        udp(here, there, &query),
        udp(there, here, &answer),
        udp(here, tracker, &connect),
        udp(tracker, here, &connected),
    ]
}

/// Sessions to port 22 of this namespace from another one, one for each family. They last as long as what is returned.
fn ssh_sessions() -> (Vec<TcpListener>, Vec<TcpStream>) {
    ip("link add ssh0 type veth peer name ssh1");
    let (sender, number) = mpsc::channel();
    let (moved, go) = mpsc::channel::<()>();
    let client = thread::spawn(move || {
        // SAFETY: takes numbers only; affects this thread.
        let ret = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(ret, 0, "unshare: {}", std::io::Error::last_os_error());
        // SAFETY: has no preconditions.
        sender.send(unsafe { libc::gettid() }).unwrap();
        go.recv().unwrap();
        addresses("ssh1", SSH.map(|[_, client]| client));
        SSH.map(|[server, _]| TcpStream::connect((server, 22)).unwrap())
    });
    ip(&format!("link set ssh1 netns {}", number.recv().unwrap()));
    addresses("ssh0", SSH.map(|[server, _]| server));
    let listeners = SSH.map(|[server, _]| TcpListener::bind((server, 22)).unwrap());
    moved.send(()).unwrap();
    let mut streams: Vec<TcpStream> = listeners
        .iter()
        .map(|server| server.accept().unwrap().0)
        .collect();
    streams.extend(client.join().unwrap());
    // From here on the clients are behind the default route, and the sessions stay established.
    ip("link del ssh0");
    (listeners.into(), streams)
}

/// Gives an interface one address of each family, and sets it up.
fn addresses(interface: &str, [v4, v6]: [&str; 2]) {
    ip(&format!("addr add {v4}/24 dev {interface}"));
    ip(&format!("addr add {v6}/64 dev {interface} nodad"));
    ip(&format!("link set {interface} up"));
}

#[test]
fn a_flood_that_is_forged_at_protected_addresses_bans_none_of_them() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        addresses("bt0", OWN);
        ip(&format!("route add default via {}", GATEWAY[0]));
        ip(&format!("route add default via {}", GATEWAY[1]));
        let _sessions = ssh_sessions();
        let allow = [&ALLOWED[..], &STRANGERS].concat().join(",");
        let _daemon = lab.start(&["--ban-target", "both", "--allow", &allow]);
        let mut wire = pcap::Capture::from_device("bt1").unwrap().open().unwrap();
        let peers = SSH.map(|[_, client]| client);
        // The control hosts come last: when they are banned, all others have been looked at.
        for family in [0, 1] {
            let protected = [OWN, GATEWAY, peers, ALLOWED].map(|pair| [pair[family]; 2]);
            for [speaks, is_spoken_to] in protected.into_iter().chain([CONTROL.map(|pair| pair[family])]) {
                for number in 0..FLOWS {
                    let stranger: IpAddr = match family {
                        0 => [100, 64, 1, number].into(),
                        _ => [0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, number.into()].into(),
                    };
                    let first = flood(speaks.parse().unwrap(), stranger, number);
                    let second = flood(stranger, is_spoken_to.parse().unwrap(), number);
                    for frame in first.into_iter().chain(second) {
                        wire.sendpacket(frame).unwrap();
                    }
                }
            }
        }
        let mut wanted: Vec<String> = CONTROL.concat().iter().map(ToString::to_string).collect();
        wanted.sort();
        let banned = || {
            let bans = lab.bans();
            let mut banned: Vec<String> = bans
                .iter()
                .map(|ban| ban["address"].as_str().unwrap().to_owned())
                .collect();
            banned.sort();
            banned
        };
        wait_for("the control hosts are banned", || {
            let banned = banned();
            wanted.iter().all(|host| banned.contains(host))
        });
        assert_eq!(banned(), wanted);
        for (addresses, why) in [
            (OWN, "own-address"),
            (GATEWAY, "gateway"),
            (peers, "ssh-peer"),
            (ALLOWED, "allowed"),
        ] {
            for address in addresses {
                let refused = lab.run(&["ban", address]);
                let said = String::from_utf8_lossy(&refused.stderr).into_owned();
                assert!(
                    said.contains(&format!("is never banned ({why})")),
                    "{address}: {said}"
                );
            }
        }
    });
}

#[test]
fn an_address_that_becomes_the_machines_own_is_unbanned_and_not_banned_again() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let _daemon = lab.start(&[]);
        for (address, attached) in [
            ("198.51.100.9", "198.51.100.9/32"),
            ("2001:db8::9", "2001:db8::9/128"),
        ] {
            lab.say(&["ban", address]);
            assert_eq!(lab.bans().len(), 1);
            ip(&format!("addr add {attached} dev bt0"));
            wait_for("the ban is lifted", || lab.bans().is_empty());
            let refused = lab.run(&["ban", address]);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(said.contains("is never banned (own-address)"), "{said}");
            ip(&format!("addr del {attached} dev bt0"));
            wait_for("it can be banned again", || {
                lab.run(&["ban", address]).status.success()
            });
            lab.say(&["unban", address]);
        }
    });
}
