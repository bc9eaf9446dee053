//! From a frame's bytes to a [`PacketView`], or the reason why it is skipped.

use btblocker_detectors::Endpoint;

/// One TCP or UDP packet, borrowed from its frame.
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    /// Sender.
    pub source: Endpoint,
    /// Receiver.
    pub destination: Endpoint,
    /// Ethernet source address where the link has one.
    pub source_mac: Option<[u8; 6]>,
    /// What the packet carries.
    pub transport: TransportView<'a>,
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
