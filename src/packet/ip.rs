//! From an IP header to the transport header behind it: IPv4 with options, IPv6 with extension headers,
//! authentication headers in both. Does not reassemble; says of each fragment what reassembly needs.

use super::{Skip, span::Span};
use pnet_packet::ipv4::{Ipv4Flags, Ipv4Packet};
use pnet_packet::ipv6::Ipv6Packet;

/// Extension headers that are followed in one packet: RFC 8200 section 4.1 lists seven, each once.
const MAX_EXTENSIONS: usize = 8;

pub(super) const IP_IN_IP: u8 = 4;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const IPV6_IN_IP: u8 = 41;
pub(super) const GRE: u8 = 47;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Bytes of the fixed header.
const IPV6_HEADER: usize = Ipv6Packet::minimum_packet_size();

/// Upper 96 bits of an IPv4-mapped address (RFC 4291 section 2.5.5.2).
pub(super) const MAPPED: u128 = 0xffff_0000_0000;

/// Where a fragment belongs in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Identification.
    pub(super) id: u32,
    /// Offset of the payload in bytes, a multiple of 8.
    pub(super) offset: u16,
    /// Whether more fragments follow.
    pub(super) more: bool,
    /// The protocol that the datagram's payload begins with.
    pub(super) protocol: u8,
}

/// One IP packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct IpView<'a> {
    /// Source address, IPv4 mapped.
    pub(super) source: u128,
    /// Destination address, IPv4 mapped.
    pub(super) destination: u128,
    /// Protocol of the payload. Of a fragment behind the first it says what the datagram is.
    pub(super) protocol: u8,
    /// Payload without padding.
    pub(super) payload: Span<'a>,
    /// The payload's place, when the packet is a fragment. Headers inside a fragment are not followed: whether
    /// they are whole, reassembly decides.
    pub(super) piece: Option<Piece>,
}

/// Reads the headers; the version comes from the first four bits, not from the link layer.
pub(super) fn read(packet: Span<'_>) -> Result<IpView<'_>, Skip> {
    match version(packet) {
        Some(4) => ipv4(packet),
        Some(6) => ipv6(packet),
        Some(_) => Err(Skip::NotIp),
        None => Err(Skip::TruncatedIp),
    }
}

/// The first four bits; `None` when nothing was captured.
fn version(packet: Span<'_>) -> Option<u8> {
    packet.bytes().first().map(|first| first >> 4)
}

fn ipv4(packet: Span<'_>) -> Result<IpView<'_>, Skip> {
    let view = Ipv4Packet::new(packet.bytes()).ok_or(Skip::TruncatedIp)?;
    let header = usize::from(view.get_header_length()) * 4;
    // Segmentation offload leaves a total length of 0 in frames captured before the device splits them.
    let total = match u32::from(view.get_total_length()) {
        0 => packet.wire(),
        total => total,
    };
    if header < Ipv4Packet::minimum_packet_size() || (header as u64) > u64::from(total) {
        return Err(Skip::BadIp);
    }
    let payload = packet.declared(total).after(header).ok_or(Skip::TruncatedIp)?;
    let offset = view.get_fragment_offset() * 8;
    let more = view.get_flags() & Ipv4Flags::MoreFragments != 0;
    let protocol = view.get_next_level_protocol().0;
    let mut ip = IpView {
        source: MAPPED | u128::from(u32::from(view.get_source())),
        destination: MAPPED | u128::from(u32::from(view.get_destination())),
        protocol,
        payload,
        piece: None,
    };
    if more || offset != 0 {
        ip.piece = Some(Piece {
            id: u32::from(view.get_identification()),
            offset,
            more,
            protocol,
        });
    } else if protocol == AUTHENTICATION {
        // RFC 4302: an authentication header hides nothing.
        (ip.protocol, ip.payload) = authentication(payload)?;
    }
    Ok(ip)
}

fn ipv6(packet: Span<'_>) -> Result<IpView<'_>, Skip> {
    let (header, rest) = packet.split::<IPV6_HEADER>().ok_or(Skip::TruncatedIp)?;
    let view = Ipv6Packet::new(header).ok_or(Skip::TruncatedIp)?;
    // The view reads addresses in eight parts.
    let [_, _, _, _, _, _, _, _, addresses @ ..] = header;
    let [source, destination] = [addresses.first_chunk(), addresses.last_chunk()]
        .map(|address| address.map_or(0, |address| u128::from_be_bytes(*address)));
    if source >> 32 == MAPPED >> 32 || destination >> 32 == MAPPED >> 32 {
        return Err(Skip::BadIp);
    }
    // Zero means a jumbogram (RFC 2675) or segmentation offload: the frame's length counts.
    let payload = match u32::from(view.get_payload_length()) {
        0 => rest,
        len => rest.declared(len),
    };
    let ip = IpView {
        source,
        destination,
        protocol: view.get_next_header().0,
        payload,
        piece: None,
    };
    if matches!(ip.protocol, TCP | UDP) {
        return Ok(ip);
    }
    extensions(ip)
}

/// Follows extension headers of IPv6.
fn extensions(mut ip: IpView<'_>) -> Result<IpView<'_>, Skip> {
    for _ in 0..=MAX_EXTENSIONS {
        match ip.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6 => {
                let ([next, len], _) = ip.payload.split::<2>().ok_or(Skip::TruncatedIp)?;
                let len = (usize::from(*len) + 1) * 8;
                ip = IpView {
                    protocol: *next,
                    payload: extension(ip.payload, len)?,
                    ..ip
                };
            }
            AUTHENTICATION => {
                let (protocol, payload) = authentication(ip.payload)?;
                ip = IpView {
                    protocol,
                    payload,
                    ..ip
                };
            }
            FRAGMENT => {
                let ([next, _, o0, o1, i @ ..], inner) = ip.payload.split::<8>().ok_or(Skip::TruncatedIp)?;
                let field = u16::from_be_bytes([*o0, *o1]);
                let piece = Piece {
                    id: u32::from_be_bytes(*i),
                    offset: field & !7,
                    more: field & 1 != 0,
                    protocol: *next,
                };
                ip = IpView {
                    protocol: *next,
                    payload: inner,
                    ..ip
                };
                // A datagram of one fragment is whole (RFC 6946).
                if piece.more || piece.offset != 0 {
                    return Ok(IpView {
                        piece: Some(piece),
                        ..ip
                    });
                }
            }
            _ => return Ok(ip),
        }
    }
    Err(Skip::TooDeep)
}

fn extension(payload: Span<'_>, len: usize) -> Result<Span<'_>, Skip> {
    if (len as u64) > u64::from(payload.wire()) {
        return Err(Skip::BadIp);
    }
    payload.after(len).ok_or(Skip::TruncatedIp)
}

fn authentication(payload: Span<'_>) -> Result<(u8, Span<'_>), Skip> {
    let ([next, len], _) = payload.split::<2>().ok_or(Skip::TruncatedIp)?;
    // The length counts 32-bit words, minus two (RFC 4302 section 2.2).
    Ok((*next, extension(payload, (usize::from(*len) + 2) * 4)?))
}
