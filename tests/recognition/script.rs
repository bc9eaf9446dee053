//! Plays payloads of flows through the inspectors to a judge with the policy of a fresh installation.

use std::net::IpAddr;

use btblocker::judge::{Addresses, FlowId, Judge, Policy, Report, Sighting, Verdict};
use btblocker_detectors::{
    Confidence, Endpoint, Ends, Findings, Options, StreamBuffers, TcpInspector, TcpSegment, Timestamp,
    Transport, UdpDatagram, UdpInspector,
};

pub(crate) use btblocker_detectors::Side;

pub(crate) use Side::{Originator as A, Responder as B};

/// Who says what next.
pub(crate) type Step = (Side, Vec<u8>);

struct Net;

impl Addresses for Net {
    fn is_local(&self, address: IpAddr) -> bool {
        address.to_string().starts_with("10.8.0.")
    }
    fn may_be_banned(&self, _: IpAddr) -> bool {
        true
    }
}

/// What came of the flows of one host.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// `"mse/flights strong"`, in order, each once.
    pub(crate) told: Vec<String>,
    pub(crate) surest: Option<Confidence>,
    /// Flows that were judged BitTorrent.
    pub(crate) judged: usize,
    pub(crate) banned: usize,
}

/// A host and its remotes.
pub(crate) struct World {
    judge: Judge,
    flows: u16,
    outcome: Outcome,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            judge: Judge::new(Policy::default()),
            flows: 0,
            outcome: Outcome::default(),
        }
    }

    /// The next flow of the host, to another address each time. TCP in segments of at most 1,448 bytes.
    pub(crate) fn flow(&mut self, transport: Transport, port: u16, steps: &[Step]) -> &mut Self {
        self.flow_with(self.flows + 1, A, transport, port, steps)
    }

    /// The next flow of the host with the remote of this number. The host is at `side` of it.
    pub(crate) fn flow_with(
        &mut self,
        remote: u16,
        side: Side,
        transport: Transport,
        port: u16,
        steps: &[Step],
    ) -> &mut Self {
        self.flows += 1;
        let [high, low] = remote.to_be_bytes();
        // Every remote is in another network.
        let (host, remote) = (IpAddr::from([10, 8, 0, 7]), IpAddr::from([203, low, high, 9]));
        let (caller, called) = if side == A { (host, remote) } else { (remote, host) };
        let flow = FlowId {
            transport,
            originator: Endpoint::new(caller, 40_000 + self.flows),
            responder: Endpoint::new(called, port),
        };
        match transport {
            Transport::Tcp => self.stream(flow, steps),
            Transport::Udp => self.datagrams(flow, steps),
        }
        self
    }

    pub(crate) fn outcome(&mut self) -> Outcome {
        std::mem::take(&mut self.outcome)
    }

    fn stream(&mut self, flow: FlowId, steps: &[Step]) {
        let (mut inspector, mut buffers) = (TcpInspector::new(), Box::new(StreamBuffers::new()));
        let mut next = [u32::MAX - 900, 7];
        let opening = [(A, vec![]), (B, vec![])];
        let mut at = 1_700_000_000_000_000;
        for (step, (from, bytes)) in opening.iter().chain(steps).enumerate() {
            let parts: Vec<&[u8]> = match bytes.is_empty() {
                true => vec![&[]],
                false => bytes.chunks(1448).collect(),
            };
            for payload in parts {
                let mut findings = Findings::new();
                at += 20_000;
                let sequence = &mut next[from.index()];
                let segment = TcpSegment {
                    from: *from,
                    at: Timestamp(at),
                    sequence: *sequence,
                    acknowledgement: None,
                    window: u16::MAX,
                    window_scale: None,
                    syn: step < 2,
                    payload,
                    wire_len: payload.len() as u32,
                };
                *sequence = sequence.wrapping_add(payload.len() as u32);
                inspector.segment(&segment, Some(&mut buffers), &Options::default(), &mut findings);
                self.hear(flow, Timestamp(at), Ends::BOTH, &findings);
            }
        }
    }

    fn datagrams(&mut self, flow: FlowId, steps: &[Step]) {
        let mut inspector = UdpInspector::new();
        let mut proven = Ends::NONE;
        let mut at = 1_700_000_000_000_000;
        for (from, payload) in steps {
            let mut findings = Findings::new();
            at += 20_000;
            let datagram = UdpDatagram {
                from: *from,
                at: Timestamp(at),
                payload,
                wire_len: payload.len() as u32,
                multicast: false,
            };
            inspector.datagram(&datagram, &Options::default(), &mut findings);
            proven = findings
                .evidence()
                .fold(proven, |ends, one| ends.union(one.proves));
            self.hear(flow, Timestamp(at), proven, &findings);
        }
    }

    fn hear(&mut self, flow: FlowId, at: Timestamp, proven: Ends, findings: &Findings) {
        for evidence in findings.evidence() {
            let outcome = &mut self.outcome;
            let words = format!(
                "{}/{} {}",
                evidence.technique.name(),
                evidence.rule,
                evidence.confidence.name()
            );
            if !outcome.told.contains(&words) {
                outcome.told.push(words);
            }
            outcome.surest = outcome.surest.max(Some(evidence.confidence));
            let sighting = Sighting {
                at,
                interface: 0,
                flow,
                evidence: *evidence,
                proven,
                payload_len: 0,
            };
            let mut verdicts = Vec::new();
            self.judge.hear(&Report::Sighting(sighting), &Net, &mut verdicts);
            for verdict in verdicts {
                match verdict {
                    Verdict::Flow(_) => outcome.judged += 1,
                    Verdict::Ban(_) => outcome.banned += 1,
                }
            }
        }
    }
}

/// Bytes that look random and are the same each time (xorshift64*).
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
        })
        .collect()
}

/// `head`, then random bytes up to `len`.
pub(crate) fn padded(head: &[u8], len: usize, seed: u64) -> Vec<u8> {
    [head, &noise(seed, len.saturating_sub(head.len()))].concat()
}

/// Random flights of these lengths, the originator's first.
pub(crate) fn flights(seed: u64, lengths: &[usize]) -> Vec<Step> {
    let sides = [A, B].into_iter().cycle();
    let flight = |(n, (side, len)): (usize, (Side, &usize))| (side, noise(seed * 1000 + n as u64, *len));
    sides.zip(lengths).enumerate().map(flight).collect()
}

pub(crate) fn handshake(id: &[u8; 20]) -> Vec<u8> {
    [
        b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05",
        &noise(99, 20)[..],
        id,
    ]
    .concat()
}
