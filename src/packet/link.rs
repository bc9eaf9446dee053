//! From a frame to the IP packet in it: Ethernet, VLAN stacks, PPPoE, PPP, MPLS, LLC/SNAP, cooked captures,
//! loopback and raw IP. Does not look into IP.

use super::{LinkType, Skip, span::Span};
use pnet_packet::ethernet::EthernetPacket;
use pnet_packet::vlan::VlanPacket;

/// Tags of IEEE 802.1Q and 802.1ad that are followed in one frame.
const MAX_TAGS: usize = 4;
/// MPLS labels that are followed in one frame (RFC 3032; stacks of more than four are not in use).
const MAX_LABELS: usize = 8;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const QINQ_OLD: u16 = 0x9100;
const MPLS_UNICAST: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE_SESSION: u16 = 0x8864;
/// Largest value of the Ethernet type field that is a length (IEEE 802.3 section 3.2.6).
const MAX_LENGTH: u16 = 1500;

/// ARPHRD_ETHER of `linux/if_arp.h`.
const HARDWARE_ETHERNET: u16 = 1;

/// From the IP header on, padding included, and the Ethernet source address where there is one.
pub(super) type Datagram<'a> = (Span<'a>, Mac);
type Mac = Option<[u8; 6]>;

/// IP behind an Ethernet header without tags, or the frame of a raw link; `None` for everything that needs
/// [`datagram`].
#[inline(always)]
pub(super) fn without_tags(link: LinkType, frame: Span<'_>) -> Option<Datagram<'_>> {
    match link {
        LinkType::Ethernet => {
            let (head, ip) = frame.split::<14>()?;
            let [_, _, _, _, _, _, mac @ .., k0, k1] = head;
            matches!(u16::from_be_bytes([*k0, *k1]), IPV4 | IPV6).then_some((ip, Some(*mac)))
        }
        LinkType::Raw => Some((frame, None)),
        _ => None,
    }
}

/// Removes the link layer.
pub(super) fn datagram(link: LinkType, frame: Span<'_>) -> Result<Datagram<'_>, Skip> {
    match link {
        LinkType::Ethernet => ethernet(frame),
        LinkType::Raw => Ok((frame, None)),
        LinkType::LinuxSll => cooked(frame),
        LinkType::LinuxSll2 => cooked2(frame),
        LinkType::Null | LinkType::Loop => loopback(frame),
        LinkType::Ppp => ppp(frame, None),
        LinkType::PppEther => pppoe(frame, None),
        LinkType::Other(_) => Err(Skip::UnknownLink),
    }
}

fn cooked(frame: Span<'_>) -> Result<Datagram<'_>, Skip> {
    let (head, rest) = frame.split::<16>().ok_or(Skip::TruncatedLink)?;
    let [_, _, t0, t1, l0, l1, a, b, c, d, e, f, _, _, p0, p1] = *head;
    let mac = cooked_mac([t0, t1], u16::from_be_bytes([l0, l1]), [a, b, c, d, e, f]);
    typed(u16::from_be_bytes([p0, p1]), rest, mac)
}

fn cooked2(frame: Span<'_>) -> Result<Datagram<'_>, Skip> {
    let (head, rest) = frame.split::<20>().ok_or(Skip::TruncatedLink)?;
    let [p0, p1, _, _, _, _, _, _, t0, t1, _, len, a, b, c, d, e, f, _, _] = *head;
    let mac = cooked_mac([t0, t1], u16::from(len), [a, b, c, d, e, f]);
    typed(u16::from_be_bytes([p0, p1]), rest, mac)
}

/// An Ethernet frame without preamble and check sequence.
pub(super) fn ethernet(frame: Span<'_>) -> Result<Datagram<'_>, Skip> {
    let view = EthernetPacket::new(frame.bytes()).ok_or(Skip::TruncatedLink)?;
    let rest = frame
        .after(EthernetPacket::minimum_packet_size())
        .ok_or(Skip::TruncatedLink)?;
    typed(view.get_ethertype().0, rest, Some(view.get_source().octets()))
}

/// What follows an Ethernet type field.
pub(super) fn typed(mut kind: u16, mut rest: Span<'_>, mac: Mac) -> Result<Datagram<'_>, Skip> {
    for _ in 0..=MAX_TAGS {
        match kind {
            IPV4 | IPV6 => {
                return Ok((rest, mac));
            }
            VLAN | QINQ | QINQ_OLD => {
                let tag = VlanPacket::new(rest.bytes()).ok_or(Skip::TruncatedLink)?;
                kind = tag.get_ethertype().0;
                rest = rest
                    .after(VlanPacket::minimum_packet_size())
                    .ok_or(Skip::TruncatedLink)?;
            }
            MPLS_UNICAST | MPLS_MULTICAST => return mpls(rest, mac),
            PPPOE_SESSION => return pppoe(rest, mac),
            0..=MAX_LENGTH => {
                // A length of 0 occurs in offloaded frames and says nothing.
                let body = if kind == 0 {
                    rest
                } else {
                    rest.declared(u32::from(kind))
                };
                let (head, inner) = body.split::<8>().ok_or(Skip::TruncatedLink)?;
                let [0xaa, 0xaa, 0x03, 0, 0, 0, t0, t1] = *head else {
                    return Err(Skip::NotIp);
                };
                (kind, rest) = (u16::from_be_bytes([t0, t1]), inner);
            }
            _ => return Err(Skip::NotIp),
        }
    }
    Err(Skip::TooDeep)
}

/// A label stack (RFC 3032). The payload has no type field; its first four bits tell IP apart (RFC 4928
/// section 3). Ethernet pseudowires are not followed.
fn mpls(mut rest: Span<'_>, mac: Mac) -> Result<Datagram<'_>, Skip> {
    for _ in 0..MAX_LABELS {
        let ([_, _, bottom, _], inner) = rest.split::<4>().ok_or(Skip::TruncatedLink)?;
        if bottom & 1 == 1 {
            return Ok((inner, mac));
        }
        rest = inner;
    }
    Err(Skip::TooDeep)
}

/// A PPPoE session header (RFC 2516 section 4) and the PPP frame behind it.
fn pppoe(rest: Span<'_>, mac: Mac) -> Result<Datagram<'_>, Skip> {
    let (head, inner) = rest.split::<6>().ok_or(Skip::TruncatedLink)?;
    let [0x11, 0, _, _, l0, l1] = *head else {
        return Err(Skip::NotIp);
    };
    ppp(inner.declared(u32::from(u16::from_be_bytes([l0, l1]))), mac)
}

/// A PPP frame (RFC 1661 section 2), with or without the address and control bytes of RFC 1662, the protocol
/// field compressed or not.
pub(super) fn ppp(mut rest: Span<'_>, mac: Mac) -> Result<Datagram<'_>, Skip> {
    match rest.bytes() {
        [0xff, 0x03, ..] => rest = rest.after(2).ok_or(Skip::TruncatedLink)?,
        [0xff] => return Err(Skip::TruncatedLink),
        _ => {}
    }
    let ([first], inner) = rest.split::<1>().ok_or(Skip::TruncatedLink)?;
    let (protocol, ip) = if first & 1 == 1 {
        (u16::from(*first), inner)
    } else {
        let (head, inner) = rest.split::<2>().ok_or(Skip::TruncatedLink)?;
        (u16::from_be_bytes(*head), inner)
    };
    match protocol {
        0x0021 | 0x0057 => Ok((ip, mac)),
        _ => Err(Skip::NotIp),
    }
}

/// The 4-byte address family of BSD loopback. The byte order is that of a machine that is not known here, and
/// the number of IPv6 is 10 on Linux, 24, 28 and 30 on BSDs and macOS (`pcap-linktype(7)`).
fn loopback(frame: Span<'_>) -> Result<Datagram<'_>, Skip> {
    let (head, ip) = frame.split::<4>().ok_or(Skip::TruncatedLink)?;
    let family = u32::from_be_bytes(*head).min(u32::from_le_bytes(*head));
    match family {
        2 | 10 | 24 | 28 | 30 => Ok((ip, None)),
        _ => Err(Skip::NotIp),
    }
}

fn cooked_mac(hardware: [u8; 2], len: u16, address: [u8; 6]) -> Mac {
    (u16::from_be_bytes(hardware) == HARDWARE_ETHERNET && len == 6).then_some(address)
}
