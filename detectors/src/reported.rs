//! What one flow has already told: keeps evidence rare without losing anything new.
//!
//! Promise: of one rule, speaker and flow, evidence passes once, and once more when it is surer or newly
//! proves an end, until [`Reported::clear`]. Rules are known by a 24-bit digest of their names.

use crate::recent::digest;
use crate::{Confidence, Endpoint, Evidence, Findings, Learned, Options, Side, Technique};

/// Rules remembered per flow; the oldest is forgotten (and may then be told again).
const RULES: usize = 16;

/// What was told of one rule: digest of its name, and for each speaker the confidence (from 1, 0 for nothing)
/// in two bits and the proven ends in two more.
type Told = u32;

/// The rules that were told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    rules: [Told; RULES],
    next: u8,
}

impl Reported {
    /// Nothing told.
    pub(crate) const fn new() -> Self {
        Self {
            rules: [0; RULES],
            next: 0,
        }
    }

    /// Everything may be told again.
    pub(crate) const fn clear(&mut self) {
        *self = Self::new();
    }

    /// Whether nothing was told.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.first() == Some(&0)
    }

    /// Whether this was not told yet; from now on it was.
    pub(crate) fn is_news(&mut self, evidence: &Evidence) -> bool {
        let name = digest(&[&[evidence.technique as u8], evidence.rule.as_bytes()]) & !0xff | 0x100;
        let slot = match self.rules.iter().position(|known| known & !0xff == name) {
            Some(slot) => slot,
            None => {
                let slot = usize::from(self.next) % RULES;
                self.next = self.next.wrapping_add(1);
                if let Some(free) = self.rules.get_mut(slot) {
                    *free = name;
                }
                slot
            }
        };
        let Some(known) = self.rules.get_mut(slot) else {
            return true;
        };
        let shift = 4 * evidence.speaker.index();
        let (level, ends) = (*known >> shift & 3, *known >> shift & 12);
        let sure = evidence.confidence as u32 + 1;
        let mut proves = 0;
        for side in [Side::Originator, Side::Responder] {
            proves |= u32::from(evidence.proves.contains(side)) << (2 + side.index());
        }
        let news = sure > level || proves & !ends != 0;
        *known = *known & !(15 << shift) | (sure.max(level) | ends | proves) << shift;
        news
    }
}

impl Default for Reported {
    fn default() -> Self {
        Self::new()
    }
}

/// Where techniques put what they see in one datagram.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    /// The operator's tunables.
    pub(crate) options: &'a Options,
    /// What the datagram gives.
    pub(crate) findings: &'a mut Findings,
    reported: &'a mut Reported,
    /// The real remote endpoint when the datagram was unwrapped; then only conclusive evidence counts.
    tunnel: Option<Option<Endpoint>>,
    /// Whether any technique recognised the datagram, told before or not.
    pub(crate) recognised: bool,
    /// Whether something was told that was not told before.
    pub(crate) news: bool,
    /// The highest confidence of what was recognised.
    pub(crate) found: Option<Confidence>,
}

impl<'a> Sink<'a> {
    /// A sink for one datagram.
    pub(crate) const fn new(
        options: &'a Options,
        findings: &'a mut Findings,
        reported: &'a mut Reported,
        tunnel: Option<Option<Endpoint>>,
    ) -> Self {
        Self {
            options,
            findings,
            reported,
            tunnel,
            recognised: false,
            news: false,
            found: None,
        }
    }

    /// Tells a piece of evidence, unless it is switched off or was told before.
    pub(crate) fn report(&mut self, mut evidence: Evidence) {
        if !self.options.enabled(evidence.technique) {
            return;
        }
        if let Some(target) = self.tunnel {
            if evidence.confidence != Confidence::Conclusive {
                return;
            }
            (evidence.target, evidence.proxied) = (target, true);
        }
        self.recognised = true;
        self.found = self.found.max(Some(evidence.confidence));
        if self.reported.is_news(&evidence) {
            self.news = true;
            self.findings.push(evidence);
        }
    }

    /// Teaches an endpoint; `technique` is the one that must be on.
    pub(crate) fn learn(&mut self, technique: Technique, learned: Learned) {
        let named = learned.endpoint.address == 0 || is_peer_address(learned.endpoint);
        if named && self.options.enabled(technique) {
            self.news = true;
            self.findings.learn(learned);
        }
    }
}

/// Whether a peer can have this endpoint: a port, and an address that is neither unspecified, loopback nor
/// multicast. Private addresses pass: the observer may stand inside such a network.
fn is_peer_address(endpoint: Endpoint) -> bool {
    let ip = endpoint.ip();
    endpoint.port != 0 && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ends;

    #[test]
    fn evidence_passes_once_and_again_for_new_proof() {
        let evidence = Evidence::new(Technique::Dht, "ping", Confidence::Conclusive, Side::Originator);
        let mut reported = Reported::new();
        let table = [
            (evidence, true),
            (evidence, false),
            (evidence.proving(Ends::only(Side::Originator)), true),
            (evidence, false),
            (evidence.proving(Ends::only(Side::Originator)), false),
            (evidence.proving(Ends::BOTH), true),
            (evidence.proving(Ends::only(Side::Responder)), false),
            (
                Evidence {
                    speaker: Side::Responder,
                    ..evidence
                },
                true,
            ),
            (
                Evidence {
                    rule: "find_node",
                    confidence: Confidence::Strong,
                    ..evidence
                },
                true,
            ),
            (
                Evidence {
                    rule: "find_node",
                    ..evidence
                },
                true,
            ),
            (
                Evidence {
                    rule: "find_node",
                    confidence: Confidence::Weak,
                    ..evidence
                },
                false,
            ),
        ];
        for (row, (evidence, news)) in table.iter().enumerate() {
            assert_eq!(reported.is_news(evidence), *news, "row {row}");
        }
        reported.clear();
        assert!(reported.is_news(&evidence));
    }

    #[test]
    fn what_is_switched_off_is_neither_told_nor_taught() {
        let mut options = Options::default();
        options.set(Technique::Dht, false);
        let (mut findings, mut reported) = (Findings::new(), Reported::new());
        let mut sink = Sink::new(&options, &mut findings, &mut reported, None);
        sink.report(Evidence::new(
            Technique::Dht,
            "ping",
            Confidence::Conclusive,
            Side::Originator,
        ));
        let endpoint = Endpoint::compact4([192, 0, 2, 1, 0x1a, 0xe1]);
        let learned = Learned {
            endpoint,
            from: crate::LearnedFrom::DhtNodes,
            told: Side::Originator,
        };
        sink.learn(Technique::Dht, learned);
        assert!(!sink.recognised);
        assert!(findings.is_empty());
    }
}
