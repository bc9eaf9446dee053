//! How the judge decides.

#[cfg(test)]
mod bounds;
mod dossier;

use std::hash::BuildHasher;
use std::sync::Arc;

use btblocker_detectors::{
    Class, Confidence, Endpoint, Ends, Evidence, Sensitivity, Side, Technique, Timestamp,
};

pub use dossier::{Dossier, FlowNote, Lack};

use super::host::Host;
use super::policy::{Addresses, Policy};
use super::recent::Recent;
use super::report::{FlowId, LearnedPeer, Report, Sighting};
use super::verdict::{BanVerdict, Corroboration, FlowVerdict, Verdict};
use crate::flow::limits::REARM_MICROS;
use crate::network::PerInterface;

const MINUTE: u64 = 60_000_000;
/// How long strong evidence waits for a second observation, and detections count for the thresholds.
const WINDOW: u64 = 10 * MINUTE;
/// How long a host that spoke BitTorrent for certain lends certainty to its other flows.
const CONFIRMED: u64 = 30 * MINUTE;
/// How long a learned endpoint is remembered: the order of a tracker's announce interval.
const LEARNED: u64 = 30 * MINUTE;
/// Remotes of alike flows that make strong evidence count: message stream encryption that the host opened, the same that
/// others opened to it, and uTP.
const MSE_FAN_OUT: usize = 3;
const MSE_INBOUND_FAN_OUT: usize = 5;
const UTP_FAN_OUT: usize = 5;
/// The same for weak evidence, when the operator wants it to count.
const WEAK_FAN_OUT: usize = 8;
/// Remotes with which maintenance of a DHT routing table was proven that make it count.
const DHT_REMOTES: usize = 2;
/// Hosts, flows and learned endpoints that are remembered at most: as many as two hash tables of a power of two hold,
/// which are filled to seven eighths. One more would double their memory.
const MAX_HOSTS: usize = 2 * 7 * 4_096;
const MAX_FLOWS: usize = 2 * 7 * 8_192;
const MAX_LEARNED: usize = 2 * 7 * 16_384;

/// What is remembered of one flow with evidence.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// The best evidence so far.
    best: Sighting,
    /// Ways to look at the flow that gave strong evidence so far, one bit each, for each end that it involves.
    strong: [u32; 2],
    /// Ends that answer for what is conclusive on the flow.
    speakers: Ends,
    /// Ends whose own conduct it shows.
    involved: Ends,
    proven: Ends,
    /// Ends to which a corroboration points; none when the evidence stood by itself from the first.
    subjects: Ends,
    /// The flow was unwrapped from a proxy protocol: its responder only relays.
    proxied: bool,
    /// The verdict, once the flow is judged BitTorrent.
    verdict: Option<FlowVerdict>,
}

impl Record {
    fn corroboration(&self) -> Option<Corroboration> {
        self.verdict.map(|verdict| verdict.corroboration)
    }

    /// Ends that two techniques point to: of whose conduct both give evidence, or one that looks at what an end encrypts or at
    /// its part in a uTP connection, which is its own, while the other looks at the other end.
    fn agreed(&self) -> Ends {
        const OWN: u32 = view(Technique::Mse) | view(Technique::Entropy) | view(Technique::Utp);
        let mut strong = self.strong;
        let two = strong.iter().fold(0, |all, views| all | views).count_ones() >= 2;
        let sides = [Side::Originator, Side::Responder].into_iter();
        sides
            .filter(|side| {
                let views = *side.pick(&mut strong);
                views.count_ones() >= 2 || (two && views & OWN != 0)
            })
            .fold(Ends::NONE, |ends, side| ends.union(Ends::only(side)))
    }

    /// Whether the evidence shows the end's own conduct: what others send to a host does not count against it.
    fn involves(&self, side: Side) -> bool {
        self.involved.union(self.best.evidence.involves).contains(side)
    }

    /// Whether the end is proven to take part and answers for what was seen: conclusive bytes count against
    /// the end that sent them, agreement about a whole conversation against the ends to which it points. A
    /// proxy relays and takes no part.
    fn takes_part(&self, side: Side) -> bool {
        let senders = match self.corroboration() {
            Some(Corroboration::None) => self.speakers,
            _ => Ends::NONE,
        };
        let relays = self.proxied && side == Side::Responder;
        self.proven.contains(side) && senders.union(self.subjects).contains(side) && !relays
    }
}

/// What the judge forgot before its time because as much is remembered as there is room for. Only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// Hosts.
    pub hosts: u64,
    /// Flows with evidence.
    pub flows: u64,
    /// Endpoints that plaintext traffic has named.
    pub learned: u64,
}

