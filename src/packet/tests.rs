//! Frames made by hand for every link type and tunnel, cut at every byte, and random ones.

use super::{LinkType, PacketView, Skip, Span, TransportView, fragment, layered, link, parse};
use proptest::prelude::*;
use std::net::IpAddr;

pub(super) const A4: &str = "192.0.2.1";
pub(super) const B4: &str = "198.51.100.7";
const A6: &str = "2001:db8::1";
const B6: &str = "2001:db8:ffff::2";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

pub(super) fn ip4(protocol: u8, source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0x12, 0x34, 0, 0, 64, protocol, 0, 0]);
    for address in [source, destination] {
        packet.extend(address.parse::<std::net::Ipv4Addr>().unwrap().octets());
    }
    packet.extend(payload);
    packet
}

pub(super) fn ip6(next: u8, source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    for address in [source, destination] {
        packet.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
    packet.extend(payload);
    packet
}

pub(super) fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

fn tcp(source: u16, destination: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut segment = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    segment.extend([
        1,
        2,
        3,
        4,
        5,
        6,
        7,
        8,
        ((20 + options.len()) as u8 / 4) << 4,
        0x18,
        0,
        9,
        0,
        0,
        0,
        0,
    ]);
    segment.extend(options);
    segment.extend(payload);
    segment
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2][..], &MAC, &kind.to_be_bytes(), payload].concat()
}

fn after(head: &[u8], payload: &[u8]) -> Vec<u8> {
    [head, payload].concat()
}

fn plain4() -> Vec<u8> {
    ip4(17, A4, B4, &udp(6881, 6882, b"hello"))
}

fn plain6() -> Vec<u8> {
    ip6(17, A6, B6, &udp(6881, 6882, b"hello"))
}

/// Source, destination, payload, wire length.
fn seen<'a>(view: &PacketView<'a>) -> (String, String, &'a [u8], u32) {
    let (payload, wire) = match view.transport {
        TransportView::Udp(udp) => (udp.payload, udp.wire_len),
        TransportView::Tcp(tcp) => (tcp.payload, tcp.wire_len),
    };
    let end = |end: btblocker_detectors::Endpoint| match end.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", end.port),
        IpAddr::V6(ip) => format!("[{ip}]:{}", end.port),
    };
    (end(view.source), end(view.destination), payload, wire)
}

