//! Signatures and the search for those that stand at an anchor.
//!
//! Per anchor there is an index by the field's first byte, so that a miss is two loads and a compare.

use crate::tables::{CANDIDATES, SIGNATURES, STARTS};
use crate::words::{Anchor, Confidence, Transport, Transports};

/// Bytes that a field begins with, some of their bits left open.
#[derive(Debug)]
pub struct Pattern {
    /// The fixed bits; open bits are 0.
    pub bytes: &'static [u8],
    /// Which bits are fixed, as long as `bytes`; empty when all are.
    pub mask: &'static [u8],
    /// Whether the field must end where the pattern ends.
    pub exact: bool,
}

impl Pattern {
    /// Whether `field` begins with the pattern (and ends with it, when it is exact).
    pub fn matches(&self, field: &[u8]) -> bool {
        let Some((head, rest)) = field.split_at_checked(self.bytes.len()) else {
            return false;
        };
        if self.exact && !rest.is_empty() {
            return false;
        }
        if self.mask.is_empty() {
            return head == self.bytes;
        }
        let fits = |byte: &u8, want: &u8, mask: &u8| byte & mask == *want;
        // The open bits of most patterns are ids at the front, so that the last byte tells most apart.
        let last = head.last().zip(self.bytes.last()).zip(self.mask.last());
        last.is_some_and(|((byte, want), mask)| fits(byte, want, mask))
            && head
                .iter()
                .zip(self.bytes.iter().zip(self.mask))
                .all(|(byte, (want, mask))| fits(byte, want, mask))
    }
}

/// One entry of the table.
#[derive(Debug)]
pub struct Signature {
    /// Its place in [`SIGNATURES`]: dense, but other in each build.
    pub index: u16,
    /// Stable name by which operators switch it, in lower case with dashes.
    pub id: &'static str,
    /// Name of the technique it belongs to, as the crate `detectors` calls it.
    pub technique: &'static str,
    /// Name of the class of traffic, as the crate `detectors` calls it.
    pub class: &'static str,
    /// Where the pattern stands.
    pub anchor: Anchor,
    /// On which transports.
    pub transports: Transports,
    /// How sure a match is, taken alone.
    pub confidence: Confidence,
    /// What the field must begin with.
    pub pattern: Pattern,
    /// Specification and section, or source file, that the bytes were taken from.
    pub source: &'static str,
}

/// The signatures that match a field; made by [`at`].
#[derive(Clone, Debug)]
pub struct Matches<'f> {
    field: &'f [u8],
    transport: Transport,
    candidates: core::slice::Iter<'static, u16>,
}

impl Iterator for Matches<'_> {
    type Item = &'static Signature;

    fn next(&mut self) -> Option<Self::Item> {
        let Self {
            field,
            transport,
            candidates,
        } = self;
        candidates
            .by_ref()
            .filter_map(|index| SIGNATURES.get(usize::from(*index)))
            .find(|signature| signature.transports.contains(*transport) && signature.pattern.matches(field))
    }
}

/// The signatures that stand at `anchor`. `field` is what the anchor names, as much of it as was
/// captured; one that is cut off in the middle of a pattern does not match.
///
/// For [`Anchor::DatagramStart`] show complete datagrams only: an exact pattern takes the end of `field`
/// for the end of the datagram.
#[inline]
pub fn at(anchor: Anchor, transport: Transport, field: &[u8]) -> Matches<'_> {
    let candidates = candidates(anchor, field.first());
    Matches {
        field,
        transport,
        candidates: candidates.iter(),
    }
}

/// Places in [`SIGNATURES`] of the signatures that allow the first byte.
#[inline]
fn candidates(anchor: Anchor, first: Option<&u8>) -> &'static [u16] {
    let found = first.and_then(|first| {
        let first = usize::from(*first);
        let starts = STARTS.get(anchor as usize)?;
        let from = usize::from(*starts.get(first)?);
        let to = usize::from(*starts.get(first + 1)?);
        CANDIDATES.get(from..to)
    });
    found.unwrap_or_default()
}

/// The signature of an id. Walks the table: for options and reports, not for packets.
pub fn by_id(id: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.id == id)
}