/// Turns reports into verdicts.
#[derive(Debug)]
pub struct Judge {
    policies: Arc<PerInterface<Policy>>,
    hosts: Recent<u128, Host>,
    flows: Recent<FlowId, Record>,
    learned: Recent<(u128, Endpoint), ()>,
    /// Packet time of the latest report.
    latest: Timestamp,
}

impl Judge {
    /// A judge who has seen nothing.
    pub fn new(policies: impl Into<PerInterface<Policy>>) -> Self {
        Self {
            policies: Arc::new(policies.into()),
            hosts: Recent::new(MAX_HOSTS, CONFIRMED),
            flows: Recent::new(MAX_FLOWS, CONFIRMED),
            learned: Recent::new(MAX_LEARNED, LEARNED),
            latest: Timestamp::default(),
        }
    }

    /// Decides by other policies from now on; what was judged stays so.
    pub fn set_policies(&mut self, policies: impl Into<PerInterface<Policy>>) {
        self.policies = Arc::new(policies.into());
    }

    /// What had to give way so far.
    pub const fn displaced(&self) -> Displaced {
        Displaced {
            hosts: self.hosts.displaced(),
            flows: self.flows.displaced(),
            learned: self.learned.displaced(),
        }
    }

    /// Judges one report; verdicts are appended to `verdicts`.
    pub fn hear(&mut self, report: &Report, addresses: &dyn Addresses, verdicts: &mut Vec<Verdict>) {
        match report {
            Report::Learned(learned) => {
                self.turn_clock(learned.at);
                self.learn(learned);
            }
            Report::Sighting(sighting) => {
                self.turn_clock(sighting.at);
                self.see(sighting, addresses, verdicts);
            }
        }
    }

    /// When the clock was set back, nobody can tell how long ago the rest was: it is forgotten. Packets of several
    /// interfaces and workers are a little out of order.
    fn turn_clock(&mut self, at: Timestamp) {
        if self.latest.since(at) <= WINDOW {
            self.latest = self.latest.max(at);
            return;
        }
        self.hosts.clear();
        self.flows.clear();
        self.learned.clear();
        self.latest = at;
    }

    fn learn(&mut self, learned: &LearnedPeer) {
        let ip = learned.endpoint.ip();
        let usable = learned.endpoint.port != 0
            && learned.endpoint.address != learned.told
            && !(ip.is_multicast() || ip.is_loopback() || ip.is_unspecified());
        if usable {
            self.learned
                .entry((learned.told, learned.endpoint), learned.at, || ());
        }
    }

    fn see(&mut self, sighting: &Sighting, addresses: &dyn Addresses, verdicts: &mut Vec<Verdict>) {
        let Sighting {
            at, flow, evidence, ..
        } = *sighting;
        let policies = Arc::clone(&self.policies);
        let policy = policies.of(sighting.interface);
        if evidence.technique == Technique::Signature && policy.signatures_off.contains(&evidence.rule) {
            return;
        }
        self.remember_flow(sighting, policy);
        self.remember_hosts(sighting, policy);
        if self.judge_flow(flow, at, verdicts) {
            self.confirm(flow, at);
        }
        // This sighting may be what the hosts' other flows were waiting for.
        for end in [flow.originator, flow.responder] {
            let waiting = self
                .hosts
                .get(&end.address, at)
                .map(|host| std::mem::take(&mut host.pending));
            for other in waiting.unwrap_or_default() {
                if !self.judge_flow(other, at, verdicts) {
                    self.hosts.entry(end.address, at, Host::default).wait(other);
                } else {
                    self.ban(other, at, addresses, verdicts);
                }
            }
        }
        self.ban(flow, at, addresses, verdicts);
    }

