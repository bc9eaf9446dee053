//! Layer-3 devices: packets start with the IP header.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use btblocker::backend::{Xdp, XdpMode};
use btblocker::ban::SetBackend;

use crate::frames::{PORT, udp};
use crate::lab;
use crate::{ban, counters, options, text, unban};

/// A tun device named `tun0` (`Documentation/networking/tuntap.rst`); writing to the file is receiving from it.
fn open_tun() -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    // SAFETY: `ifreq` is made of numbers and bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"tun0") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: the request is an `ifreq` with a terminated name and outlives the call.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) };
    assert_eq!(ret, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
    lab::ip("addr add 10.9.0.1/24 dev tun0");
    lab::ip("addr add fd00:9::1/64 dev tun0 nodad");
    lab::ip("link set tun0 up");
    file
}

/// Sends one packet in through the tunnel and says whether the socket gets it.
fn arrives(tun: &mut File, socket: &UdpSocket, packet: &[u8], wait: Duration) -> bool {
    tun.write_all(packet).unwrap();
    socket.set_read_timeout(Some(wait)).unwrap();
    match socket.recv(&mut [0; 64]) {
        Ok(len) => len == 4,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn tunnels_drop_banned_hosts_only() {
    for mode in [XdpMode::Auto, XdpMode::Generic] {
        lab::in_namespaces(move || {
            let mut tun = open_tun();
            let mut xdp = Xdp::open(&options("tun0", mode)).unwrap();
            xdp.ensure().unwrap();
            for (here, banned, other) in [
                ("10.9.0.1", "10.9.0.2", "10.9.0.3"),
                ("fd00:9::1", "fd00:9::2", "fd00:9::3"),
            ] {
                let socket = UdpSocket::bind((here.parse::<std::net::IpAddr>().unwrap(), PORT)).unwrap();
                let [bad, good] = [banned, other].map(|source| udp(source, here, b"ping"));
                assert!(
                    arrives(&mut tun, &socket, &bad, lab::PRESENCE),
                    "{mode}: {banned} before the ban"
                );
                xdp.apply(&[ban(banned, 600)]).unwrap();
                let before = counters(&mut xdp);
                // Both pass the same queue in order: had the first passed, the socket would hold two.
                tun.write_all(&bad).unwrap();
                assert!(
                    arrives(&mut tun, &socket, &good, lab::PRESENCE),
                    "{mode}: {other}"
                );
                socket.set_nonblocking(true).unwrap();
                assert!(socket.recv(&mut [0; 64]).is_err(), "{mode}: {banned} passed");
                socket.set_nonblocking(false).unwrap();
                let after = counters(&mut xdp);
                let dropped = after.dropped_v4 + after.dropped_v6 - before.dropped_v4 - before.dropped_v6;
                assert_eq!(dropped, 1, "{mode}");
                assert_eq!(
                    after.dropped_bytes - before.dropped_bytes,
                    bad.len() as u64,
                    "no header in front"
                );
                xdp.apply(&[unban(banned)]).unwrap();
                assert!(
                    arrives(&mut tun, &socket, &bad, lab::PRESENCE),
                    "{mode}: {banned} after the ban"
                );
            }
        });
    }
}

#[test]
fn native_mode_on_a_tunnel_is_refused_with_advice() {
    lab::in_namespaces(|| {
        let _tun = open_tun();
        let mut xdp = Xdp::open(&options("tun0", XdpMode::Native)).unwrap();
        let error = text(xdp.ensure().unwrap_err());
        for part in ["tun0", "native", "generic", "Operation not supported"] {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    });
}
