//! The ordered beginning of both directions of a TCP stream, and its flights.
//!
//! Promise: duplicates, overlaps, reordering, one-byte segments, segments of 64 KiB and sequence numbers that
//! wrap all give the same bytes in the same order; nothing is allocated. Bytes that were given out as ordered
//! never change. Deliberately not done: anything behind the first [`PREFIX_BYTES`] of a direction.

use crate::Side;

/// Bytes kept of each direction.
pub const PREFIX_BYTES: usize = 4096;
const WORDS: usize = PREFIX_BYTES / 64;

/// Room for the first [`PREFIX_BYTES`] of both directions. Lent to an inspector while it asks for it; may
/// hold whatever an earlier borrower left.
#[derive(Clone, Debug)]
pub struct StreamBuffers {
    /// One buffer per [`Side`], by its index.
    pub bytes: [[u8; PREFIX_BYTES]; 2],
    /// One bit per byte that was written, lowest bit first.
    covered: [[u64; WORDS]; 2],
}

impl StreamBuffers {
    /// Zeroed buffers.
    pub const fn new() -> Self {
        Self {
            bytes: [[0; PREFIX_BYTES]; 2],
            covered: [[0; WORDS]; 2],
        }
    }
    /// Forgets which bytes were written.
    pub(crate) const fn forget(&mut self) {
        self.covered = [[0; WORDS]; 2];
    }
    fn direction(&mut self, side: Side) -> (&mut [u8; PREFIX_BYTES], &mut [u64; WORDS]) {
        let [a, b] = &mut self.bytes;
        let [x, y] = &mut self.covered;
        match side {
            Side::Originator => (a, x),
            Side::Responder => (b, y),
        }
    }
    /// The first `end` bytes of one direction.
    pub(crate) fn prefix(&self, side: Side, end: u16) -> &[u8] {
        let [a, b] = &self.bytes;
        let bytes = match side {
            Side::Originator => a,
            Side::Responder => b,
        };
        bytes.get(..usize::from(end)).unwrap_or(bytes)
    }
}

impl Default for StreamBuffers {
    fn default() -> Self {
        Self::new()
    }
}

/// Half of the sequence space: differences below it mean "later" (RFC 9293 section 3.4).
const HALF: u32 = 1 << 31;
/// How far behind the newest byte a segment is taken for the newest one: more than receive windows hold.
const RESYNC_BYTES: u32 = 16 << 20;

/// Where one direction of a stream stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Direction {
    /// Sequence number of the first byte.
    base: u32,
    /// Offset behind the newest byte, modulo 2^32.
    top: u32,
    /// Bytes in order from the first one, at most [`PREFIX_BYTES`].
    ordered: u16,
    /// Whether `base` is set.
    based: bool,
    /// Whether `base` comes from a SYN.
    start_seen: bool,
    /// Whether payload was seen.
    spoke: bool,
    /// Whether the capture ended before a segment did: nothing is in order behind it.
    cut: bool,
    /// What the first segment acknowledged.
    acknowledged: Option<u32>,
    /// Whether later ones acknowledged payload of the other end.
    heard: bool,
}

/// What one segment added to its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    /// Bytes that became ordered in the kept beginning.
    pub(crate) ordered: u16,
    /// Whether the segment brought bytes that were not seen before, anywhere.
    pub(crate) fresh: bool,
    /// How many leading bytes of the segment lie in the kept beginning (or before it): the rest does not.
    pub(crate) inside: usize,
    /// Bytes on the wire by which the direction grew.
    pub(crate) grown: u16,
}