    fn remember_flow(&mut self, sighting: &Sighting, policy: &Policy) {
        let evidence = sighting.evidence;
        let new = || Record {
            best: *sighting,
            strong: [0; 2],
            speakers: Ends::NONE,
            involved: Ends::NONE,
            proven: Ends::NONE,
            subjects: Ends::NONE,
            proxied: false,
            verdict: None,
        };
        let record = self.flows.entry(sighting.flow, sighting.at, new);
        let counts = |evidence: &Evidence| (evidence.confidence, evidence.class == Class::BitTorrent);
        if counts(&evidence) > counts(&record.best.evidence) {
            record.best = *sighting;
        }
        if evidence.confidence >= Confidence::Strong && evidence.class != Class::Socks {
            for side in [Side::Originator, Side::Responder] {
                if evidence.involves.contains(side) {
                    *side.pick(&mut record.strong) |= view(evidence.technique);
                }
            }
        }
        let certain = match (evidence.confidence, evidence.technique) {
            (Confidence::Conclusive, _) => evidence.involves,
            // What a host encrypts, or asks a proxy, is its own; other bytes it may have been given.
            (Confidence::Strong, Technique::Mse | Technique::Entropy | Technique::Socks) => {
                Ends::only(evidence.speaker)
            }
            _ => Ends::NONE,
        };
        record.speakers = record.speakers.union(certain);
        if evidence.confidence >= Confidence::Strong {
            record.involved = record.involved.union(evidence.involves);
        }
        record.proxied |= evidence.proxied || evidence.class == Class::Socks;
        let one_sided = policy.one_sided && sighting.flow.transport == btblocker_detectors::Transport::Tcp;
        let assumed = if one_sided {
            Ends::only(evidence.speaker)
        } else {
            Ends::NONE
        };
        record.proven = record.proven.union(sighting.proven).union(assumed);
    }

    fn remember_hosts(&mut self, sighting: &Sighting, policy: &Policy) {
        let Sighting {
            at, flow, evidence, ..
        } = *sighting;
        let Some(record) = self.flows.get(&flow, at).copied() else {
            return;
        };
        let exempt_port = policy.exempts(&flow);
        for side in [Side::Originator, Side::Responder] {
            let (own, remote) = (flow.end(side).address, flow.end(side.other()).address);
            let spoke = evidence.speaker == side;
            let proven = record.proven.contains(side);
            if evidence.confidence < Confidence::Conclusive && exempt_port {
                continue;
            }
            if evidence.confidence == Confidence::Conclusive && !(spoke && proven) {
                continue;
            }
            let host = self.hosts.entry(own, at, Host::default);
            if let Some(key) = evidence.key.filter(|_| side == Side::Originator) {
                host.keys.insert(key, remote);
            }
            // Programs that pad at random do not begin alike with one remote after the other.
            let alike = evidence
                .opening
                .is_some_and(|opening| host.begins_alike(side, opening, remote));
            if matches!(evidence.technique, Technique::Mse | Technique::Entropy) {
                let openings = match side {
                    Side::Originator => &mut host.openings,
                    Side::Responder => &mut host.openings_inbound,
                };
                openings.count(evidence.confidence >= Confidence::Strong, at, WINDOW);
            }
            match (evidence.confidence, evidence.technique) {
                (Confidence::Conclusive, _) if evidence.class == Class::DhtMaintenance => {
                    host.dht.insert(remote, at);
                }
                (Confidence::Conclusive, _) => {}
                (Confidence::Strong, Technique::Mse | Technique::Entropy)
                    if alike || !evidence.involves.contains(side) => {}
                (Confidence::Strong, Technique::Mse | Technique::Entropy) if side == Side::Originator => {
                    host.mse.insert(remote, at);
                }
                (Confidence::Strong, Technique::Mse | Technique::Entropy) => {
                    host.mse_inbound.insert(remote, at)
                }
                // What only answers may be a service that sends back what a stranger chose.
                (Confidence::Strong, Technique::Utp)
                    if evidence.involves == Ends::BOTH || (spoke && side == Side::Originator) =>
                {
                    host.utp.insert(remote, at);
                }
                (Confidence::Strong, _) => {}
                (Confidence::Weak, _) if spoke => host.weak.insert(remote, at),
                (Confidence::Weak, _) => {}
            }
            if evidence.confidence < Confidence::Conclusive {
                host.wait(flow);
            }
        }
    }

    /// Whether the flow is BitTorrent; says so the first time.
    fn judge_flow(&mut self, flow: FlowId, at: Timestamp, verdicts: &mut Vec<Verdict>) -> bool {
        let Some(record) = self.flows.get(&flow, at).copied() else {
            return false;
        };
        let known = record.verdict;
        // What was corroborated can prove conclusive: then the ends that sent it answer, too.
        let rests = |verdict: FlowVerdict| {
            verdict.corroboration == Corroboration::None
                || record.best.evidence.confidence < Confidence::Conclusive
        };
        if known.is_some_and(rests) {
            return true;
        }
        let policies = Arc::clone(&self.policies);
        let policy = policies.of(record.best.interface);
        let Some((corroboration, subjects)) = self.corroboration(&record, policy, at) else {
            return known.is_some();
        };
        if known.is_some() && corroboration != Corroboration::None {
            return true;
        }
        let Sighting {
            interface,
            evidence,
            payload_len,
            ..
        } = record.best;
        // Through a proxy that carries BitTorrent, the negotiation is a part of it.
        let evidence = match corroboration {
            Corroboration::SameHost if evidence.class == Class::Socks => evidence.of_class(Class::BitTorrent),
            _ => evidence,
        };
        let reported = match known {
            Some(known) => known.reported,
            None => self.is_reported(&flow, policy, at),
        };
        let verdict = FlowVerdict {
            at,
            interface,
            flow,
            evidence,
            corroboration,
            payload_len,
            reported,
        };
        if let Some(record) = self.flows.get(&flow, at) {
            record.verdict = Some(verdict);
            record.subjects = record.subjects.union(subjects);
        }
        if known.is_none() {
            verdicts.push(Verdict::Flow(verdict));
        }
        true
    }

