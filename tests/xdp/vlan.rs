//! Tagged frames as they come over a wire: no kernel with VLAN devices is needed to drop them.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use btblocker::backend::XdpMode;
use btblocker::ban::SetBackend;
use socket2::{Domain, Protocol, Socket, Type};

use crate::frames::{Front, ethernet, udp};
use crate::lab::{self, ABSENCE, Lab, PRESENCE};
use crate::{attached, ban, counters, unban};

/// Sees every frame that the router's network stack takes in.
fn stack() -> Socket {
    let all = (libc::ETH_P_ALL as u16).to_be();
    Socket::new(
        Domain::from(libc::AF_PACKET),
        Type::from(libc::SOCK_RAW),
        Some(Protocol::from(i32::from(all))),
    )
    .unwrap()
}

/// Sends the frame from the peer, and says whether the router's stack takes it in.
fn arrives(stack: &Socket, front: Front, packet: &[u8], wait: Duration) -> bool {
    let frame = ethernet(front, packet);
    let send = move || {
        lab::enter("peer");
        let mut wire = pcap::Capture::from_device("eth0").unwrap().open().unwrap();
        wire.sendpacket(frame).unwrap();
    };
    thread::spawn(send).join().unwrap();
    let deadline = Instant::now() + wait;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 2_048];
    while let Some(left) = deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        stack.set_read_timeout(Some(left)).unwrap();
        match stack.recv(&mut buffer) {
            Ok(len) => {
                // SAFETY: the call has written that many bytes.
                let seen: Vec<u8> = buffer[..len]
                    .iter()
                    .map(|byte| unsafe { byte.assume_init() })
                    .collect();
                if seen.windows(packet.len()).any(|part| part == packet) {
                    return true;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    false
}

/// Tagged frames of a banned host stop, each counted once, and those of its neighbour do not.
fn check(mode: XdpMode) {
    lab::in_namespaces(move || {
        let _lab = Lab::new();
        let mut xdp = attached("lan0", mode);
        let stack = stack();
        for (banned, other, here, dropped) in [
            ("10.1.0.77", "10.1.0.78", "10.1.0.1", [1, 0]),
            ("fd00:1::77", "fd00:1::78", "fd00:1::1", [0, 1]),
        ] {
            for front in [Front::Vlan, Front::QinQ] {
                let (bad, good) = (udp(banned, here, b"bad"), udp(other, here, b"good"));
                assert!(
                    arrives(&stack, front, &bad, PRESENCE),
                    "{front:?} {banned} before the ban"
                );
                xdp.apply(&[ban(banned, 600)]).unwrap();
                let before = counters(&mut xdp);
                assert!(
                    !arrives(&stack, front, &bad, ABSENCE),
                    "{front:?} {banned} is banned"
                );
                let after = counters(&mut xdp);
                let counted = [
                    after.dropped_v4 - before.dropped_v4,
                    after.dropped_v6 - before.dropped_v6,
                ];
                assert_eq!(counted, dropped, "{front:?} {banned}");
                assert!(arrives(&stack, front, &good, PRESENCE), "{front:?} {other}");
                xdp.apply(&[unban(banned)]).unwrap();
                assert!(
                    arrives(&stack, front, &bad, PRESENCE),
                    "{front:?} {banned} after the ban"
                );
            }
        }
    });
}

#[test]
fn tagged_frames_are_dropped_in_the_driver() {
    check(XdpMode::Native);
}

#[test]
fn tagged_frames_are_dropped_in_the_stack() {
    check(XdpMode::Generic);
}
