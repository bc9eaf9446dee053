//! Inspection of one UDP flow.

use crate::{Findings, Options, Progress, Side, Timestamp};

/// One UDP datagram as the inspector sees it.
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

/// What is remembered of one UDP flow.
#[derive(Clone, Debug, Default)]
pub struct UdpInspector {}

impl UdpInspector {
    /// State of a flow of which nothing was seen.
    pub const fn new() -> Self {
        Self {}
    }

    /// Lets evidence that was already told be told again.
    pub fn rearm(&mut self) {}

    /// Shows one datagram.
    pub fn datagram(
        &mut self,
        _datagram: &UdpDatagram<'_>,
        _options: &Options,
        _findings: &mut Findings,
    ) -> Progress {
        Progress::Done
    }
}