    /// Counts a flow that is newly judged for both ends; whether one of them has enough of them.
    fn is_reported(&mut self, flow: &FlowId, policy: &Policy, at: Timestamp) -> bool {
        let enough = policy.report_threshold;
        let mut reported = enough <= 1;
        for end in [flow.originator, flow.responder] {
            let host = self.hosts.entry(end.address, at, Host::default);
            reported |= host.judged.reach(enough, hash(flow), at, REARM_MICROS, WINDOW);
        }
        reported
    }

    /// What makes the flow's evidence count, if anything does, and the ends to which that points: none when the evidence
    /// stands by itself.
    fn corroboration(
        &mut self,
        record: &Record,
        policy: &Policy,
        at: Timestamp,
    ) -> Option<(Corroboration, Ends)> {
        let Sighting { flow, evidence, .. } = record.best;
        let sensitivity = policy.sensitivity;
        if evidence.class == Class::Socks {
            return self.proxied(&flow, policy, at);
        }
        if !policy.classes.contains(&evidence.class) && evidence.class != Class::DhtMaintenance {
            return None;
        }
        if evidence.confidence == Confidence::Conclusive {
            return Some((Corroboration::None, Ends::NONE));
        }
        if sensitivity == Sensitivity::Strict {
            return None;
        }
        let agreed = record.agreed();
        if !agreed.is_empty() {
            return Some((Corroboration::TwoTechniques, agreed));
        }
        if policy.exempts(&flow) {
            return None;
        }
        for side in [Side::Originator, Side::Responder] {
            let (own, remote) = (flow.end(side).address, flow.end(side.other()));
            if !record.involves(side) {
                continue;
            }
            if policy.uses(Technique::LearnedPeer) && self.learned.get(&(own, remote), at).is_some() {
                return Some((Corroboration::LearnedPeer, Ends::only(side)));
            }
            let Some(host) = self.hosts.get(&own, at) else {
                continue;
            };
            // Flights of any sizes may begin with a constant of another program.
            let reused = |key| {
                evidence.confidence >= Confidence::Strong
                    && host.openings.are_exact_again()
                    && host.keys.is_reused(key, remote.address)
            };
            if side == Side::Originator && evidence.key.is_some_and(reused) {
                return Some((Corroboration::KeyReuse, Ends::only(side)));
            }
            let corroboration = match evidence.confidence {
                Confidence::Strong => strong_with_history(host, evidence.technique, side, at),
                _ => {
                    let remotes = host.weak.count(at, WINDOW);
                    (sensitivity == Sensitivity::Aggressive && remotes >= WEAK_FAN_OUT)
                        .then_some(Corroboration::FanOut(remotes))
                }
            };
            let fans_out = matches!(corroboration, Some(Corroboration::FanOut(_)));
            if fans_out && !policy.uses(Technique::FanOut) {
                continue;
            }
            if let Some(corroboration) = corroboration {
                return Some((corroboration, Ends::only(side)));
            }
        }
        None
    }

    /// The use of a SOCKS proxy counts when the operator says so, or when the host speaks BitTorrent through
    /// the same proxy on another flow.
    fn proxied(&mut self, flow: &FlowId, policy: &Policy, at: Timestamp) -> Option<(Corroboration, Ends)> {
        if policy.classes.contains(&Class::Socks) {
            return Some((Corroboration::None, Ends::NONE));
        }
        let host = self.hosts.get(&flow.originator.address, at)?;
        host.confirmed
            .has(flow.responder.address, at, CONFIRMED)
            .then_some((Corroboration::SameHost, Ends::only(Side::Originator)))
    }

