//! Peer messages in the middle of a stream.                     Spec: BEP 3 "peer messages", BEP 6, 10, 52.
//!
//! `u32 length | u8 id | payload`. Boundaries drift inside segments, so patterns are searched at every offset.
//!
//! | pattern | fixed content | bits |
//! |---|---|---|
//! | piece | `00 00 40 09 07`, index < 2^24, begin < 2^24 and a multiple of 16,384 | 70 |
//! | request, cancel, reject | `00 00 00 0D` + 06, 08 or 10, index < 2^24, begin a multiple of 16,384, length `00 00 40 00` | 98 |
//! | extended handshake | length < 0x4100, `14 00 d`, a key, and `1:md` inside | 80 |
//! | hash request, hash reject | `00 00 00 31` + 15 or 17, layers < 64, count a power of two in 2..=512 that divides the index | 100 |
//! | allowed fast | `00 00 00 05 11`, index < 2^24, four in a row | 190 |
//!
//! Conclusive as structure: none of them occurred in 77,651 packets of other protocols. Look-alikes: the same
//! framing under another name (Microsoft Delivery Optimization, Ace Stream), which only the start of the flow
//! tells apart, and recorded traffic inside a file transfer, where only one end speaks: the caller judges both.
//! Not looked at: single short messages (`choke`, `have`, `bitfield`), which several protocols imitate.

use memchr::memmem;

use crate::wire::{byte_at, u32_at};
use crate::{Confidence, Evidence, Side, Technique};

/// Every message has a length below 65,536 in four bytes in front.
pub(crate) const MARK: [u8; 2] = [0, 0];
/// Size of a block, the unit of requests (BEP 3: "all current implementations use 2^14").
pub const BLOCK_BYTES: u32 = 16_384;
/// Indices of pieces, offsets in pieces: larger ones are not found in torrents.
const INDEX_LIMIT: u32 = 1 << 24;
/// The key of the map of extensions, and the beginning of that.
const MAP: &[u8] = b"1:md";
/// Most occurrences of one needle that are looked at in one buffer: bounds the work on hostile bytes.
const MOST_CANDIDATES: usize = 256;

/// A peer message found in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Peer messages, or the extension that the message belongs to.
    pub technique: Technique,
    /// `piece`, `request`, `cancel`, `reject`, `allowed-fast`, `hash-request`, `hash-reject`,
    /// `extended-handshake`.
    pub rule: &'static str,
    /// As structure of the bytes; the caller may know the flow better.
    pub confidence: Confidence,
    /// Offset of the message's length field.
    pub at: usize,
}

impl Hit {
    /// The message as evidence.
    pub const fn evidence(&self, speaker: Side) -> Evidence {
        Evidence::new(self.technique, self.rule, self.confidence, speaker)
    }
    const fn new(technique: Technique, rule: &'static str, at: usize) -> Self {
        Self {
            technique,
            rule,
            confidence: Confidence::Conclusive,
            at,
        }
    }
}

/// The first message found, pieces before requests before the rest.
pub fn scan(bytes: &[u8]) -> Option<Hit> {
    piece(bytes)
        .or_else(|| control(bytes))
        .or_else(|| extended_handshake(bytes))
}

/// Whether whole messages lead from the first byte to `at`.
pub(crate) fn leads_to(bytes: &[u8], at: usize) -> bool {
    let mut place = 0_usize;
    while place < at {
        let length = u32_at(bytes, place).and_then(|length| usize::try_from(length).ok());
        place = match length.and_then(|length| place.checked_add(4)?.checked_add(length)) {
            Some(next) => next,
            None => return false,
        };
    }
    place == at
}

fn piece(bytes: &[u8]) -> Option<Hit> {
    memmem::find_iter(bytes, b"\x00\x00\x40\x09\x07")
        .take(MOST_CANDIDATES)
        .find(|&at| is_place(bytes, at + 5))
        .map(|at| Hit::new(Technique::PeerMessage, "piece", at))
}

/// Messages whose length field is `00 00 00 xx`. Such a field ends with the byte behind a run of three or more
/// zeros, and every such run covers one of each three neighbouring places: one pass, however many zeros there are.
fn control(bytes: &[u8]) -> Option<Hit> {
    let (mut hash, mut fast) = (None, None);
    let mut place = 2;
    while let Some(&byte) = bytes.get(place) {
        if byte != 0 {
            place += 3;
            continue;
        }
        let (before, after) = bytes.split_at_checked(place)?;
        let is_zero = |byte: &&u8| **byte == 0;
        let end = place + after.iter().take_while(is_zero).count();
        let begin = place - before.iter().rev().take(2).take_while(is_zero).count();
        if let Some(at) = end.checked_sub(3).filter(|at| *at >= begin) {
            match byte_at(bytes, end) {
                Some(0x0D) => {
                    let found = request(bytes, at);
                    if found.is_some() {
                        return found;
                    }
                }
                Some(0x31) => hash = hash.or_else(|| hash_request(bytes, at)),
                Some(0x05) => fast = fast.or_else(|| allowed_fast(bytes, at)),
                _ => {}
            }
        }
        place = end + 3;
    }
    hash.or(fast)
}

