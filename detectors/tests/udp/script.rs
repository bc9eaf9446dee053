//! Plays datagrams of one flow and compares what is said of each.

use btblocker_detectors::{
    Confidence, Ends, Evidence, Findings, Learned, Options, Progress, Side, Timestamp, UdpDatagram,
    UdpInspector,
};

pub(crate) use btblocker_detectors::Side::{Originator as O, Responder as R};

/// One datagram of a script: sender, milliseconds since the start, payload.
pub(crate) type Step = (Side, u64, Vec<u8>);

/// A flow under test.
pub(crate) struct Flow {
    pub(crate) inspector: UdpInspector,
    pub(crate) options: Options,
    pub(crate) findings: Findings,
    pub(crate) multicast: bool,
    pub(crate) progress: Progress,
}

impl Flow {
    pub(crate) fn new() -> Self {
        Self {
            inspector: UdpInspector::new(),
            options: Options::default(),
            findings: Findings::new(),
            multicast: false,
            progress: Progress::Packets,
        }
    }

    /// Shows a datagram whose capture ends after `payload` of `wire_len` bytes.
    pub(crate) fn show_cut(
        &mut self,
        from: Side,
        at_us: u64,
        payload: &[u8],
        wire_len: usize,
    ) -> Vec<Evidence> {
        self.findings.clear();
        let datagram = UdpDatagram {
            from,
            at: Timestamp(1_700_000_000_000_000 + at_us),
            payload,
            wire_len: u32::try_from(wire_len).unwrap_or(u32::MAX),
            multicast: self.multicast,
        };
        self.progress = self
            .inspector
            .datagram(&datagram, &self.options, &mut self.findings);
        self.findings.evidence().copied().collect()
    }

    pub(crate) fn show(&mut self, from: Side, at_ms: u64, payload: &[u8]) -> Vec<Evidence> {
        self.show_cut(from, at_ms * 1_000, payload, payload.len())
    }

    pub(crate) fn learned(&self) -> Vec<Learned> {
        self.findings.learned().copied().collect()
    }
}

/// `"dht/ping conclusive O +O"`: technique, rule, confidence, speaker, proven ends.
pub(crate) fn words(evidence: &Evidence) -> String {
    let end = |side: Side| if side == O { "O" } else { "R" };
    let mut proven = String::from("+");
    for side in [O, R] {
        if evidence.proves.contains(side) {
            proven.push_str(end(side));
        }
    }
    let (technique, rule) = (evidence.technique.name(), evidence.rule);
    format!(
        "{technique}/{rule} {} {} {proven}",
        evidence.confidence.name(),
        end(evidence.speaker)
    )
}

/// Plays a script on a new flow and compares what each datagram gives.
pub(crate) fn check(name: &str, script: &[(Side, u64, &[u8], &[&str])]) {
    let mut flow = Flow::new();
    for (row, (from, at_ms, payload, expected)) in script.iter().enumerate() {
        let said: Vec<String> = flow.show(*from, *at_ms, payload).iter().map(words).collect();
        assert_eq!(said, *expected, "{name}, datagram {row}");
    }
}

/// Plays datagrams on a new flow and returns all evidence.
pub(crate) fn play(steps: &[Step]) -> Vec<Evidence> {
    let mut flow = Flow::new();
    steps
        .iter()
        .flat_map(|(from, at_ms, payload)| flow.show(*from, *at_ms, payload))
        .collect()
}

/// The surest of several, `None` without any.
pub(crate) fn surest(evidence: &[Evidence]) -> Option<Confidence> {
    evidence.iter().map(|one| one.confidence).max()
}

/// All ends proven by several.
pub(crate) fn proven(evidence: &[Evidence]) -> Ends {
    evidence
        .iter()
        .fold(Ends::NONE, |ends, one| ends.union(one.proves))
}

/// Bytes that look random and are the same each time (xorshift).
pub(crate) fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}
