//! Plaintext peer handshake.                                            Spec: BEP 3, "peer protocol".
//!
//! | offset | size | field | check |
//! |---|---|---|---|
//! | 0 | 1 | length of the protocol's name | 0x13 |
//! | 1 | 19 | `BitTorrent protocol` | exact |
//! | 20 | 8 | reserved bits | not text: no client sets bits that spell printable characters |
//! | 28 | 20 | info-hash | not text, not one byte repeated |
//! | 48 | 20 | peer-id | may be withheld until the other side has named the torrent |
//! | 68 | 4 | length of the next message | below 2 MiB, if present |
//!
//! Proves: the sender speaks the peer protocol. Certain: 160 fixed bits, and 160 more that are no text.
//! The string may begin anywhere: after an encrypted key exchange that ended in plaintext it follows random
//! bytes, after a uTP header it starts the payload. Look-alikes: documents that quote the string (text
//! follows: nothing is reported), files made of handshakes (another handshake follows instead of a message:
//! nothing is reported) and recorded traffic (the bytes in front are structured, not random: at most strong).
//! Other products use the same framing under another name; they are told apart by [`Handshake::class`].

use memchr::memmem;

use crate::wire::{array_at, byte_at, u32_at};
use crate::{Class, Client, Confidence, Evidence, InfoHash, Side, Technique};

/// Length byte and name of the protocol.
pub const PREFIX: &[u8; 20] = b"\x13BitTorrent protocol";
/// The first two of these bytes.
pub(crate) const MARK: [u8; 2] = [PREFIX[0], PREFIX[1]];
/// Bytes of a complete handshake.
pub const HANDSHAKE_BYTES: usize = 68;
/// Offset behind the reserved bits.
pub(crate) const RESERVED_END: usize = 28;
/// Longest message that a peer sends: a bitfield or an extended message (2 MiB).
const LONGEST_MESSAGE: u32 = 2 << 20;
/// Most occurrences of the prefix that are looked at in one buffer.
const MOST_CANDIDATES: usize = 8;

/// Microsoft Delivery Optimization: the same framing, 75 bytes.
const SWARM: &[u8] = b"\x0eSwarm protocol";
/// Ace Stream: the same framing, 66 bytes.
const ACE_STREAM: &[u8] = b"\x11AceStreamProtocol";
/// Resilio Sync.
const RESILIO: &[u8] = b"BSYN";

/// One handshake as found in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// How sure it is: conclusive with a plausible info-hash, strong when it is cut before that or when
    /// what surrounds it does not fit.
    pub confidence: Confidence,
    /// BitTorrent, or the product that borrowed the framing.
    pub class: Class,
    /// The torrent, when all 20 bytes are there.
    pub info_hash: Option<InfoHash>,
    /// The sender's peer-id, when all 20 bytes are there.
    pub peer_id: Option<[u8; 20]>,
    /// Bytes of it in the buffer, 20 to 68 for BitTorrent.
    pub len: usize,
}

impl Handshake {
    /// The handshake as evidence.
    pub fn evidence(&self, speaker: Side) -> Evidence {
        let rule = match (self.class, self.confidence) {
            (Class::BitTorrent, Confidence::Conclusive) => "handshake",
            (Class::BitTorrent, Confidence::Weak | Confidence::Strong) => "handshake-prefix",
            (other, _) => other.name(),
        };
        let mut evidence =
            Evidence::new(Technique::Handshake, rule, self.confidence, speaker).of_class(self.class);
        evidence.info_hash = self.info_hash;
        if let Some(peer_id) = self.peer_id {
            evidence.client = Client::PeerId(peer_id);
        }
        evidence
    }
}

/// The best handshake in `bytes` and its offset: the first conclusive one, or else the first.
pub fn find(bytes: &[u8]) -> Option<(usize, Handshake)> {
    find_from(bytes, 0)
}

