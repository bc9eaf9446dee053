//! The link types that are read.

/// Link type of a frame, from the numbers of `pcap-linktype(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// BSD loopback, 4-byte address family in host byte order of the capturing machine (0).
    Null,
    /// Ethernet (1).
    Ethernet,
    /// Raw IPv4 or IPv6 (12, 14, 101, 228, 229).
    Raw,
    /// OpenBSD loopback, 4-byte address family in network byte order (108).
    Loop,
    /// Linux cooked capture v1 (113).
    LinuxSll,
    /// Linux cooked capture v2 (276).
    LinuxSll2,
    /// PPP with or without HDLC framing (9, 50).
    Ppp,
    /// PPPoE session (51).
    PppEther,
    /// Any other number: frames are skipped and counted.
    Other(i32),
}

impl LinkType {
    /// From a number of `pcap-linktype(7)`, or a DLT number as `pcap_datalink(3)` returns it.
    pub const fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Null,
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            108 => Self::Loop,
            113 => Self::LinuxSll,
            276 => Self::LinuxSll2,
            9 | 50 => Self::Ppp,
            51 => Self::PppEther,
            other => Self::Other(other),
        }
    }
}
