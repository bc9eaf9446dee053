//! Which evidence a flow has already given, so that each kind is told once per direction.

use crate::{Evidence, Technique};

/// One bit per technique, side and confidence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Emitted {
    levels: [u64; 3],
}

// Two bits per technique must fit a word.
const _: () = assert!(Technique::ALL.len() * 2 <= 64);

impl Emitted {
    const fn bit(evidence: &Evidence) -> u64 {
        1 << (evidence.technique as usize * 2 + evidence.speaker.index())
    }
    /// Notes the evidence; false when it or a surer one of the same technique and speaker was noted before.
    pub(crate) fn note(&mut self, evidence: &Evidence) -> bool {
        let bit = Self::bit(evidence);
        let rank = evidence.confidence as usize;
        if self.levels.iter().skip(rank).any(|level| level & bit != 0) {
            return false;
        }
        if let Some(level) = self.levels.get_mut(rank) {
            *level |= bit;
        }
        true
    }
    /// Whether nothing was noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.levels == [0; 3]
    }
    /// Forgets everything.
    pub(crate) const fn clear(&mut self) {
        self.levels = [0; 3];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Confidence, Side};

    #[test]
    fn evidence_is_told_once_unless_it_gets_surer() {
        let mut emitted = Emitted::default();
        let evidence = |confidence, side| Evidence::new(Technique::Mse, "", confidence, side);
        for (confidence, side, told) in [
            (Confidence::Weak, Side::Originator, true),
            (Confidence::Weak, Side::Originator, false),
            (Confidence::Weak, Side::Responder, true),
            (Confidence::Conclusive, Side::Originator, true),
            (Confidence::Strong, Side::Originator, false),
        ] {
            assert_eq!(emitted.note(&evidence(confidence, side)), told);
        }
        emitted.clear();
        assert!(emitted.note(&evidence(Confidence::Weak, Side::Originator)));
    }
}
