//! What the judge holds of one host, for those who ask. It changes nothing that is remembered.

use std::net::IpAddr;

use btblocker_detectors::{Class, Confidence, Endpoint, Sensitivity, Side, Technique, Timestamp};

use super::{
    CONFIRMED, DHT_REMOTES, Judge, MINUTE, MSE_FAN_OUT, MSE_INBOUND_FAN_OUT, Record, UTP_FAN_OUT,
    WEAK_FAN_OUT, WINDOW,
};
use crate::judge::host::Host;
use crate::judge::policy::{Addresses, BanTarget};
use crate::judge::report::Sighting;
use crate::judge::verdict::Corroboration;

/// Flows of a dossier at most.
const FLOWS: usize = 16;

/// What is held of one host at one moment. Remote hosts are counted within the time for which the judge lets them count;
/// of each kind at most 12 are remembered.
#[derive(Clone, Debug, Default)]
pub struct Dossier {
    /// With whom it spoke BitTorrent for certain, proven to take part.
    pub confirmed: usize,
    /// To whom it opened flows that look like message stream encryption.
    pub mse: usize,
    /// Who opened such flows to it.
    pub mse_inbound: usize,
    /// To whom it spoke uTP.
    pub utp: usize,
    /// With whom DHT maintenance was proven.
    pub dht: usize,
    /// Of weak evidence.
    pub weak: usize,
    /// Endpoints that its own traffic named as peers.
    pub learned: usize,
    /// Flows with evidence that are remembered.
    pub flows_known: usize,
    /// The weightiest of them, at most 16: those that are judged first, then by confidence, then the newest.
    pub flows: Vec<FlowNote>,
}

/// One flow with evidence, as it counts for one of its ends.
#[derive(Clone, Copy, Debug)]
pub struct FlowNote {
    /// The best evidence.
    pub best: Sighting,
    /// What made it count, once the flow is judged BitTorrent.
    pub judged: Option<Corroboration>,
    /// Why it does not lead to a ban of the host.
    pub lack: Lack,
}

/// What keeps a flow from leading to a ban of one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Nothing in the judge's eyes.
    Nothing,
    /// The class of traffic leads to no ban.
    Class(Class),
    /// Only conclusive evidence counts.
    Strict,
    /// On a port of this flow only conclusive evidence counts.
    ExemptPort,
    /// The flow is use of a SOCKS proxy, and BitTorrent was not seen through it.
    Socks,
    /// Weak evidence counts for little.
    Weak {
        /// Remote hosts so far.
        remotes: usize,
        /// How many make it count; `None`: no number does.
        enough: Option<usize>,
    },
    /// Strong evidence waits for another observation.
    Corroboration {
        /// Whether it is the fan-out of uTP, and not of encrypted streams.
        utp: bool,
        /// Remote hosts so far.
        remotes: usize,
        /// How many make it count.
        enough: usize,
        /// Whether the sizes of the host's encrypted flows are mostly exact; without that no number is enough.
        exact: bool,
    },
    /// Strong evidence of a technique for which numbers do not count.
    SecondTechnique,
    /// The host is not the end that is banned.
    Target(BanTarget),
    /// The host is not proven to take part.
    Proof,
    /// What was seen speaks for the other end only, or the host merely relays.
    OtherEnd,
    /// DHT maintenance was proven with too few remote hosts.
    Dht {
        /// With how many.
        remotes: usize,
        /// How many make it count.
        enough: usize,
    },
    /// There were too few detections.
    Detections {
        /// How many.
        count: usize,
        /// How many lead to a ban.
        enough: usize,
    },
}

