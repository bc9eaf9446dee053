//! The frames that nearly all traffic consists of, read in one go: IPv4 without options or IPv6 without extension
//! headers, whole, carrying TCP or UDP.
//!
//! Purpose: speed. Reading layer by layer with `pnet_packet`, whose accessors are calls, takes twice as many
//! instructions. Whatever is unusual in any way gives `None` and is read by the other modules; a test holds both to the
//! same answers.

use super::{PacketView, TcpView, TransportView, UdpView, ip, transport, tunnel};
use btblocker_detectors::Endpoint;

/// Bytes of the fixed headers.
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// An IP packet from its first byte on.
#[inline(always)]
pub(super) fn packet(bytes: &[u8], source_mac: Option<[u8; 6]>) -> Option<PacketView<'_>> {
    match bytes.first()? {
        0x45 => ipv4(bytes, source_mac),
        0x60..=0x6f => ipv6(bytes, source_mac),
        _ => None,
    }
}

#[inline(always)]
fn ipv4(bytes: &[u8], source_mac: Option<[u8; 6]>) -> Option<PacketView<'_>> {
    let (header, payload) = bytes.split_first_chunk::<IPV4_HEADER>()?;
    let [_, _, t0, t1, _, _, f0, f1, _, protocol, _, _, addresses @ ..] = header;
    // The flag that says "do not fragment" is all that may be set.
    if u16::from_be_bytes([*f0, *f1]) & 0x3fff != 0 {
        return None;
    }
    let wire = usize::from(u16::from_be_bytes([*t0, *t1])).checked_sub(IPV4_HEADER)?;
    let [source, destination] = [addresses.first_chunk()?, addresses.last_chunk()?]
        .map(|address| ip::MAPPED | u128::from(u32::from_be_bytes(*address)));
    let payload = payload.get(..wire).unwrap_or(payload);
    transport(*protocol, payload, wire, [source, destination], source_mac)
}

#[inline(always)]
fn ipv6(bytes: &[u8], source_mac: Option<[u8; 6]>) -> Option<PacketView<'_>> {
    let (header, payload) = bytes.split_first_chunk::<IPV6_HEADER>()?;
    let [_, _, _, _, l0, l1, protocol, _, addresses @ ..] = header;
    let wire = usize::from(u16::from_be_bytes([*l0, *l1]));
    let [source, destination] =
        [addresses.first_chunk()?, addresses.last_chunk()?].map(|address| u128::from_be_bytes(*address));
    let is_mapped = |address: u128| address >> 32 == ip::MAPPED >> 32;
    if wire == 0 || is_mapped(source) || is_mapped(destination) {
        return None;
    }
    let payload = payload.get(..wire).unwrap_or(payload);
    transport(*protocol, payload, wire, [source, destination], source_mac)
}

/// The segment or datagram in `payload`, which is `wire` bytes long on the wire.
#[inline(always)]
fn transport(
    protocol: u8,
    payload: &[u8],
    wire: usize,
    [source, destination]: [u128; 2],
    source_mac: Option<[u8; 6]>,
) -> Option<PacketView<'_>> {
    let ([p0, p1, q0, q1, ..], _) = payload.split_first_chunk::<UDP_HEADER>()?;
    let ports = [u16::from_be_bytes([*p0, *p1]), u16::from_be_bytes([*q0, *q1])];
    let transport = match protocol {
        ip::TCP => {
            let header = payload.first_chunk::<TCP_HEADER>()?;
            let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, ..] = *header;
            let [.., w0, w1, _, _, _, _] = *header;
            let header = usize::from(offset >> 4) * 4;
            if header < TCP_HEADER {
                return None;
            }
            TransportView::Tcp(TcpView {
                sequence: u32::from_be_bytes([s0, s1, s2, s3]),
                acknowledgement: u32::from_be_bytes([a0, a1, a2, a3]),
                window: u16::from_be_bytes([w0, w1]),
                window_scale: transport::window_scale(flags, payload.get(TCP_HEADER..header)?),
                flags: flags & 0x3f,
                payload: payload.get(header..)?,
                wire_len: wire.checked_sub(header)? as u32,
            })
        }
        ip::UDP => {
            let ([_, _, _, _, l0, l1, _, _], body) = payload.split_first_chunk::<UDP_HEADER>()?;
            let len = usize::from(u16::from_be_bytes([*l0, *l1]));
            let body_len = len.checked_sub(UDP_HEADER)?;
            if len > wire || ports[1] == tunnel::VXLAN_PORT {
                return None;
            }
            TransportView::Udp(UdpView {
                payload: body.get(..body_len).unwrap_or(body),
                wire_len: body_len as u32,
            })
        }
        _ => return None,
    };
    Some(PacketView {
        source: Endpoint {
            address: source,
            port: ports[0],
        },
        destination: Endpoint {
            address: destination,
            port: ports[1],
        },
        source_mac,
        transport,
        tunnel: None,
        first_fragment: false,
    })
}