fn request(bytes: &[u8], at: usize) -> Option<Hit> {
    let (technique, rule) = match byte_at(bytes, at + 4)? {
        6 => (Technique::PeerMessage, "request"),
        8 => (Technique::PeerMessage, "cancel"),
        0x10 => (Technique::Fast, "reject"),
        _ => return None,
    };
    (is_place(bytes, at + 5) && u32_at(bytes, at + 13)? == BLOCK_BYTES).then(|| Hit::new(technique, rule, at))
}

fn hash_request(bytes: &[u8], at: usize) -> Option<Hit> {
    let rule = match byte_at(bytes, at + 4)? {
        0x15 => "hash-request",
        0x17 => "hash-reject",
        _ => return None,
    };
    let base_layer = u32_at(bytes, at + 37)?;
    let index = u32_at(bytes, at + 41)?;
    let count = u32_at(bytes, at + 45)?;
    let proof_layers = u32_at(bytes, at + 49)?;
    let fits = base_layer < 64
        && proof_layers < 64
        && (2..=512).contains(&count)
        && count.is_power_of_two()
        && index < INDEX_LIMIT
        && index.is_multiple_of(count);
    fits.then(|| Hit::new(Technique::V2, rule, at))
}

/// A peer names ten pieces that it gives away without being asked (BEP 6): four in a row are demanded.
fn allowed_fast(bytes: &[u8], at: usize) -> Option<Hit> {
    let all = (0..4).all(|n| {
        let here = at + 9 * n;
        u32_at(bytes, here) == Some(5)
            && byte_at(bytes, here + 4) == Some(0x11)
            && u32_at(bytes, here + 5).is_some_and(|index| index < INDEX_LIMIT)
    });
    all.then(|| Hit::new(Technique::Fast, "allowed-fast", at))
}

fn extended_handshake(bytes: &[u8]) -> Option<Hit> {
    extended_handshakes(bytes, MOST_CANDIDATES)
        .next()
        .map(|at| Hit::new(Technique::Extension, "extended-handshake", at))
}

/// Where extended handshakes begin, of the first `most` places that look alike: first a key of 1 to 19 letters, and `m`
/// among the keys. The time grows with the bytes, not with their product with the places.
pub(crate) fn extended_handshakes(bytes: &[u8], most: usize) -> impl Iterator<Item = usize> {
    let mut maps = None;
    memmem::find_iter(bytes, b"\x14\x00d")
        .take(most)
        .filter_map(|at| at.checked_sub(4))
        .filter(move |&at| {
            let Some((begin, end)) = entries(bytes, at) else {
                return false;
            };
            let maps = maps.get_or_insert_with(|| memmem::find_iter(bytes, MAP).peekable());
            while maps.next_if(|map| *map < begin).is_some() {}
            maps.peek().is_some_and(|map| map + MAP.len() <= end)
        })
}

/// Where the keys of an extended handshake at `at` begin and end, when what is in front of them and the first of
/// them are right.
fn entries(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let length @ 3..0x4100 = u32_at(bytes, at)? else {
        return None;
    };
    let begin = at + 7;
    let end = bytes.len().min(at + 4 + usize::try_from(length).ok()?);
    let is_key = matches!(
        bytes.get(begin..end)?,
        [b'1'..=b'9', b':', ..] | [b'1', b'0'..=b'9', b':', ..]
    );
    is_key.then_some((begin, end))
}

