//! From a frame's bytes to a [`PacketView`], or the reason why it is skipped.
//!
//! Promise: no allocation, no panic on any bytes, every length checked once. Most frames are plain and read in one go
//! (`plain`); all others layer by layer. There `pnet_packet` reads the fields of Ethernet, VLAN, IPv4, IPv6, TCP and
//! UDP headers; since it validates no length, each of its views is made behind the checks. What it has no right view for
//! (PPP, MPLS, cooked captures, GRE with its options, IPv6 extension chains) is read by hand.
//!
//! Deliberately not done: checksums (offload leaves them wrong in good frames), ARP, ICMP, encrypted tunnels,
//! Teredo.

#![forbid(unsafe_code)]

mod fragment;
mod ip;
mod link;
mod link_type;
mod plain;
mod skip;
mod span;
mod transport;
mod tunnel;

#[cfg(test)]
mod fragment_tests;
#[cfg(test)]
mod tests;

use btblocker_detectors::Endpoint;
pub use fragment::{Fragment, Reassembler};
use ip::IpView;
pub use link_type::LinkType;
pub use skip::Skip;
use span::Span;

/// Tunnels that are opened in one frame, one in the other.
pub const MAX_TUNNELS: usize = 3;

/// One TCP or UDP packet, borrowed from its frame.
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    /// Sender.
    pub source: Endpoint,
    /// Receiver.
    pub destination: Endpoint,
    /// Ethernet source address where the link has one; of a tunnelled packet that of the outer frame.
    pub source_mac: Option<[u8; 6]>,
    /// What the packet carries.
    pub transport: TransportView<'a>,
    /// The outermost tunnel that this packet was taken out of.
    pub tunnel: Option<Tunnel>,
    /// The packet is the first fragment of a larger one: its payload is cut, and the rest follows as
    /// [`Skip::Fragment`]. See [`fragment()`].
    pub first_fragment: bool,
}

impl PacketView<'_> {
    /// Address that sent the frame's outermost IP packet: what routing saw arrive.
    pub fn outer_source(&self) -> u128 {
        self.tunnel.map_or(self.source, |tunnel| tunnel.source).address
    }
}

/// The outer ends of a tunnel that does not encrypt (GRE, IP in IP, 6in4, VXLAN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Sender of the outer packet; port 0 unless the tunnel runs over UDP.
    pub source: Endpoint,
    /// Receiver of the outer packet; port 0 unless the tunnel runs over UDP.
    pub destination: Endpoint,
}

/// Transport header and payload.
#[derive(Clone, Copy, Debug)]
pub enum TransportView<'a> {
    /// A TCP segment.
    Tcp(TcpView<'a>),
    /// A UDP datagram.
    Udp(UdpView<'a>),
}

/// TCP header fields that are used, and the payload.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; meaningless without ACK.
    pub acknowledgement: u32,
    /// Receive window as it stands in the header, without its scale (RFC 7323 section 2.2).
    pub window: u16,
    /// Of a SYN with such an option: by how many bits the sender's later windows are shifted (RFC 7323 section 2.2).
    pub window_scale: Option<u8>,
    /// The flag bits of RFC 9293 section 3.1: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32.
    pub flags: u8,
    /// Captured payload.
    pub payload: &'a [u8],
    /// Payload length on the wire in bytes, at least `payload.len()`.
    pub wire_len: u32,
}

/// UDP payload.
#[derive(Clone, Copy, Debug)]
pub struct UdpView<'a> {
    /// Captured payload.
    pub payload: &'a [u8],
    /// Payload length on the wire in bytes, at least `payload.len()`.
    pub wire_len: u32,
}

/// Reads a frame of `frame.len()` captured bytes that had `wire_len` bytes on the wire. Packets in plain
/// tunnels are read instead of the tunnel's own; [`PacketView::tunnel`] tells.
///
/// # Errors
/// The reason why the frame holds nothing to look at.
pub fn parse(link: LinkType, frame: &[u8], wire_len: u32) -> Result<PacketView<'_>, Skip> {
    let frame = Span::new(frame, wire_len);
    let (ip, source_mac) = match link::without_tags(link, frame) {
        Some(found) => found,
        None => link::datagram(link, frame)?,
    };
    match plain::packet(ip.bytes(), source_mac) {
        Some(packet) => Ok(packet),
        None => layered(ip, source_mac),
    }
}

