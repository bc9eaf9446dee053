//! Headers of tunnels that do not encrypt: GRE with its variants, and VXLAN. IP in IP has no header of its
//! own. Teredo is not opened: its inner addresses are made of the outer ones, and anybody may forge them.

use super::{Skip, link, link::Datagram, span::Span};

/// Registered port of VXLAN (RFC 7348 section 5).
pub(super) const VXLAN_PORT: u16 = 4789;

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Only in version 1 (RFC 2637 section 4.1).
const ACKNOWLEDGEMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;

const PPP: u16 = 0x880b;
const TRANSPARENT_ETHERNET: u16 = 0x6558;
/// MikroTik's Ethernet over IP, which uses the header of version 1.
const EOIP: u16 = 0x6400;

/// What a GRE header (RFC 2784, 2890; PPTP: RFC 2637) carries.
pub(super) fn gre(payload: Span<'_>) -> Result<Datagram<'_>, Skip> {
    let (head, rest) = payload.split::<4>().ok_or(Skip::TruncatedTransport)?;
    let [f0, f1, p0, p1] = *head;
    let (flags, protocol) = (u16::from_be_bytes([f0, f1]), u16::from_be_bytes([p0, p1]));
    let words = |fields: u16| (flags & fields).count_ones() as usize * 4;
    let (len, eoip) = match flags & VERSION {
        0 if flags & ROUTING == 0 => (words(CHECKSUM | KEY | SEQUENCE), false),
        1 if flags & (CHECKSUM | ROUTING) == 0 => (words(KEY | SEQUENCE | ACKNOWLEDGEMENT), protocol == EOIP),
        _ => return Err(Skip::NotTransport),
    };
    let inner = rest.after(len).ok_or(Skip::TruncatedTransport)?;
    match protocol {
        TRANSPARENT_ETHERNET => link::ethernet(inner),
        EOIP if eoip => link::ethernet(inner),
        PPP => link::ppp(inner, None),
        protocol => link::typed(protocol, inner, None),
    }
}

/// What a VXLAN header (RFC 7348 section 5) carries; `None` when it is none. Every reserved bit must be zero,
/// because the port alone proves nothing.
pub(super) fn vxlan(payload: Span<'_>) -> Option<Datagram<'_>> {
    let (head, inner) = payload.split::<8>()?;
    let [0x08, 0, 0, 0, _, _, _, 0] = *head else {
        return None;
    };
    link::ethernet(inner).ok()
}
