//! What an inspection found: a small fixed-size list of evidence and of learned endpoints.

use crate::{Endpoint, Evidence, Side};

/// Most pieces of evidence that one packet can give; more are counted in [`Findings::overflow`].
pub const MAX_EVIDENCE: usize = 8;
/// Most endpoints that one packet can teach; more are counted in [`Findings::overflow`]. A PEX message
/// names at most 50 peers (BEP 11), a UDP tracker answer of 1,472 bytes 242.
pub const MAX_LEARNED: usize = 256;

/// Where an endpoint was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LearnedFrom {
    /// HTTP or UDP tracker answer.
    Tracker,
    /// DHT `values`.
    DhtValues,
    /// DHT `nodes`.
    DhtNodes,
    /// Peer exchange.
    Pex,
    /// Holepunch message.
    Holepunch,
    /// Extended handshake `p` or the BEP 5 port message: the speaker's own listening port.
    ListenPort,
}

/// An endpoint that plaintext BitTorrent traffic named as a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The peer. Address 0 stands for the address of the end that spoke (only its port was named), port 0
    /// then for the port it spoke from.
    pub endpoint: Endpoint,
    /// Where it was named.
    pub from: LearnedFrom,
    /// The end that was told (the host whose later flows to the endpoint are suspect).
    pub told: Side,
}

impl Learned {
    /// The end that spoke is itself such an endpoint, at the address and port it spoke from.
    pub const fn speaker(from: LearnedFrom, speaker: Side) -> Self {
        Self {
            endpoint: Endpoint { address: 0, port: 0 },
            from,
            told: speaker.other(),
        }
    }
}

/// Evidence and learned endpoints of one packet. Reused: cleared by its owner before each packet.
#[derive(Debug)]
pub struct Findings {
    evidence: [Option<Evidence>; MAX_EVIDENCE],
    evidence_len: usize,
    learned: [Option<Learned>; MAX_LEARNED],
    learned_len: usize,
    overflow: u32,
}

impl Default for Findings {
    fn default() -> Self {
        Self::new()
    }
}

impl Findings {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            evidence: [None; MAX_EVIDENCE],
            evidence_len: 0,
            learned: [None; MAX_LEARNED],
            learned_len: 0,
            overflow: 0,
        }
    }
    /// Forgets everything.
    pub const fn clear(&mut self) {
        self.evidence_len = 0;
        self.learned_len = 0;
        self.overflow = 0;
    }
    /// Adds a piece of evidence; counts it in [`Findings::overflow`] when there is no room.
    pub fn push(&mut self, evidence: Evidence) {
        match self.evidence.get_mut(self.evidence_len) {
            Some(slot) => {
                *slot = Some(evidence);
                self.evidence_len += 1;
            }
            None => self.overflow += 1,
        }
    }
    /// Adds a learned endpoint; counts it in [`Findings::overflow`] when there is no room.
    pub fn learn(&mut self, learned: Learned) {
        match self.learned.get_mut(self.learned_len) {
            Some(slot) => {
                *slot = Some(learned);
                self.learned_len += 1;
            }
            None => self.overflow += 1,
        }
    }
    /// The evidence, in order of discovery.
    pub fn evidence(&self) -> impl Iterator<Item = &Evidence> {
        self.evidence.iter().take(self.evidence_len).flatten()
    }
    /// The learned endpoints, in order of discovery.
    pub fn learned(&self) -> impl Iterator<Item = &Learned> {
        self.learned.iter().take(self.learned_len).flatten()
    }
    /// Whether nothing was found.
    pub const fn is_empty(&self) -> bool {
        self.evidence_len == 0 && self.learned_len == 0
    }
    /// Findings that had no room.
    pub const fn overflow(&self) -> u32 {
        self.overflow
    }
}