    /// Remembers the hosts that speak BitTorrent for certain on a judged flow.
    fn confirm(&mut self, flow: FlowId, at: Timestamp) {
        let Some(record) = self.flows.get(&flow, at).copied() else {
            return;
        };
        let certain = match record.corroboration() {
            Some(Corroboration::None) => record.speakers,
            Some(Corroboration::TwoTechniques) => record.agreed(),
            _ => return,
        };
        if record.best.evidence.class != Class::BitTorrent {
            return;
        }
        for side in [Side::Originator, Side::Responder] {
            if record.takes_part(side) && certain.contains(side) {
                let (own, remote) = (flow.end(side).address, flow.end(side.other()).address);
                self.hosts
                    .entry(own, at, Host::default)
                    .confirmed
                    .insert(remote, at);
            }
        }
    }

    /// Bans whom the policy names, for a flow that is judged.
    fn ban(&mut self, flow: FlowId, at: Timestamp, addresses: &dyn Addresses, verdicts: &mut Vec<Verdict>) {
        let Some(record) = self.flows.get(&flow, at).copied() else {
            return;
        };
        let Some(because) = record.verdict else { return };
        let policies = Arc::clone(&self.policies);
        let policy = policies.of(because.interface);
        for &side in policy.targets(&flow, addresses) {
            let address = flow.end(side).ip();
            if record.takes_part(side)
                && addresses.may_be_banned(address)
                && self.class_counts(&record, policy, side, at)
                && self.has_enough(&flow, policy, side, at)
            {
                verdicts.push(Verdict::Ban(BanVerdict {
                    address,
                    because: FlowVerdict { at, ..because },
                }));
            }
        }
    }

    /// Counts a detection of a host that takes part in the flow; whether there are enough for a ban.
    fn has_enough(&mut self, flow: &FlowId, policy: &Policy, side: Side, at: Timestamp) -> bool {
        let enough = policy.ban_threshold;
        let host = self.hosts.entry(flow.end(side).address, at, Host::default);
        host.answerable
            .reach(enough, hash(flow), at, REARM_MICROS, WINDOW)
    }

    /// Maintenance of a DHT routing table counts once it was seen with two remotes, or beside BitTorrent.
    fn class_counts(&self, record: &Record, policy: &Policy, side: Side, at: Timestamp) -> bool {
        let class = record.best.evidence.class;
        if !policy.classes.contains(&class) {
            return false;
        }
        if class != Class::DhtMaintenance {
            return true;
        }
        let host = self.hosts.peek(&record.best.flow.end(side).address, at);
        host.is_some_and(|host| {
            host.dht.count(at, CONFIRMED) >= DHT_REMOTES || host.confirmed.count(at, CONFIRMED) > 0
        })
    }
}

/// One bit for each way to look at a flow. A byte signature, and the techniques that read the messages of the peer protocol,
/// see the same bytes: they do not agree, they repeat each other.
const fn view(technique: Technique) -> u32 {
    match technique {
        Technique::Signature => 0,
        Technique::Handshake
        | Technique::PeerMessage
        | Technique::Fast
        | Technique::Extension
        | Technique::Pex
        | Technique::Metadata
        | Technique::Holepunch
        | Technique::V2
        | Technique::Azureus => 1 << Technique::Handshake as u8,
        other => 1 << other as u8,
    }
}

/// The same for the same flow in every run, so that a replay counts alike.
fn hash(flow: &FlowId) -> u64 {
    foldhash::fast::FixedState::default().hash_one(flow)
}

/// What makes strong evidence count on a flow of this host, seen at `side` of the flow.
fn strong_with_history(
    host: &Host,
    technique: Technique,
    side: Side,
    at: Timestamp,
) -> Option<Corroboration> {
    if host.confirmed.count(at, CONFIRMED) > 0 {
        return Some(Corroboration::SameHost);
    }
    let (remotes, enough) = match (technique, side) {
        (Technique::Mse | Technique::Entropy, Side::Originator) => {
            let remotes = host.mse.count(at, WINDOW);
            (remotes, remotes >= MSE_FAN_OUT && host.openings.are_exact())
        }
        (Technique::Mse | Technique::Entropy, Side::Responder) => {
            let remotes = host.mse_inbound.count(at, WINDOW);
            (
                remotes,
                remotes >= MSE_INBOUND_FAN_OUT && host.openings_inbound.are_exact(),
            )
        }
        (Technique::Utp, _) => {
            let remotes = host.utp.count(at, MINUTE);
            (remotes, remotes >= UTP_FAN_OUT)
        }
        _ => (0, false),
    };
    enough.then_some(Corroboration::FanOut(remotes))
}