/// Every frame that holds `hello` from port 6881 to 6882, by name.
fn readable() -> Vec<(&'static str, LinkType, Vec<u8>)> {
    use LinkType::{Ethernet, LinuxSll, LinuxSll2, Loop, Null, Ppp, PppEther, Raw};
    let (four, six) = (plain4(), plain6());
    let tag = |id: u8, kind: u16| [&[0, id][..], &kind.to_be_bytes()].concat();
    let snap = |kind: u16| [&[0xaa, 0xaa, 3, 0, 0, 0][..], &kind.to_be_bytes()].concat();
    let pppoe = |payload: &[u8]| after(&[0x11, 0, 0, 7, 0, payload.len() as u8], payload);
    let sll: Vec<u8> = [&[0, 0, 0, 1, 0, 6][..], &MAC, &[0, 0, 0x08, 0x00]].concat();
    let sll2: Vec<u8> = [&[0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6][..], &MAC, &[0, 0]].concat();
    let options = {
        let mut packet = plain4();
        packet[0] = 0x46;
        packet[3] += 4;
        packet.splice(20..20, [1, 1, 1, 0]);
        packet
    };
    let no_total = {
        let mut packet = plain4();
        packet[2..4].fill(0);
        packet
    };
    let datagram = udp(6881, 6882, b"hello");
    let chain = ip6(
        0,
        A6,
        B6,
        &[
            &[60, 0, 1, 4, 0, 0, 0, 0][..], // hop by hop
            &[43, 0, 1, 4, 0, 0, 0, 0],     // destination options
            &[44, 0, 0, 0, 0, 0, 0, 0],     // routing
            &[51, 0, 0, 0, 0, 0, 0, 9],     // a datagram of one fragment
            &[
                17, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ], // authentication
            &datagram,
        ]
        .concat(),
    );
    let authenticated = ip4(
        51,
        A4,
        B4,
        &after(&[17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], &datagram),
    );
    vec![
        ("ethernet", Ethernet, ethernet(0x0800, &four)),
        ("ethernet v6", Ethernet, ethernet(0x86dd, &six)),
        (
            "ethernet padding",
            Ethernet,
            ethernet(0x0800, &after(&four, &[0x55; 13])),
        ),
        (
            "ethernet padding v6",
            Ethernet,
            ethernet(0x86dd, &after(&six, &[0x55; 13])),
        ),
        ("vlan", Ethernet, ethernet(0x8100, &after(&tag(5, 0x0800), &four))),
        (
            "qinq",
            Ethernet,
            ethernet(0x88a8, &[tag(5, 0x8100), tag(6, 0x86dd), six.clone()].concat()),
        ),
        (
            "four tags",
            Ethernet,
            ethernet(
                0x9100,
                &[
                    tag(1, 0x8100),
                    tag(2, 0x8100),
                    tag(3, 0x8100),
                    tag(4, 0x0800),
                    four.clone(),
                ]
                .concat(),
            ),
        ),
        (
            "snap",
            Ethernet,
            ethernet(
                (8 + four.len()) as u16,
                &[snap(0x0800), four.clone(), vec![9; 20]].concat(),
            ),
        ),
        (
            "pppoe",
            Ethernet,
            ethernet(0x8864, &after(&pppoe(&after(&[0, 0x21], &four)), &[7; 9])),
        ),
        (
            "pppoe in vlan v6",
            Ethernet,
            ethernet(0x8100, &after(&tag(3, 0x8864), &pppoe(&after(&[0, 0x57], &six)))),
        ),
        (
            "mpls",
            Ethernet,
            ethernet(0x8847, &[&[0, 1, 0, 64, 0, 2, 1, 64][..], &four].concat()),
        ),
        ("raw", Raw, four.clone()),
        ("raw v6", Raw, six.clone()),
        ("cooked", LinuxSll, after(&sll, &four)),
        ("cooked 2", LinuxSll2, after(&sll2, &six)),
        ("loopback, little endian", Null, after(&[2, 0, 0, 0], &four)),
        ("loopback, big endian", Null, after(&[0, 0, 0, 2], &four)),
        ("loopback v6, linux", Null, after(&[10, 0, 0, 0], &six)),
        ("loopback v6, netbsd", Null, after(&[24, 0, 0, 0], &six)),
        ("loopback v6, freebsd", Null, after(&[0, 0, 0, 28], &six)),
        ("loopback v6, macos", Loop, after(&[0, 0, 0, 30], &six)),
        ("ppp", Ppp, after(&[0xff, 3, 0, 0x21], &four)),
        ("ppp without address", Ppp, after(&[0, 0x57], &six)),
        ("ppp compressed", Ppp, after(&[0x21], &four)),
        ("pppoe link", PppEther, pppoe(&after(&[0, 0x21], &four))),
        ("ipv4 options", Raw, options),
        ("total length 0", Raw, no_total),
        ("ipv6 extension headers", Raw, chain),
        ("ipv4 authentication header", Raw, authenticated),
    ]
}