impl Direction {
    /// Bytes in order from the first one.
    pub(crate) const fn ordered(&self) -> u16 {
        self.ordered
    }
    /// Whether the kept beginning is complete.
    pub(crate) fn is_full(&self) -> bool {
        usize::from(self.ordered) >= PREFIX_BYTES
    }
    /// Whether the direction was seen from its first byte.
    pub(crate) const fn start_seen(&self) -> bool {
        self.start_seen
    }
    /// Offset behind the newest byte seen, modulo 2^32.
    pub(crate) const fn top(&self) -> u32 {
        self.top
    }
    /// How far a sequence number lies behind the first byte, modulo 2^32, when anything was seen.
    pub(crate) fn offset(&self, sequence: u32) -> Option<u32> {
        self.based.then(|| sequence.wrapping_sub(self.base))
    }
    /// Whether payload was seen.
    pub(crate) const fn spoke(&self) -> bool {
        self.spoke
    }
    /// Whether a segment was captured in part.
    pub(crate) const fn is_cut(&self) -> bool {
        self.cut
    }
    /// Whether payload of the other end was acknowledged: it spoke, even if the capture does not show it.
    pub(crate) const fn heard(&self) -> bool {
        self.heard
    }
    /// Takes the acknowledgement number of a segment with payload. The end of a stream takes up one number.
    pub(crate) fn acknowledge(&mut self, number: u32) {
        let first = *self.acknowledged.get_or_insert(number);
        self.heard |= (2..HALF).contains(&number.wrapping_sub(first));
    }
    /// Takes the first byte's sequence number from a SYN. One that comes after payload is not believed.
    pub(crate) const fn syn(&mut self, sequence: u32) {
        if !self.spoke {
            self.base = sequence;
            self.based = true;
            self.start_seen = true;
        }
    }
    /// Places the payload of a segment.
    pub(crate) fn place(
        &mut self,
        side: Side,
        sequence: u32,
        payload: &[u8],
        wire_len: u32,
        buffers: Option<&mut StreamBuffers>,
    ) -> Added {
        if !self.based {
            self.base = sequence;
            self.based = true;
        }
        let offset = sequence.wrapping_sub(self.base);
        let end = offset.wrapping_add(wire_len);
        let (ahead, behind) = (end.wrapping_sub(self.top), self.top.wrapping_sub(end));
        // A segment far ahead that no window allows must not hide what really follows.
        let fresh = wire_len > 0 && (ahead.wrapping_sub(1) < HALF || (RESYNC_BYTES..HALF).contains(&behind));
        let mut added = Added {
            ordered: 0,
            fresh,
            inside: 0,
            grown: 0,
        };
        if fresh {
            added.grown = u16::try_from(ahead.min(wire_len)).unwrap_or(u16::MAX);
            self.top = end;
            self.spoke = true;
        }
        if let Some(buffers) = buffers.filter(|_| !self.cut) {
            // The upper half of the sequence space lies before the first byte.
            let (offset, before) = if offset < HALF {
                (offset, 0)
            } else {
                (0, offset.wrapping_neg())
            };
            let before = usize::try_from(before).unwrap_or(usize::MAX).min(payload.len());
            let new = payload.get(before..).unwrap_or(&[]);
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let room = PREFIX_BYTES.saturating_sub(at).min(new.len());
            added.inside = before + room;
            let had = self.ordered;
            self.write(side, at, new.get(..room).unwrap_or(&[]), buffers);
            added.ordered = self.ordered - had;
            // A hole that is filled is as good as new bytes at the top.
            added.fresh |= added.ordered > 0;
            self.spoke |= added.ordered > 0;
        }
        self.cut |= usize::try_from(wire_len).is_ok_and(|wire_len| wire_len > payload.len());
        added
    }

    fn write(&mut self, side: Side, at: usize, new: &[u8], buffers: &mut StreamBuffers) {
        // Ordered bytes were already given out.
        let skip = usize::from(self.ordered).saturating_sub(at).min(new.len());
        let (at, new) = (at + skip, new.get(skip..).unwrap_or(&[]));
        let (bytes, covered) = buffers.direction(side);
        let Some(room) = bytes.get_mut(at..at + new.len()) else {
            return;
        };
        room.copy_from_slice(new);
        if at == usize::from(self.ordered) {
            // Nobody asks for marks in front of what is ordered. It fits: the buffer ends before.
            self.ordered += u16::try_from(new.len()).unwrap_or(0);
        } else {
            mark(covered, at, at + new.len());
        }
        while let Some(word) = covered.get(usize::from(self.ordered) / 64) {
            let shift = self.ordered % 64;
            let run = (!(word >> shift)).trailing_zeros().min(u32::from(64 - shift));
            // At most 64, so it fits.
            self.ordered += u16::try_from(run).unwrap_or(0);
            if run < u32::from(64 - shift) {
                break;
            }
        }
    }
}

