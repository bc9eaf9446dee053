//! Packets made by hand: IPv4 and IPv6 with UDP, and what may stand in front of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Port to which every packet goes.
pub(crate) const PORT: u16 = 7000;

/// One's complement sum of RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// An IP packet with a UDP datagram; both addresses are of one family.
pub(crate) fn udp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let mut datagram = [
        &7001_u16.to_be_bytes()[..],
        &PORT.to_be_bytes(),
        &len.to_be_bytes(),
        &[0, 0],
        payload,
    ]
    .concat();
    let (pseudo, mut header) = match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4(source, destination, len),
        (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6(source, destination, len),
        _ => panic!("two families"),
    };
    let sum = checksum(&[&pseudo, &datagram]);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    header.append(&mut datagram);
    header
}

/// Pseudo header and header.
fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, len: u16) -> (Vec<u8>, Vec<u8>) {
    let addresses = [source.octets(), destination.octets()].concat();
    let pseudo = [&addresses[..], &[0, 17], &len.to_be_bytes()].concat();
    let mut header = [
        &[0x45, 0][..],
        &(20 + len).to_be_bytes(),
        &[0, 0, 0, 0, 64, 17, 0, 0],
        &addresses,
    ]
    .concat();
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    (pseudo, header)
}

/// Pseudo header and header.
fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, len: u16) -> (Vec<u8>, Vec<u8>) {
    let addresses = [source.octets(), destination.octets()].concat();
    let pseudo = [&addresses[..], &[0, 0], &len.to_be_bytes(), &[0, 0, 0, 17]].concat();
    let header = [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[17, 64], &addresses].concat();
    (pseudo, header)
}

/// What stands between the Ethernet addresses and the IP packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Front {
    Plain,
    Vlan,
    QinQ,
    ThreeTags,
    Pppoe,
    VlanPppoe,
}

/// An Ethernet frame around an IP packet.
pub(crate) fn ethernet(front: Front, packet: &[u8]) -> Vec<u8> {
    let v4 = packet[0] >> 4 == 4;
    let ip: &[u8] = if v4 { &[0x08, 0x00] } else { &[0x86, 0xdd] };
    let pppoe = [
        &[0x88, 0x64, 0x11, 0, 0, 1, 0, 0][..],
        if v4 { &[0, 0x21] } else { &[0, 0x57] },
    ]
    .concat();
    let (vlan, qinq): (&[u8], &[u8]) = (&[0x81, 0x00, 0, 5], &[0x88, 0xa8, 0, 9]);
    let between = match front {
        Front::Plain => ip.to_vec(),
        Front::Vlan => [vlan, ip].concat(),
        Front::QinQ => [qinq, vlan, ip].concat(),
        Front::ThreeTags => [qinq, vlan, vlan, ip].concat(),
        Front::Pppoe => pppoe,
        Front::VlanPppoe => [vlan, &pppoe].concat(),
    };
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &between, packet].concat()
}