/// Frames whose inner packet is `hello`, and the outer source.
fn tunnelled() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let (four, six) = (plain4(), plain6());
    let gre = |head: &[u8], inner: &[u8]| ip4(47, "10.0.0.1", "10.0.0.2", &after(head, inner));
    let vxlan = after(&[8, 0, 0, 0, 0, 0, 9, 0], &ethernet(0x0800, &four));
    vec![
        ("ip in ip", ip4(4, "10.0.0.1", "10.0.0.2", &four), "10.0.0.1:0"),
        ("6in4", ip4(41, "10.0.0.1", "10.0.0.2", &six), "10.0.0.1:0"),
        ("4in6", ip6(4, "fd00::1", "fd00::2", &four), "[fd00::1]:0"),
        ("gre", gre(&[0, 0, 8, 0], &four), "10.0.0.1:0"),
        (
            "gre with every field",
            gre(&[0xb0, 0, 0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], &six),
            "10.0.0.1:0",
        ),
        (
            "gre ethernet",
            gre(&[0x20, 0, 0x65, 0x58, 0, 0, 0, 1], &ethernet(0x0800, &four)),
            "10.0.0.1:0",
        ),
        (
            "pptp",
            gre(
                &[0x30, 0x81, 0x88, 0x0b, 0, 49, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1],
                &after(&[0xff, 3, 0, 0x21], &four),
            ),
            "10.0.0.1:0",
        ),
        (
            "eoip",
            gre(&[0x20, 1, 0x64, 0, 0, 60, 1, 0], &ethernet(0x0800, &four)),
            "10.0.0.1:0",
        ),
        (
            "vxlan",
            ip4(17, "10.0.0.1", "10.0.0.2", &udp(5555, 4789, &vxlan)),
            "10.0.0.1:5555",
        ),
        (
            "three tunnels",
            ip4(
                4,
                "10.0.0.1",
                "10.0.0.2",
                &ip4(4, "10.1.0.1", "10.1.0.2", &gre(&[0, 0, 8, 0], &four)),
            ),
            "10.0.0.1:0",
        ),
    ]
}

fn expect_hello(name: &str, view: &PacketView<'_>) {
    let (source, destination, payload, wire) = seen(view);
    assert!(
        source == format!("{A4}:6881") || source == format!("[{A6}]:6881"),
        "{name}: {source}"
    );
    assert!(
        destination == format!("{B4}:6882") || destination == format!("[{B6}]:6882"),
        "{name}"
    );
    assert_eq!((payload, wire), (&b"hello"[..], 5), "{name}");
}

#[test]
fn reads_every_link_type() {
    for (name, link, frame) in readable() {
        let view = parse(link, &frame, frame.len() as u32).unwrap_or_else(|skip| panic!("{name}: {skip:?}"));
        expect_hello(name, &view);
        let has_mac = matches!(
            link,
            LinkType::Ethernet | LinkType::LinuxSll | LinkType::LinuxSll2
        );
        assert_eq!(view.source_mac, has_mac.then_some(MAC), "{name}");
        assert!(view.tunnel.is_none() && !view.first_fragment, "{name}");
        assert_eq!(view.outer_source(), view.source.address, "{name}");
    }
}

#[test]
fn opens_plain_tunnels_and_tells_the_outer_ends() {
    for (name, packet, outer) in tunnelled() {
        let view = parse(LinkType::Raw, &packet, packet.len() as u32)
            .unwrap_or_else(|skip| panic!("{name}: {skip:?}"));
        expect_hello(name, &view);
        let tunnel = view.tunnel.unwrap_or_else(|| panic!("{name}: no tunnel"));
        let as_view = PacketView {
            source: tunnel.source,
            ..view
        };
        assert_eq!(seen(&as_view).0, outer, "{name}");
        assert_eq!(view.outer_source(), tunnel.source.address, "{name}");
    }
}

#[test]
fn a_cut_frame_is_a_skip_or_a_shorter_payload_of_the_same_wire_length() {
    let frames = readable().into_iter();
    let frames = frames.chain(
        tunnelled()
            .into_iter()
            .map(|(name, packet, _)| (name, LinkType::Raw, packet)),
    );
    for (name, link, frame) in frames {
        for cut in 0..frame.len() {
            match parse(link, &frame[..cut], frame.len() as u32) {
                Ok(view) if view.source.port == 6881 => {
                    let (_, _, payload, wire) = seen(&view);
                    assert!(b"hello".starts_with(payload) && wire == 5, "{name} cut at {cut}");
                }
                // A VXLAN frame that is cut before the inner packet can be read is its outer datagram.
                Ok(view) => assert_eq!((name, view.destination.port), ("vxlan", 4789)),
                Err(skip) => assert!(
                    matches!(
                        skip,
                        Skip::TruncatedLink | Skip::TruncatedIp | Skip::TruncatedTransport
                    ),
                    "{name} cut at {cut}: {skip:?}"
                ),
            }
        }
    }
}

