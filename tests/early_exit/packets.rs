//! IP packets of one flow.

use std::net::IpAddr;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// An address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End(pub(crate) IpAddr, pub(crate) u16);

pub(crate) fn end(address: &str, port: u16) -> End {
    End(address.parse().unwrap(), port)
}

/// The IP packet around a transport header with its payload; `id_offset` are the bytes behind the length of IPv4.
fn ip(protocol: u8, from: End, to: End, id_offset: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u16;
    match (from.0, to.0) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => [
            &[0x45, 0][..],
            &(20 + len).to_be_bytes(),
            &id_offset,
            &[64, protocol, 0, 0],
            &source.octets(),
            &destination.octets(),
            payload,
        ]
        .concat(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => [
            &[0x60, 0, 0, 0][..],
            &len.to_be_bytes(),
            &[protocol, 64],
            &source.octets(),
            &destination.octets(),
            payload,
        ]
        .concat(),
        _ => panic!("{from:?} and {to:?} are of one family"),
    }
}

fn datagram(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    [
        &from.1.to_be_bytes()[..],
        &to.1.to_be_bytes(),
        &len.to_be_bytes(),
        &[0, 0],
        payload,
    ]
    .concat()
}

pub(crate) fn udp(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    ip(17, from, to, [0, 0, 0x40, 0], &datagram(from, to, payload))
}

/// The first fragment of a longer datagram.
pub(crate) fn first_fragment(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    ip(17, from, to, [0, 9, 0x20, 0], &datagram(from, to, payload))
}

/// With four bytes of IPv4 options.
pub(crate) fn with_options(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let mut packet = udp(from, to, payload);
    packet.splice(20..20, [1; 4]);
    packet[0] = 0x46;
    packet[3] += 4;
    packet
}

/// With an empty destination options header (RFC 8200, section 4.6).
pub(crate) fn with_extension(from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let behind = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &datagram(from, to, payload)].concat();
    ip(60, from, to, [0; 4], &behind)
}

/// A datagram to the port of VXLAN (RFC 7348) that holds an Ethernet frame.
pub(crate) fn vxlan(from: End, to: End, frame: &[u8]) -> Vec<u8> {
    udp(from, to, &[&[8, 0, 0, 0, 0, 0, 7, 0][..], frame].concat())
}

pub(crate) fn tcp(
    from: End,
    to: End,
    [sequence, acknowledgement]: [u32; 2],
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let segment = [
        &from.1.to_be_bytes()[..],
        &to.1.to_be_bytes(),
        &sequence.to_be_bytes(),
        &acknowledgement.to_be_bytes(),
        &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0],
        payload,
    ]
    .concat();
    ip(6, from, to, [0, 0, 0x40, 0], &segment)
}

/// Behind an Ethernet header, of the type that the packet's version asks for.
pub(crate) fn ethernet(packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    typed(kind, packet)
}

pub(crate) fn typed(kind: u16, payload: &[u8]) -> Vec<u8> {
    [
        &[2, 0, 0, 0, 0, 0x78, 2, 0, 0, 0, 0, 0x77][..],
        &kind.to_be_bytes(),
        payload,
    ]
    .concat()
}

/// A peer handshake (BEP 3).
pub(crate) const HANDSHAKE: &[u8] = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05\
    \x8a\x17\xf3\x52\xc9\x0e\xd4\x61\xb8\x2f\x99\x40\xe7\x1c\x5a\xa3\x76\xdd\x08\x3b-TR4050-abcdefghijkl";

/// A DHT query (BEP 5).
pub(crate) const GET_PEERS: &[u8] = b"d1:ad2:id20:\x8a\x17\xf3\x52\xc9\x0e\xd4\x61\xb8\x2f\x99\x40\xe7\x1c\x5a\xa3\
    \x76\xdd\x08\x3b9:info_hash20:\x1a\x27\x63\xb2\xc9\x4e\xd4\x61\xf8\x2f\x19\x40\xa7\x1c\x5a\xe3\x76\x0d\x08\x3be1:q9:\
    get_peers1:t2:aa1:v4:LT\x02\x071:y1:qe";

/// What is no BitTorrent.
pub(crate) const JUNK: &[u8] = &[0xee; 200];