impl Judge {
    /// What is held of a host at packet time `at`. Looks at every flow that is remembered.
    pub fn explain(&self, address: IpAddr, addresses: &dyn Addresses, at: Timestamp) -> Dossier {
        let own = Endpoint::new(address, 0).address;
        let mut flows: Vec<(&Record, Side)> = self
            .flows
            .entries(at)
            .filter_map(|(flow, record)| {
                let mut sides = [Side::Originator, Side::Responder].into_iter();
                let side = sides.find(|side| flow.end(*side).address == own)?;
                Some((record, side))
            })
            .collect();
        let flows_known = flows.len();
        let weight = |(record, _): &(&Record, Side)| {
            let Sighting { evidence, at, .. } = record.best;
            std::cmp::Reverse((record.verdict.is_some(), evidence.confidence, at))
        };
        // A host may have all flows that are remembered: only those that are kept are put in order.
        if flows.len() > FLOWS {
            flows.select_nth_unstable_by_key(FLOWS, weight);
            flows.truncate(FLOWS);
        }
        flows.sort_by_key(weight);
        let nothing = Host::default();
        let host = self.hosts.peek(&own, at).unwrap_or(&nothing);
        let learned = self.learned.entries(at).filter(|((told, _), ())| *told == own);
        Dossier {
            confirmed: host.confirmed.count(at, CONFIRMED),
            mse: host.mse.count(at, WINDOW),
            mse_inbound: host.mse_inbound.count(at, WINDOW),
            utp: host.utp.count(at, MINUTE),
            dht: host.dht.count(at, CONFIRMED),
            weak: host.weak.count(at, WINDOW),
            learned: learned.count(),
            flows_known,
            flows: flows
                .into_iter()
                .map(|(record, side)| FlowNote {
                    best: record.best,
                    judged: record.corroboration(),
                    lack: match record.verdict {
                        Some(_) => self.lacks_for_ban(record, side, host, addresses, at),
                        None => self.lacks_for_verdict(record, side, host, at),
                    },
                })
                .collect(),
        }
    }

    /// In the order of [`Judge::corroboration`].
    fn lacks_for_verdict(&self, record: &Record, side: Side, host: &Host, at: Timestamp) -> Lack {
        let Sighting {
            interface,
            flow,
            evidence,
            ..
        } = record.best;
        let policy = self.policies.of(interface);
        let fans_out = policy.uses(Technique::FanOut);
        if evidence.class == Class::Socks {
            return Lack::Socks;
        }
        if !policy.classes.contains(&evidence.class) && evidence.class != Class::DhtMaintenance {
            return Lack::Class(evidence.class);
        }
        // The class counts by a policy that came after the evidence.
        if evidence.confidence == Confidence::Conclusive {
            return Lack::Nothing;
        }
        if policy.sensitivity == Sensitivity::Strict {
            return Lack::Strict;
        }
        if policy.exempts(&flow) {
            return Lack::ExemptPort;
        }
        if !record.involves(side) {
            return Lack::OtherEnd;
        }
        if evidence.confidence == Confidence::Weak {
            let counts = policy.sensitivity == Sensitivity::Aggressive && fans_out;
            return Lack::Weak {
                remotes: host.weak.count(at, WINDOW),
                enough: counts.then_some(WEAK_FAN_OUT),
            };
        }
        let (utp, remotes, enough, exact) = match (evidence.technique, side) {
            (Technique::Utp, _) => (true, host.utp.count(at, MINUTE), UTP_FAN_OUT, true),
            (Technique::Mse | Technique::Entropy, Side::Originator) => {
                let remotes = host.mse.count(at, WINDOW);
                (false, remotes, MSE_FAN_OUT, host.openings.are_exact())
            }
            (Technique::Mse | Technique::Entropy, Side::Responder) => {
                let remotes = host.mse_inbound.count(at, WINDOW);
                (
                    false,
                    remotes,
                    MSE_INBOUND_FAN_OUT,
                    host.openings_inbound.are_exact(),
                )
            }
            _ => return Lack::SecondTechnique,
        };
        if !fans_out {
            return Lack::SecondTechnique;
        }
        Lack::Corroboration {
            utp,
            remotes,
            enough,
            exact,
        }
    }

    /// In the order in which it is said best; [`Judge::ban`] demands all of it.
    fn lacks_for_ban(
        &self,
        record: &Record,
        side: Side,
        host: &Host,
        addresses: &dyn Addresses,
        at: Timestamp,
    ) -> Lack {
        let policy = self.policies.of(record.best.interface);
        let class = record.best.evidence.class;
        let detections = host.answerable.count(at, WINDOW);
        if !policy.targets(&record.best.flow, addresses).contains(&side) {
            Lack::Target(policy.target)
        } else if !record.proven.contains(side) {
            Lack::Proof
        } else if !record.takes_part(side) {
            Lack::OtherEnd
        } else if !policy.classes.contains(&class) {
            Lack::Class(class)
        } else if !self.class_counts(record, policy, side, at) {
            Lack::Dht {
                remotes: host.dht.count(at, CONFIRMED),
                enough: DHT_REMOTES,
            }
        } else if policy.ban_threshold > 1 && detections < policy.ban_threshold {
            Lack::Detections {
                count: detections,
                enough: policy.ban_threshold,
            }
        } else {
            Lack::Nothing
        }
    }
}