#[test]
fn reads_tcp_options_flags_and_offload_frames() {
    let segment = tcp(51413, 6881, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], b"data");
    let frame = ethernet(0x0800, &ip4(6, A4, B4, &segment));
    let view = parse(LinkType::Ethernet, &frame, frame.len() as u32).unwrap();
    let TransportView::Tcp(tcp_view) = view.transport else {
        panic!("not TCP")
    };
    assert_eq!(
        (tcp_view.sequence, tcp_view.acknowledgement),
        (0x0102_0304, 0x0506_0708)
    );
    assert_eq!(
        (tcp_view.flags, tcp_view.payload, tcp_view.wire_len),
        (0x18, &b"data"[..], 4)
    );

    let mut big = ip4(6, A4, B4, &tcp(1, 2, &[], &[b'x'; 1000]));
    big[2..4].fill(0);
    let view = parse(LinkType::Raw, &big[..100], 70_000).unwrap();
    assert_eq!((seen(&view).2.len(), seen(&view).3), (60, 70_000 - 40));
}

#[test]
fn skips_by_reason() {
    let udp_bytes = udp(6881, 6882, b"hello");
    let changed = |at: usize, to: u8| {
        let mut packet = plain4();
        packet[at] = to;
        packet
    };
    let tags = [
        [0, 1, 0x81, 0],
        [0, 2, 0x81, 0],
        [0, 3, 0x81, 0],
        [0, 4, 0x81, 0],
        [0, 5, 8, 0],
    ]
    .concat();
    let mut tunnels = plain4();
    for _ in 0..4 {
        tunnels = ip4(4, "10.0.0.1", "10.0.0.2", &tunnels);
    }
    let extensions = ip6(
        60,
        A6,
        B6,
        &[[60, 0, 1, 4, 0, 0, 0, 0].repeat(20), udp_bytes.clone()].concat(),
    );
    let mut short_tcp = tcp(1, 2, &[], b"");
    short_tcp[12] = 0x40;
    let mut long_tcp = tcp(1, 2, &[], b"");
    long_tcp[12] = 0xf0;
    let mut short_udp = udp_bytes.clone();
    short_udp[5] = 7;
    let mut long_udp = udp_bytes.clone();
    long_udp[5] = 99;
    let cases: &[(&str, LinkType, Vec<u8>, Skip)] = &[
        ("unknown link", LinkType::Other(105), plain4(), Skip::UnknownLink),
        ("empty", LinkType::Ethernet, vec![], Skip::TruncatedLink),
        ("arp", LinkType::Ethernet, ethernet(0x0806, &[0; 28]), Skip::NotIp),
        (
            "spanning tree",
            LinkType::Ethernet,
            ethernet(38, &[0x42; 60]),
            Skip::NotIp,
        ),
        (
            "pppoe control",
            LinkType::Ethernet,
            ethernet(0x8864, &[0x11, 0, 0, 1, 0, 4, 0xc0, 0x21, 1, 1]),
            Skip::NotIp,
        ),
        (
            "pppoe discovery code",
            LinkType::PppEther,
            vec![0x11, 9, 0, 0, 0, 0, 0, 0],
            Skip::NotIp,
        ),
        (
            "five tags",
            LinkType::Ethernet,
            ethernet(0x8100, &after(&tags, &plain4())),
            Skip::TooDeep,
        ),
        (
            "endless labels",
            LinkType::Ethernet,
            ethernet(0x8847, &[0; 400]),
            Skip::TooDeep,
        ),
        (
            "loopback, other family",
            LinkType::Null,
            after(&[7, 0, 0, 0], &plain4()),
            Skip::NotIp,
        ),
        ("version 5", LinkType::Raw, changed(0, 0x55), Skip::NotIp),
        ("header of 4 bytes", LinkType::Raw, changed(0, 0x41), Skip::BadIp),
        (
            "total length below header",
            LinkType::Raw,
            changed(3, 19),
            Skip::BadIp,
        ),
        ("icmp", LinkType::Raw, changed(9, 1), Skip::NotTransport),
        ("esp", LinkType::Raw, changed(9, 50), Skip::NotTransport),
        ("later fragment", LinkType::Raw, changed(7, 1), Skip::Fragment),
        (
            "mapped source",
            LinkType::Raw,
            ip6(17, "::ffff:1.2.3.4", B6, &udp_bytes),
            Skip::BadIp,
        ),
        (
            "mapped destination",
            LinkType::Raw,
            ip6(17, A6, "::ffff:1.2.3.4", &udp_bytes),
            Skip::BadIp,
        ),
        (
            "no next header",
            LinkType::Raw,
            ip6(59, A6, B6, b""),
            Skip::NotTransport,
        ),
        (
            "extension beyond the packet",
            LinkType::Raw,
            ip6(60, A6, B6, &[17, 200, 0, 0, 0, 0, 0, 0]),
            Skip::BadIp,
        ),
        ("endless extensions", LinkType::Raw, extensions, Skip::TooDeep),
        ("four tunnels", LinkType::Raw, tunnels, Skip::TooDeep),
        (
            "gre with source routing",
            LinkType::Raw,
            ip4(47, A4, B4, &[0x40, 0, 8, 0, 0, 0, 0, 0]),
            Skip::NotTransport,
        ),
        (
            "tcp header of 16 bytes",
            LinkType::Raw,
            ip4(6, A4, B4, &short_tcp),
            Skip::BadTransport,
        ),
        (
            "tcp header beyond the packet",
            LinkType::Raw,
            ip4(6, A4, B4, &long_tcp),
            Skip::BadTransport,
        ),
        (
            "udp length of 7",
            LinkType::Raw,
            ip4(17, A4, B4, &short_udp),
            Skip::BadTransport,
        ),
        (
            "udp length beyond the packet",
            LinkType::Raw,
            ip4(17, A4, B4, &long_udp),
            Skip::BadTransport,
        ),
        (
            "udp header cut",
            LinkType::Raw,
            ip4(17, A4, B4, &udp_bytes[..7]),
            Skip::TruncatedTransport,
        ),
    ];
    for (name, link, frame, skip) in cases {
        let got = parse(*link, frame, frame.len() as u32).map(|view| seen(&view));
        assert_eq!(got, Err(*skip), "{name}");
    }
}