/// As [`find`], for handshakes that begin at `from` or later; what is in front still counts as context.
pub fn find_from(bytes: &[u8], from: usize) -> Option<(usize, Handshake)> {
    let mut best: Option<(usize, Handshake)> = if from == 0 { foreign(bytes) } else { None };
    let candidates = memmem::find_iter(bytes.get(from..)?, PREFIX).map(|at| at + from);
    for at in candidates.take(MOST_CANDIDATES) {
        let Some(found) = examine(bytes, at) else { continue };
        if found.confidence == Confidence::Conclusive {
            return Some((at, found));
        }
        best = best.or(Some((at, found)));
    }
    best
}

/// Whether `bytes` begin with the handshake of another product.
pub(crate) fn is_foreign(bytes: &[u8]) -> bool {
    foreign(bytes).is_some()
}

fn foreign(bytes: &[u8]) -> Option<(usize, Handshake)> {
    let class = if bytes.starts_with(SWARM) {
        Class::DeliveryOptimization
    } else if bytes.starts_with(ACE_STREAM) {
        Class::AceStream
    } else if bytes.starts_with(RESILIO) {
        Class::Resilio
    } else {
        return None;
    };
    // Four letters are 32 bits; the two names are 120 and 144.
    let confidence = match class {
        Class::Resilio => Confidence::Strong,
        _ => Confidence::Conclusive,
    };
    Some((
        0,
        Handshake {
            confidence,
            class,
            info_hash: None,
            peer_id: None,
            len: bytes.len().min(75),
        },
    ))
}

fn examine(bytes: &[u8], at: usize) -> Option<Handshake> {
    let (before, from) = bytes.split_at_checked(at)?;
    let len = from.len().min(HANDSHAKE_BYTES);
    let reserved = from.get(20..28.min(len)).unwrap_or(&[]);
    // One or two bytes of a cut field may be printable by accident.
    if reserved.len() >= 3 && is_text(reserved) {
        return None;
    }
    let info_hash: Option<InfoHash> = array_at(from, 28);
    if info_hash.is_some_and(|hash| is_text(&hash)) {
        return None;
    }
    // A peer shakes hands once, then sends messages.
    if !fits_after(from) || ends_in_handshake(before) {
        return None;
    }
    let peer_id: Option<[u8; 20]> = array_at(from, 48);
    let fits = info_hash.is_some_and(|hash| !is_one_byte(&hash)) && fits_before(before);
    let class = match peer_id {
        Some(id) if id.starts_with(b"BLZ") || id.starts_with(b"-BLZ") => Class::Blizzard,
        _ => Class::BitTorrent,
    };
    Some(Handshake {
        confidence: if fits {
            Confidence::Conclusive
        } else {
            Confidence::Strong
        },
        class,
        info_hash,
        peer_id,
        len,
    })
}

/// Nothing is in front, or random bytes are (the end of an encrypted key exchange, at least 14 bytes).
fn fits_before(before: &[u8]) -> bool {
    let start = before.len().saturating_sub(64);
    let near = before.get(start..).unwrap_or(before);
    if near.is_empty() {
        return true;
    }
    if near.len() < 14 {
        return false;
    }
    // 64 uniform bytes repeat one value more than four times, or hold more than four zeros, with a
    // probability below 1e-4; headers in front of recorded packets do both.
    let mut counts = [0_u8; 256];
    let is_rare = near.iter().all(|byte| {
        counts.get_mut(usize::from(*byte)).is_some_and(|count| {
            *count += 1;
            *count <= 4
        })
    });
    let printable = near.iter().filter(|byte| (0x20..0x7F).contains(*byte)).count();
    is_rare && printable * 4 <= near.len() * 3
}

fn ends_in_handshake(before: &[u8]) -> bool {
    let start = before.len().checked_sub(HANDSHAKE_BYTES);
    start
        .and_then(|start| before.get(start..))
        .is_some_and(|last| last.starts_with(PREFIX))
}

/// Nothing follows yet, or a message of plausible length does.
fn fits_after(from: &[u8]) -> bool {
    match u32_at(from, HANDSHAKE_BYTES) {
        Some(length) => length < LONGEST_MESSAGE,
        None => byte_at(from, HANDSHAKE_BYTES).is_none_or(|first| first == 0),
    }
}

fn is_text(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| (0x20..0x7F).contains(byte) || matches!(byte, b'\t' | b'\r' | b'\n'))
}

