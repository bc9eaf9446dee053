//! Frames made by hand for the tests: raw IPv4 with TCP or UDP.

use crate::capture::{FrameBatch, LinkType};
use btblocker_detectors::{Endpoint, Timestamp};
use std::net::Ipv4Addr;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const ACK: u8 = 16;

pub(super) type Host = ([u8; 4], u16);

pub(super) const A: Host = ([10, 0, 0, 1], 50_001);
pub(super) const B: Host = ([198, 51, 100, 7], 51_413);

pub(super) fn endpoint(host: Host) -> Endpoint {
    Endpoint::new(Ipv4Addr::from(host.0).into(), host.1)
}

pub(super) fn at(millis: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000 + millis * 1000)
}

fn ipv4(protocol: u8, from: Host, to: Host, id: u16, offset: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x45, 0];
    frame.extend((20 + payload.len() as u16).to_be_bytes());
    frame.extend(id.to_be_bytes());
    frame.extend(offset.to_be_bytes());
    frame.extend([64, protocol, 0, 0]);
    frame.extend(from.0);
    frame.extend(to.0);
    frame.extend(payload);
    frame
}

pub(super) fn tcp(
    from: Host,
    to: Host,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledgement.to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    ipv4(6, from, to, 0, 0, &segment)
}

fn datagram(from: Host, to: Host, payload: &[u8]) -> Vec<u8> {
    let mut datagram = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

pub(super) fn udp(from: Host, to: Host, payload: &[u8]) -> Vec<u8> {
    ipv4(17, from, to, 0, 0, &datagram(from, to, payload))
}

/// The same in two fragments, the first with 24 bytes of IP payload.
pub(super) fn udp_fragments(from: Host, to: Host, payload: &[u8]) -> [Vec<u8>; 2] {
    let whole = datagram(from, to, payload);
    [
        ipv4(17, from, to, 9, 0x2000, &whole[..24]),
        ipv4(17, from, to, 9, 3, &whole[24..]),
    ]
}

/// A peer handshake (BEP 3) with the extension bit (BEP 10).
pub(super) fn handshake(peer: u8) -> Vec<u8> {
    let mut bytes = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05".to_vec();
    bytes.extend(*b"\x8a\x17\xf3\x52\xc9\x0e\xd4\x61\xb8\x2f\x99\x40\xe7\x1c\x5a\xa3\x76\xdd\x08\x3b");
    bytes.extend(*b"-TR4050-abcdefghijk");
    bytes.push(peer);
    bytes
}

/// An extended handshake (BEP 10) that names the speaker's listening port, 51413.
pub(super) fn extended_handshake() -> Vec<u8> {
    let body = b"\x14\0d1:md11:ut_metadatai2e6:ut_pexi1ee1:pi51413e4:reqqi500e1:v12:qBittorrent e";
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// A DHT query (BEP 5) with a transaction id.
pub(super) fn get_peers(transaction: [u8; 2]) -> Vec<u8> {
    let mut bytes = b"d1:ad2:id20:".to_vec();
    bytes.extend(*b"\x8a\x17\xf3\x52\xc9\x0e\xd4\x61\xb8\x2f\x99\x40\xe7\x1c\x5a\xa3\x76\xdd\x08\x3b");
    bytes.extend(b"9:info_hash20:");
    bytes.extend(*b"\x1a\x27\x63\xb2\xc9\x4e\xd4\x61\xf8\x2f\x19\x40\xa7\x1c\x5a\xe3\x76\x0d\x08\x3b");
    bytes.extend(b"e1:q9:get_peers1:t2:");
    bytes.extend(transaction);
    bytes.extend(b"1:v4:LT\x02\x071:y1:qe");
    bytes
}

/// An answer (BEP 5) to the query of that transaction.
pub(super) fn peers(transaction: [u8; 2]) -> Vec<u8> {
    let mut bytes = b"d1:rd2:id20:".to_vec();
    bytes.extend(*b"\x5c\x17\xa3\x52\x09\x0e\x14\x61\xe8\x2f\x39\x40\x57\x1c\x6a\xa3\x86\xdd\xb8\x3b");
    bytes.extend(b"5:token4:\x91\x17\x62\xe06:valuesl6:\xcb\x00\x71\x05\x1a\xe1ee1:t2:");
    bytes.extend(transaction);
    bytes.extend(b"1:y1:re");
    bytes
}

/// A raw frame behind an Ethernet header with this source.
pub(super) fn ethernet(source: [u8; 6], frame: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 9][..], &source, &[8, 0], frame].concat()
}

/// One batch of raw IP frames on interface 3.
pub(super) fn batch<'a>(frames: impl IntoIterator<Item = (u64, &'a [u8])>) -> FrameBatch {
    let mut batch = FrameBatch::new();
    for (millis, frame) in frames {
        assert!(batch.push(at(millis), LinkType::Raw, 3, frame.len() as u32, frame));
    }
    batch
}