/// Whether a piece index and an offset of a block follow.
fn is_place(bytes: &[u8], at: usize) -> bool {
    u32_at(bytes, at).is_some_and(|index| index < INDEX_LIMIT)
        && u32_at(bytes, at + 4).is_some_and(|begin| begin < INDEX_LIMIT && begin.is_multiple_of(BLOCK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn check(name: &str, bytes: &[u8], expected: Option<(Technique, &str, usize)>) {
        let found = scan(bytes).map(|hit| (hit.technique, hit.rule, hit.at));
        assert_eq!(found, expected, "{name}");
    }

    const REQUEST: &[u8] = b"\0\0\0\x0d\x06\0\0\0\x2a\0\x01\x40\0\0\0\x40\0";
    const PIECE: &[u8] = b"\0\0\x40\x09\x07\0\0\0\x2a\0\x01\x40\0";
    const EXTENDED: &[u8] = b"\0\0\0\x1e\x14\0d1:md11:ut_metadatai2eee";

    fn hash_request_bytes() -> Vec<u8> {
        [
            &b"\0\0\0\x31\x15"[..],
            &[0xA5; 32],
            b"\0\0\0\0",
            b"\0\0\x02\0",
            b"\0\0\x02\0",
            b"\0\0\0\x04",
        ]
        .concat()
    }

    #[test]
    fn messages_are_found_at_any_offset() {
        for shift in [0, 1, 3, 700] {
            let at = |bytes: &[u8]| [&vec![0x77; shift][..], bytes, &[1, 2, 3]].concat();
            let with = |n: usize, byte: u8| {
                let mut bytes = REQUEST.to_vec();
                bytes[n] = byte;
                at(&bytes)
            };
            check(
                "request",
                &at(REQUEST),
                Some((Technique::PeerMessage, "request", shift)),
            );
            check(
                "cancel",
                &with(4, 8),
                Some((Technique::PeerMessage, "cancel", shift)),
            );
            check("reject", &with(4, 0x10), Some((Technique::Fast, "reject", shift)));
            check(
                "piece",
                &at(PIECE),
                Some((Technique::PeerMessage, "piece", shift)),
            );
            check(
                "extended",
                &at(EXTENDED),
                Some((Technique::Extension, "extended-handshake", shift)),
            );
            check(
                "hashes",
                &at(&hash_request_bytes()),
                Some((Technique::V2, "hash-request", shift)),
            );
            let fast = b"\0\0\0\x05\x11\0\0\0\x07".repeat(4);
            check(
                "allowed fast",
                &at(&fast),
                Some((Technique::Fast, "allowed-fast", shift)),
            );
        }
    }

    #[test]
    fn lookalikes_are_not_found() {
        let mut odd = hash_request_bytes();
        odd[48] = 3;
        for (name, bytes) in [
            ("keep-alives", &[0u8; 400][..]),
            ("other id", &b"\0\0\0\x0d\x05\0\0\0\x2a\0\x01\x40\0\0\0\x40\0"[..]),
            (
                "unaligned begin",
                b"\0\0\0\x0d\x06\0\0\0\x2a\0\x01\x40\x01\0\0\x40\0",
            ),
            (
                "other block size",
                b"\0\0\0\x0d\x06\0\0\0\x2a\0\x01\x40\0\0\0\x20\0",
            ),
            ("huge index", b"\0\0\x40\x09\x07\x01\0\0\x2a\0\x01\x40\0"),
            ("three allowed fast", &b"\0\0\0\x05\x11\0\0\0\x07".repeat(3)),
            (
                "have messages of another protocol",
                &b"\0\0\0\x05\x04\0\0\0\x07".repeat(9),
            ),
            ("count not a power of two", &odd),
            (
                "extension names in text",
                b"ut_pex ut_metadata 1:md are keys of \x14\0 messages",
            ),
            ("dictionary without m", b"\0\0\0\x10\x14\0d1:pi6881e1:v3:abce"),
            ("m beyond the message", b"\0\0\0\x0c\x14\0d1:pi6881ee1:md"),
            ("empty", b""),
        ] {
            check(name, bytes, None);
        }
    }

    #[test]
    fn a_cut_message_is_not_found() {
        for whole in [REQUEST, PIECE, &hash_request_bytes()] {
            for end in 0..whole.len() {
                assert_eq!(scan(&whole[..end]), None, "{end} of {whole:?}");
            }
        }
    }

    /// [`control`] by its definition.
    fn control_at_every_offset(bytes: &[u8]) -> Option<Hit> {
        type Examine = fn(&[u8], usize) -> Option<Hit>;
        let examine: [(u32, Examine); 3] = [(0x0D, request), (0x31, hash_request), (0x05, allowed_fast)];
        examine.iter().find_map(|(length, examine)| {
            (0..bytes.len())
                .filter(|&at| u32_at(bytes, at) == Some(*length))
                .find_map(|at| examine(bytes, at))
        })
    }

    proptest! {
        #[test]
        fn random_bytes_are_no_messages(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(scan(&bytes), None);
        }
        #[test]
        fn one_pass_finds_what_every_offset_holds(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(0u8..3, 0..6),
                    Just(vec![0; 5]),
                    Just(REQUEST.to_vec()),
                    Just(hash_request_bytes()),
                    Just(b"\0\0\0\x05\x11\0\0\0\x07".repeat(4)),
                    Just(b"\0\0\0\x0d".to_vec()),
                ],
                0..12,
            ),
        ) {
            let bytes = parts.concat();
            prop_assert_eq!(control(&bytes), control_at_every_offset(&bytes));
        }
        #[test]
        fn headers_with_random_bytes_are_survived(bytes in prop::collection::vec(0u8..0x18, 0..300)) {
            let _ = scan(&bytes);
        }
    }
}
