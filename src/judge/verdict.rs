//! What the judge says.

use std::fmt;
use std::net::IpAddr;

use btblocker_detectors::{Client, Evidence, Timestamp};

use super::report::{FlowId, Name};

/// What made evidence that proves nothing by itself count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corroboration {
    /// Nothing was needed: the evidence is conclusive.
    None,
    /// A second technique recognised the same flow.
    TwoTechniques,
    /// The host spoke BitTorrent for certain on another flow.
    SameHost,
    /// The host's own plaintext traffic had named the remote endpoint as a peer.
    LearnedPeer,
    /// The host sent the same public key to another remote host.
    KeyReuse,
    /// The host has alike flows to this many remote hosts.
    FanOut(usize),
}

impl Corroboration {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::TwoTechniques => "two-techniques",
            Self::SameHost => "same-host",
            Self::LearnedPeer => "learned-peer",
            Self::KeyReuse => "key-reuse",
            Self::FanOut(_) => "fan-out",
        }
    }
}

impl fmt::Display for Corroboration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("conclusive by itself"),
            Self::TwoTechniques => f.write_str("two techniques agree on the flow"),
            Self::SameHost => f.write_str("the host speaks BitTorrent on another flow"),
            Self::LearnedPeer => f.write_str("the remote end was named as a peer in the host's own traffic"),
            Self::KeyReuse => f.write_str("the host sent the same public key to another remote host"),
            Self::FanOut(remotes) => write!(f, "alike flows to {remotes} remote hosts"),
        }
    }
}

/// A flow is BitTorrent.
#[derive(Clone, Copy, Debug)]
pub struct FlowVerdict {
    /// Packet time.
    pub at: Timestamp,
    /// Index of the interface or file.
    pub interface: u16,
    /// The flow.
    pub flow: FlowId,
    /// The evidence that decided.
    pub evidence: Evidence,
    /// What made it count.
    pub corroboration: Corroboration,
    /// Payload length of the packet, in bytes.
    pub payload_len: u32,
    /// Whether it is to be written down: an end has as many detections as `report_threshold` asks for.
    pub reported: bool,
}

/// A host is to be banned for a flow.
#[derive(Clone, Copy, Debug)]
pub struct BanVerdict {
    /// The host.
    pub address: IpAddr,
    /// Why.
    pub because: FlowVerdict,
}

impl BanVerdict {
    /// The program of the host, which only its own packets name.
    pub fn client(&self) -> Client {
        let FlowVerdict { flow, evidence, .. } = &self.because;
        if flow.end(evidence.speaker).ip() == self.address {
            evidence.client
        } else {
            Client::Unknown
        }
    }

    /// The reason in words.
    pub fn reason(&self) -> String {
        let FlowVerdict {
            evidence,
            corroboration,
            flow,
            ..
        } = &self.because;
        format!(
            "{} ({}), {flow}; {corroboration}",
            Name(evidence),
            evidence.confidence.name(),
        )
    }
}

/// One decision of the judge.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// A flow is judged BitTorrent, once per flow.
    Flow(FlowVerdict),
    /// A host is to be banned; repeated while evidence continues.
    Ban(BanVerdict),
}