fn is_one_byte(bytes: &[u8]) -> bool {
    bytes
        .first()
        .is_some_and(|first| bytes.iter().all(|byte| byte == first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Confidence::{Conclusive, Strong};
    use proptest::prelude::*;
    use std::vec::Vec;

    const HASH: &[u8; 20] =
        b"\x81\x02\xc3\x04\x95\x06\xb7\x08\xd9\x0a\xfb\x0c\x0d\x8e\x0f\x90\x11\xa2\x13\x84";

    fn handshake() -> Vec<u8> {
        [
            PREFIX,
            &b"\0\0\0\0\0\x10\0\x05"[..],
            HASH,
            b"-TR2920-abcdefghijkl",
        ]
        .concat()
    }

    fn check(name: &str, bytes: &[u8], expected: Option<(usize, Confidence, Class)>) {
        let found = find(bytes).map(|(at, h)| (at, h.confidence, h.class));
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn handshakes_are_found_where_they_may_begin() {
        let whole = handshake();
        let random: Vec<u8> = (0..80u8).map(|i| i.wrapping_mul(157).wrapping_add(71)).collect();
        let bt = Class::BitTorrent;
        check("whole", &whole, Some((0, Conclusive, bt)));
        check("without peer-id", &whole[..48], Some((0, Conclusive, bt)));
        check("prefix only", &whole[..20], Some((0, Strong, bt)));
        check(
            "extended message follows",
            &[&whole[..], b"\0\0\0\xe7\x14\0d"].concat(),
            Some((0, Conclusive, bt)),
        );
        check(
            "after random bytes",
            &[&random[..], &whole].concat(),
            Some((80, Conclusive, bt)),
        );
        let mut blizzard = whole.clone();
        blizzard[48..51].copy_from_slice(b"BLZ");
        check("blizzard", &blizzard, Some((0, Conclusive, Class::Blizzard)));
        check(
            "delivery optimization",
            b"\x0eSwarm protocol\0\0\0",
            Some((0, Conclusive, Class::DeliveryOptimization)),
        );
        check(
            "ace stream",
            b"\x11AceStreamProtocol\0\0",
            Some((0, Conclusive, Class::AceStream)),
        );
        check("resilio", b"BSYN\0\x01\x02", Some((0, Strong, Class::Resilio)));
    }

    #[test]
    fn quotations_and_files_are_not_conclusive() {
        let whole = handshake();
        let bt = Class::BitTorrent;
        check(
            "text follows",
            b"\x13BitTorrent protocol is what each peer says first.\n and more",
            None,
        );
        check("text at once cut", b"\x13BitTorrent protocol is", None);
        check("file of handshakes", &[&whole[..], &whole, &whole].concat(), None);
        check(
            "recorded packet",
            &[&[0u8; 30][..], &whole].concat(),
            Some((30, Strong, bt)),
        );
        check(
            "zero torrent",
            &[PREFIX, &[0u8; 48][..]].concat(),
            Some((0, Strong, bt)),
        );
        check("lower case", b"\x13bittorrent protocol", None);
        check("empty", b"", None);
    }

    #[test]
    fn evidence_names_torrent_and_client() {
        let (_, found) = find(&handshake()).unwrap();
        let evidence = found.evidence(Side::Responder);
        assert_eq!(evidence.info_hash.as_ref(), Some(HASH));
        assert_eq!(evidence.client, Client::PeerId(*b"-TR2920-abcdefghijkl"));
        assert_eq!((evidence.speaker, evidence.rule), (Side::Responder, "handshake"));
    }

    #[test]
    fn truncation_never_raises_confidence() {
        let whole = [&handshake()[..], b"\0\0\0\x01\x0e"].concat();
        let full = find(&whole).unwrap().1.confidence;
        for end in 0..whole.len() {
            assert!(
                find(&whole[..end]).is_none_or(|(_, h)| h.confidence <= full),
                "{end}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_around_the_prefix_are_survived(before in prop::collection::vec(any::<u8>(), 0..90), after in prop::collection::vec(any::<u8>(), 0..90)) {
            let _ = find(&[&before[..], PREFIX, &after].concat());
            prop_assert!(find(&before).is_none() || before.starts_with(b"BSYN"));
        }
    }
}
