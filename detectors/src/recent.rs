//! A few recently seen identifiers with their packet time: which questions are open in a flow.
//!
//! Promise: fixed size, the oldest is overwritten. Deliberately keeps 32-bit digests, not the identifiers:
//! a digest matches a stranger with probability 2^-32, less than guessing the identifier itself.

/// The last `N` identifiers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent<const N: usize> {
    digests: [u32; N],
    /// When, in units of 256 ms modulo 2^16 (4.6 h).
    at: [u16; N],
    next: u8,
}

/// Milliseconds in the units of [`Recent::at`].
fn units(ms: u32) -> u16 {
    u16::try_from(ms >> 8 & u32::from(u16::MAX)).unwrap_or_default()
}

impl<const N: usize> Recent<N> {
    /// None seen.
    pub(crate) const fn new() -> Self {
        Self {
            digests: [0; N],
            at: [0; N],
            next: 0,
        }
    }

    /// Remembers an identifier seen at `now_ms` milliseconds of the flow's life.
    pub(crate) fn remember(&mut self, digest: u32, now_ms: u32) {
        let slot = usize::from(self.next) % N;
        if let (Some(to), Some(at)) = (self.digests.get_mut(slot), self.at.get_mut(slot)) {
            *to = digest;
            *at = units(now_ms);
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Whether the identifier was seen at most `age_ms` ago.
    pub(crate) fn contains(&self, digest: u32, now_ms: u32, age_ms: u32) -> bool {
        self.position(digest, now_ms, age_ms).is_some()
    }

    /// Like [`Recent::contains`], and forgets it: a question is answered once.
    pub(crate) fn take(&mut self, digest: u32, now_ms: u32, age_ms: u32) -> bool {
        let position = self.position(digest, now_ms, age_ms);
        if let Some(slot) = position.and_then(|at| self.digests.get_mut(at)) {
            *slot = 0;
        }
        position.is_some()
    }

    fn position(&self, digest: u32, now_ms: u32, age_ms: u32) -> Option<usize> {
        // One unit more on both sides: packets of two directions may come in the wrong order.
        let since = |at: u16| units(now_ms).wrapping_sub(at).wrapping_add(1);
        self.digests
            .iter()
            .zip(&self.at)
            .position(|(known, at)| *known == digest && since(*at) <= units(age_ms).saturating_add(1))
    }
}

/// A 32-bit digest of parts that belong together, never 0 (FNV-1a over the bytes and the parts' lengths).
pub(crate) fn digest(parts: &[&[u8]]) -> u32 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    for part in parts {
        hash = (hash ^ part.len() as u64).wrapping_mul(PRIME);
        for byte in *part {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
    let folded = (hash ^ (hash >> 32)) & u64::from(u32::MAX);
    u32::try_from(folded).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_once_and_in_time() {
        let mut recent = Recent::<2>::new();
        recent.remember(7, 1_000);
        assert!(!recent.take(7, 11_600, 10_000));
        assert!(recent.take(7, 11_000, 10_000));
        assert!(!recent.take(7, 11_000, 10_000));
    }

    #[test]
    fn the_oldest_is_overwritten() {
        let mut recent = Recent::<2>::new();
        for id in 1..=3 {
            recent.remember(id, 0);
        }
        assert!(!recent.contains(1, 0, 0));
        assert!(recent.contains(2, 0, 0) && recent.contains(3, 0, 0));
    }

    #[test]
    fn where_parts_end_matters() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b""]), 0);
    }
}
