//! One UDP datagram.

use crate::{Side, Timestamp};

/// One UDP datagram as inspectors see it.
#[derive(Clone, Copy, Debug)]
pub struct UdpDatagram<'a> {
    /// The end that sent it.
    pub from: Side,
    /// Packet time.
    pub at: Timestamp,
    /// Captured payload.
    pub payload: &'a [u8],
    /// Payload length on the wire in bytes, at least `payload.len()`.
    pub wire_len: u32,
    /// Whether the destination is a multicast group.
    pub multicast: bool,
}

impl UdpDatagram<'_> {
    /// Whether the capture ends before the datagram.
    pub(crate) fn is_cut(&self) -> bool {
        usize::try_from(self.wire_len).is_ok_and(|wire_len| wire_len > self.payload.len())
    }
}