/// Any IP packet, layer by layer.
#[inline(never)]
fn layered(ip: Span<'_>, source_mac: Option<[u8; 6]>) -> Result<PacketView<'_>, Skip> {
    let outer = Found {
        ip: ip::read(ip)?,
        tunnel: None,
    };
    let Found { ip, tunnel } = descend(outer, MAX_TUNNELS)?;
    if ip.piece.is_some_and(|piece| piece.offset != 0) {
        return Err(Skip::Fragment);
    }
    let first = ip.piece.is_some();
    // A first fragment that shows no ports, as that of a tunnel's packet, is looked at when it is whole.
    let (source, destination, transport) = transport::read(ip.protocol, ip.payload, first)
        .map_err(|reason| if first { Skip::Fragment } else { reason })?;
    Ok(PacketView {
        source: Endpoint {
            address: ip.source,
            port: source,
        },
        destination: Endpoint {
            address: ip.destination,
            port: destination,
        },
        source_mac,
        transport,
        tunnel,
        first_fragment: first,
    })
}

/// The outermost IP packet of a frame as far as it was captured, padding included, and its length on the wire; `None`
/// when there is none.
pub fn ip_packet(link: LinkType, frame: &[u8], wire_len: u32) -> Option<(&[u8], u32)> {
    let (ip, _) = link::datagram(link, Span::new(frame, wire_len)).ok()?;
    Some((ip.bytes(), ip.wire()))
}

/// What [`Reassembler::insert`] needs of a frame that [`parse`] calls [`Skip::Fragment`] or a
/// [`PacketView::first_fragment`]; `None` for every other frame.
pub fn fragment(link: LinkType, frame: &[u8], wire_len: u32) -> Option<Fragment<'_>> {
    let (ip, source_mac) = link::datagram(link, Span::new(frame, wire_len)).ok()?;
    let outer = Found {
        ip: ip::read(ip).ok()?,
        tunnel: None,
    };
    let Found { ip, tunnel } = descend(outer, MAX_TUNNELS).ok()?;
    Some(Fragment {
        source: ip.source,
        destination: ip.destination,
        source_mac,
        tunnel,
        piece: ip.piece?,
        payload: ip.payload.bytes(),
        complete: !ip.payload.is_cut(),
    })
}

/// An IP packet and the outermost tunnel that it was taken out of.
#[derive(Clone, Copy)]
struct Found<'a> {
    ip: IpView<'a>,
    tunnel: Option<Tunnel>,
}

/// Opens up to `tunnels` tunnels.
fn descend(outer: Found<'_>, tunnels: usize) -> Result<Found<'_>, Skip> {
    let IpView {
        protocol,
        payload,
        piece,
        ..
    } = outer.ip;
    if piece.is_some() {
        return Ok(outer);
    }
    match protocol {
        ip::IP_IN_IP | ip::IPV6_IN_IP => enter(outer, payload, (0, 0), tunnels),
        ip::GRE => enter(outer, tunnel::gre(payload)?.0, (0, 0), tunnels),
        ip::UDP => {
            let Ok((source, tunnel::VXLAN_PORT, body)) = transport::udp(payload, false) else {
                return Ok(outer);
            };
            let Some(inner) = tunnel::vxlan(body) else {
                return Ok(outer);
            };
            // Any program may use that port: what does not lead to TCP or UDP is an ordinary datagram.
            match enter(outer, inner.0, (source, tunnel::VXLAN_PORT), tunnels) {
                Ok(found) if leads_to_transport(&found) => Ok(found),
                Err(Skip::TooDeep) => Err(Skip::TooDeep),
                Ok(_) | Err(_) => Ok(outer),
            }
        }
        _ => Ok(outer),
    }
}

/// Reads the packet inside a tunnel of `outer`, then further inwards.
fn enter<'a>(
    outer: Found<'a>,
    inner: Span<'a>,
    ports: (u16, u16),
    tunnels: usize,
) -> Result<Found<'a>, Skip> {
    let left = tunnels.checked_sub(1).ok_or(Skip::TooDeep)?;
    let tunnel = outer.tunnel.unwrap_or(Tunnel {
        source: Endpoint {
            address: outer.ip.source,
            port: ports.0,
        },
        destination: Endpoint {
            address: outer.ip.destination,
            port: ports.1,
        },
    });
    descend(
        Found {
            ip: ip::read(inner)?,
            tunnel: Some(tunnel),
        },
        left,
    )
}

fn leads_to_transport(found: &Found<'_>) -> bool {
    found.ip.piece.is_some() || transport::read(found.ip.protocol, found.ip.payload, false).is_ok()
}