#[test]
fn names_of_reasons_differ_and_follow_their_index() {
    for (index, skip) in Skip::ALL.iter().enumerate() {
        assert_eq!(skip.index(), index);
        assert!(Skip::ALL[..index].iter().all(|other| other.name() != skip.name()));
    }
}

#[test]
fn what_only_looks_like_vxlan_is_a_datagram() {
    let looks = [
        after(&[8, 0, 0, 1, 0, 0, 9, 0], &ethernet(0x0800, &plain4())),
        after(&[8, 0, 0, 0, 0, 0, 9, 0], &ethernet(0x0806, &plain4())),
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe".to_vec(),
    ];
    for payload in looks {
        let packet = ip4(17, A4, B4, &udp(6881, 4789, &payload));
        let view = parse(LinkType::Raw, &packet, packet.len() as u32).unwrap();
        assert_eq!((seen(&view).2, view.tunnel), (&payload[..], None));
    }
    let teredo = ip4(17, A4, B4, &udp(6881, 3544, &plain6()));
    let view = parse(LinkType::Raw, &teredo, teredo.len() as u32).unwrap();
    assert_eq!((view.destination.port, view.tunnel), (3544, None));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(number in prop_oneof![0i32..300, Just(276)], wire: u32, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let link = LinkType::from_number(number);
        if let Ok(view) = parse(link, &bytes, wire) {
            let (_, _, payload, wire_len) = seen(&view);
            prop_assert!(payload.len() as u64 <= u64::from(wire_len));
        }
        let _ = fragment(link, &bytes, wire);
    }

    #[test]
    fn reading_in_one_go_and_layer_by_layer_agree(which: prop::sample::Index, cut: prop::sample::Index, changes in prop::collection::vec((0usize..60, any::<u8>()), 0..3), more in 0u32..3) {
        let frames = readable();
        let (_, link, mut frame) = frames[which.index(frames.len())].clone();
        for (at, to) in changes {
            if let Some(byte) = frame.get_mut(at) {
                *byte = to;
            }
        }
        let wire = frame.len() as u32 + more;
        for len in [frame.len(), cut.index(frame.len() + 1)] {
            let frame = &frame[..len];
            let expected = link::datagram(link, Span::new(frame, wire)).and_then(|(ip, mac)| layered(ip, mac));
            prop_assert_eq!(format!("{:?}", parse(link, frame, wire)), format!("{expected:?}"));
        }
    }

    #[test]
    fn damaged_frames_never_panic(which: prop::sample::Index, at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
        let frames: Vec<_> = readable().into_iter().map(|(_, link, frame)| (link, frame))
            .chain(tunnelled().into_iter().map(|(_, packet, _)| (LinkType::Raw, packet))).collect();
        let (link, mut frame) = frames[which.index(frames.len())].clone();
        let at = at.index(frame.len());
        frame[at] = to;
        let cut = cut.index(frame.len() + 1);
        if let Ok(view) = parse(link, &frame[..cut], frame.len() as u32) {
            let (_, _, payload, wire_len) = seen(&view);
            prop_assert!(payload.len() as u64 <= u64::from(wire_len));
        }
        let _ = fragment(link, &frame[..cut], frame.len() as u32);
    }

    #[test]
    fn what_was_built_is_what_is_read(ends: (u16, u16), a: u128, b: u128, v4: bool, is_tcp: bool, tagged: bool, payload in prop::collection::vec(any::<u8>(), 0..300), padding in 0usize..20) {
        // Port 4789 may be opened, and mapped addresses are refused.
        prop_assume!(ends.1 != 4789 && a >> 32 != 0xffff && b >> 32 != 0xffff);
        let body = if is_tcp { tcp(ends.0, ends.1, &[], &payload) } else { udp(ends.0, ends.1, &payload) };
        let protocol = if is_tcp { 6 } else { 17 };
        let (four, six) = (|bits: u128| std::net::Ipv4Addr::from(bits as u32), std::net::Ipv6Addr::from);
        let (packet, kind, from, to): (_, u16, IpAddr, IpAddr) = if v4 {
            (ip4(protocol, &four(a).to_string(), &four(b).to_string(), &body), 0x0800, four(a).into(), four(b).into())
        } else {
            (ip6(protocol, &six(a).to_string(), &six(b).to_string(), &body), 0x86dd, six(a).into(), six(b).into())
        };
        let tagged_packet = [&[0, 1][..], &kind.to_be_bytes(), &packet].concat();
        let mut frame = if tagged { ethernet(0x8100, &tagged_packet) } else { ethernet(kind, &packet) };
        frame.extend(vec![0; padding]);
        let view = parse(LinkType::Ethernet, &frame, frame.len() as u32).unwrap();
        prop_assert_eq!((view.source.ip(), view.source.port), (from, ends.0));
        prop_assert_eq!((view.destination.ip(), view.destination.port), (to, ends.1));
        prop_assert_eq!((seen(&view).2, seen(&view).3), (&payload[..], payload.len() as u32));
        prop_assert_eq!(matches!(view.transport, TransportView::Tcp(_)), is_tcp);
    }
}