/// Sets the bits `from..to`.
fn mark(covered: &mut [u64; WORDS], from: usize, to: usize) {
    let mut at = from;
    while at < to {
        let bits = (64 - at % 64).min(to - at);
        let mask = if bits == 64 {
            u64::MAX
        } else {
            ((1 << bits) - 1) << (at % 64)
        };
        if let Some(word) = covered.get_mut(at / 64) {
            *word |= mask;
        }
        at += bits;
    }
}

/// Most flights that are remembered: a key exchange and what follows need five.
const FLIGHTS: usize = 8;

/// The first flights of a flow: runs of new bytes of one side until the other side speaks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flights {
    lengths: [u16; FLIGHTS],
    /// Lengths of the first two segments of each of the first three flights.
    openings: [[u16; 2]; 3],
    count: u8,
    /// Whether the responder sent the first one.
    responder_first: bool,
}

impl Flights {
    /// Adds `len` new bytes of `side`; 0 for bytes that only mark that the side spoke.
    pub(crate) fn add(&mut self, side: Side, len: u16) {
        if self.count == 0 {
            self.responder_first = side == Side::Responder;
        }
        if self.count == 0 || self.last() != side {
            self.count = self.count.saturating_add(1);
        }
        let flight = usize::from(self.count).saturating_sub(1);
        if let Some(length) = self.lengths.get_mut(flight) {
            *length = length.saturating_add(len);
        }
        let opening = self.openings.get_mut(flight);
        if let Some(free) = opening.and_then(|opening| opening.iter_mut().find(|slot| **slot == 0)) {
            *free = len;
        }
    }
    /// Flights begun, the last of which may go on.
    pub(crate) fn begun(&self) -> usize {
        usize::from(self.count)
    }
    /// Bytes of the flight `n`, from 0, when the other side has spoken after it.
    pub(crate) fn ended(&self, n: usize) -> Option<u16> {
        (n + 1 < self.begun()).then(|| self.lengths.get(n).copied())?
    }
    /// Bytes of the flight `n`, from 0, so far.
    pub(crate) fn so_far(&self, n: usize) -> Option<u16> {
        (n < self.begun()).then(|| self.lengths.get(n).copied())?
    }
    /// Lengths of the first two segments of the flight `n`, from 0; 0 for what was not seen or not kept.
    pub(crate) fn opening(&self, n: usize) -> [u16; 2] {
        self.openings.get(n).copied().unwrap_or_default()
    }
    /// Who sent the first flight.
    pub(crate) const fn first(&self) -> Side {
        if self.responder_first {
            Side::Responder
        } else {
            Side::Originator
        }
    }
    fn last(&self) -> Side {
        if self.count % 2 == 1 {
            self.first()
        } else {
            self.first().other()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const A: Side = Side::Originator;

    fn placed(base: Option<u32>, segments: &[(u32, &[u8])]) -> (Direction, Vec<u8>) {
        let mut buffers = StreamBuffers::new();
        let mut direction = Direction::default();
        if let Some(base) = base {
            direction.syn(base);
        }
        for (sequence, payload) in segments {
            direction.place(A, *sequence, payload, payload.len() as u32, Some(&mut buffers));
        }
        let bytes = buffers.prefix(A, direction.ordered()).to_vec();
        (direction, bytes)
    }

    #[test]
    fn segments_give_the_same_bytes_however_they_come() {
        let near_wrap = u32::MAX - 1;
        for (name, base, segments, expected) in [
            (
                "in order",
                Some(9),
                &[(9, &b"ab"[..]), (11, b"cd")][..],
                &b"abcd"[..],
            ),
            ("reordered", Some(9), &[(11, b"cd"), (9, b"ab")], b"abcd"),
            ("a hole", Some(9), &[(11, b"cd")], b""),
            (
                "overlap",
                Some(9),
                &[(9, b"abc"), (10, b"bcd"), (9, b"abcd")],
                b"abcd",
            ),
            (
                "wrapped",
                Some(near_wrap),
                &[(near_wrap, b"ab"), (0, b"cd")],
                b"abcd",
            ),
            (
                "mid-stream",
                None,
                &[(700, b"ab"), (690, b"zz"), (702, b"cd")],
                b"abcd",
            ),
            (
                "keep-alive probe",
                Some(9),
                &[(9, b"ab"), (8, b"\0"), (11, b"cd")],
                b"abcd",
            ),
            ("nothing", Some(9), &[], b""),
        ] {
            assert_eq!(placed(base, segments).1, expected, "{name}");
        }
    }

    #[test]
    fn only_the_beginning_is_kept_of_a_large_segment() {
        let large = vec![7u8; 65_535];
        let (direction, bytes) = placed(Some(0), &[(0, &large)]);
        assert_eq!(bytes.len(), PREFIX_BYTES);
        assert!(direction.is_full());
    }

    #[test]
    fn bytes_are_fresh_once_and_behind_gigabytes_and_after_a_forged_jump() {
        let mut direction = Direction::default();
        let mut fresh = |sequence: u32| direction.place(A, sequence, b"abcd", 4, None).fresh;
        assert!(fresh(100) && fresh(104) && !fresh(100));
        for part in 1..9u32 {
            assert!(fresh(100u32.wrapping_add(part.wrapping_mul(1 << 30))), "{part}");
        }
        let now = 100u32.wrapping_add(8u32.wrapping_mul(1 << 30));
        assert!(fresh(now.wrapping_add(1 << 25)), "forged");
        assert!(fresh(now.wrapping_add(4)), "what really follows");
    }

    #[test]
    fn flights_alternate_and_end_when_the_other_side_speaks() {
        let mut flights = Flights::default();
        for (side, len) in [(A, 96), (A, 100), (Side::Responder, 50), (A, 20), (A, 104)] {
            flights.add(side, len);
        }
        assert_eq!((flights.begun(), flights.first()), (3, A));
        assert_eq!(
            (flights.ended(0), flights.ended(1), flights.ended(2)),
            (Some(196), Some(50), None)
        );
        assert_eq!((flights.so_far(2), flights.so_far(3)), (Some(124), None));
        assert_eq!((flights.opening(0), flights.opening(1)), ([96, 100], [50, 0]));
    }

    proptest! {
        #[test]
        fn any_split_and_order_gives_the_stream(
            base: u32,
            cuts in prop::collection::vec(1usize..600, 1..40),
            order in prop::collection::vec(any::<u16>(), 40),
            twice in prop::collection::vec(any::<bool>(), 40),
        ) {
            let mut at = 0u32;
            let mut segments = Vec::new();
            for (n, len) in cuts.iter().enumerate() {
                let payload: Vec<u8> = (at..at + *len as u32).map(|i| (i % 251) as u8).collect();
                for _ in 0..=u8::from(twice[n]) {
                    segments.push((order[n].wrapping_mul(segments.len() as u16 + 1), base.wrapping_add(at), payload.clone()));
                }
                at += *len as u32;
            }
            segments.sort_by_key(|segment| segment.0);
            let given: Vec<(u32, &[u8])> = segments.iter().map(|(_, s, p)| (*s, &p[..])).collect();
            let (_, bytes) = placed(Some(base), &given);
            let expected: Vec<u8> = (0..at.min(PREFIX_BYTES as u32)).map(|i| (i % 251) as u8).collect();
            prop_assert_eq!(bytes, expected);
        }
    }
}
