//! What the operator decided: what counts, and who is banned for it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use btblocker_detectors::{Class, Sensitivity, Side, Technique};

use super::report::FlowId;

/// Which end of a BitTorrent flow is banned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BanTarget {
    /// The end inside the local networks when exactly one end is, and it may be banned; otherwise the
    /// end that spoke.
    #[default]
    Auto,
    /// The end that sent the packet which was recognised.
    Source,
    /// The end that opened the flow.
    Client,
    /// The end that did not open the flow.
    Remote,
    /// Both ends.
    Both,
}

impl BanTarget {
    /// Every target with its name.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Auto, "auto"),
        (Self::Source, "source"),
        (Self::Client, "client"),
        (Self::Remote, "remote"),
        (Self::Both, "both"),
    ];
}

impl fmt::Display for BanTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            Self::ALL
                .iter()
                .find(|(target, _)| target == self)
                .map_or("auto", |(_, name)| name),
        )
    }
}

impl FromStr for BanTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(target, _)| *target).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!(
                "unknown ban target {text:?}, one of {} is needed",
                names.join(", ")
            )
        })
    }
}

/// What the judge decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Which end is banned.
    pub target: BanTarget,
    /// Classes of traffic that lead to a ban.
    pub classes: Vec<Class>,
    /// Ports on which only conclusive evidence counts.
    pub exempt_ports: Vec<u16>,
    /// How much certainty is demanded before strong and weak evidence add up to a ban.
    pub sensitivity: Sensitivity,
    /// Techniques that are switched off; here those count that are seen across flows: learned peers and fan-out.
    pub techniques_off: Vec<Technique>,
    /// Ids of byte signatures that do not count.
    pub signatures_off: Vec<&'static str>,
    /// Detections of a host within ten minutes that a ban takes: flows that are judged BitTorrent and in which the
    /// host is proven to take part. A flow that goes on counts anew every half minute. 1 bans at once.
    pub ban_threshold: usize,
    /// Flows with a host as an end that are judged BitTorrent within ten minutes before they are
    /// [reported](super::FlowVerdict::reported).
    pub report_threshold: usize,
    /// The capture sees only one direction of the traffic: conclusive TCP evidence counts without proof
    /// that the other side answered. UDP evidence stays unproven.
    pub one_sided: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            target: BanTarget::Auto,
            classes: vec![Class::BitTorrent, Class::DhtMaintenance],
            exempt_ports: vec![22, 53, 80, 443, 853, 5222, 5269],
            sensitivity: Sensitivity::Balanced,
            techniques_off: Vec::new(),
            signatures_off: Vec::new(),
            ban_threshold: 1,
            report_threshold: 1,
            one_sided: false,
        }
    }
}

impl Policy {
    /// Whether a technique is on.
    pub fn uses(&self, technique: Technique) -> bool {
        !self.techniques_off.contains(&technique)
    }

    /// Whether only conclusive evidence counts on a flow, for one of its ports.
    pub(super) fn exempts(&self, flow: &FlowId) -> bool {
        let ports = &self.exempt_ports;
        ports.contains(&flow.originator.port) || ports.contains(&flow.responder.port)
    }

    /// The ends that the policy allows to be banned; who of them takes part is decided elsewhere.
    pub(super) fn targets(&self, flow: &FlowId, addresses: &dyn Addresses) -> &'static [Side] {
        const BOTH: &[Side] = &[Side::Originator, Side::Responder];
        let bannable_local = |side: Side| {
            let address = flow.end(side).ip();
            addresses.is_local(address) && addresses.may_be_banned(address)
        };
        match self.target {
            BanTarget::Client => &[Side::Originator],
            BanTarget::Remote => &[Side::Responder],
            BanTarget::Source | BanTarget::Both => BOTH,
            BanTarget::Auto => match (bannable_local(Side::Originator), bannable_local(Side::Responder)) {
                (true, false) => &[Side::Originator],
                (false, true) => &[Side::Responder],
                _ => BOTH,
            },
        }
    }
}

/// What the judge must know of addresses to choose whom to ban.
pub trait Addresses {
    /// Whether the address belongs to the networks that the operator answers for.
    fn is_local(&self, address: IpAddr) -> bool;
    /// Whether the address may be banned at all.
    fn may_be_banned(&self, address: IpAddr) -> bool;
}
