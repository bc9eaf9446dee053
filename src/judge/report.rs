//! What the workers tell the judge. Reports are rare: most packets give none.

use std::fmt;
use std::net::SocketAddr;

use btblocker_detectors::{Endpoint, Ends, Evidence, LearnedFrom, Side, Timestamp, Transport};

/// A flow, its originator first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// Transport protocol.
    pub transport: Transport,
    /// The end that sent the first packet (of TCP: the SYN, when it was seen).
    pub originator: Endpoint,
    /// The other end.
    pub responder: Endpoint,
}

impl FlowId {
    /// The endpoint of one side.
    pub const fn end(&self, side: Side) -> Endpoint {
        match side {
            Side::Originator => self.originator,
            Side::Responder => self.responder,
        }
    }
}

/// One piece of evidence, with the flow it was seen on.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// Packet time.
    pub at: Timestamp,
    /// Index of the interface or file.
    pub interface: u16,
    /// The flow.
    pub flow: FlowId,
    /// What was seen.
    pub evidence: Evidence,
    /// Ends that are proven to take part in this flow so far: TCP by its handshake or by acknowledged
    /// data both ways, UDP by everything that evidence on this flow has proven until now.
    pub proven: Ends,
    /// Payload length of the packet, in bytes.
    pub payload_len: u32,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flow, evidence, .. } = self;
        let proven = |side| {
            if self.proven.contains(side) {
                "proven"
            } else {
                "unproven"
            }
        };
        let speaker = flow.end(evidence.speaker);
        write!(
            f,
            "{} ({}, {}) by {}:{}, {} bytes; {flow}, {} > {}",
            Name(evidence),
            evidence.confidence.name(),
            evidence.class.name(),
            speaker.ip(),
            speaker.port,
            self.payload_len,
            proven(Side::Originator),
            proven(Side::Responder),
        )
    }
}

/// Technique and rule of evidence, once when they are called the same.
pub(super) struct Name<'e>(pub(super) &'e Evidence);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (technique, rule) = (self.0.technique.name(), self.0.rule);
        f.write_str(technique)?;
        if rule == technique {
            return Ok(());
        }
        write!(f, " {rule}")
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.originator, self.responder);
        let socket = |end: Endpoint| SocketAddr::new(end.ip(), end.port);
        write!(f, "{} {} > {}", self.transport.name(), socket(from), socket(to))
    }
}

/// An endpoint that a host was told of by plaintext BitTorrent traffic.
#[derive(Clone, Copy, Debug)]
pub struct LearnedPeer {
    /// Packet time.
    pub at: Timestamp,
    /// Address of the host that was told.
    pub told: u128,
    /// The endpoint it was told of.
    pub endpoint: Endpoint,
    /// How.
    pub from: LearnedFrom,
}

/// What a worker sends to the judge.
#[derive(Clone, Copy, Debug)]
pub enum Report {
    /// A piece of evidence.
    Sighting(Sighting),
    /// A learned endpoint.
    Learned(LearnedPeer),
}

#[cfg(test)]
mod tests {
    use btblocker_detectors::{Confidence, Technique};

    use super::*;

    #[test]
    fn evidence_is_named_once() {
        for (rule, name) in [
            ("handshake", "handshake"),
            ("handshake-prefix", "handshake handshake-prefix"),
        ] {
            let evidence = Evidence::new(Technique::Handshake, rule, Confidence::Strong, Side::Originator);
            assert_eq!(Name(&evidence).to_string(), name);
        }
    }
}
