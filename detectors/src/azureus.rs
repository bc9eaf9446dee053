//! Azureus messaging protocol.                                     Source: Azureus wiki, "Azureus messaging protocol".
//!
//! `u32 length | u32 id length | id | u8 version | payload`, spoken after a handshake whose first reserved bit is set.
//!
//! | id | examples |
//! |---|---|
//! | `AZ_…` | `AZ_HANDSHAKE`, `AZ_PEER_EXCHANGE`, `AZ_HAVE`, `AZ_STAT_REQ` |
//! | `BT_…` | `BT_BITFIELD`, `BT_REQUEST`, `BT_PIECE`, `BT_HAVE`, `BT_UNCHOKE` |
//!
//! Conclusive: the id's length, the id and a message length that holds both are more than 80 bits.

use btblocker_signatures::{self as signatures, Anchor, Transport};
use memchr::memmem;

use crate::wire::u32_at;
use crate::{Confidence, Evidence, Side, Technique};

/// Longest message: a piece message, or a bitfield.
const LONGEST: u32 = 2 << 20;
/// Most occurrences that are looked at in one buffer.
const MOST_CANDIDATES: usize = 16;

/// Finds a message in `bytes`.
pub fn find(bytes: &[u8], speaker: Side) -> Option<Evidence> {
    [&b"AZ_"[..], b"BT_"]
        .iter()
        .flat_map(|family| memmem::find_iter(bytes, family).take(MOST_CANDIDATES))
        .any(|at| at >= 8 && is_message(bytes, at))
        .then(|| Evidence::new(Technique::Azureus, "message", Confidence::Conclusive, speaker))
}

fn is_message(bytes: &[u8], id_at: usize) -> bool {
    let (Some(length), Some(id_length)) = (u32_at(bytes, id_at - 8), u32_at(bytes, id_at - 4)) else {
        return false;
    };
    let Some(id) = usize::try_from(id_length)
        .ok()
        .and_then(|len| bytes.get(id_at..)?.get(..len))
    else {
        return false;
    };
    // The upper half of the byte behind the id is for flags.
    let version = bytes.get(id_at.saturating_add(id.len())).map(|byte| byte & 15);
    (id_length + 5..LONGEST).contains(&length)
        && matches!(version, Some(1 | 2))
        && signatures::at(Anchor::AzureusMessageId, Transport::Tcp, id)
            .next()
            .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HANDSHAKE: &[u8] = b"\0\0\0\x20\0\0\0\x0cAZ_HANDSHAKE\x01d0:0:e";

    #[test]
    fn framed_ids_are_found_and_text_is_not() {
        for (name, bytes, expected) in [
            ("handshake", HANDSHAKE, true),
            (
                "request behind other bytes",
                b"xyz\0\0\0\x1b\0\0\0\x0aBT_REQUEST\x01\0",
                true,
            ),
            ("text", b"the AZ_HANDSHAKE message", false),
            ("wrong id length", b"\0\0\0\x20\0\0\0\x0bAZ_HANDSHAKE\x01", false),
            (
                "unknown version",
                b"\0\0\0\x20\0\0\0\x0cAZ_HANDSHAKE\x07d0:0:e",
                false,
            ),
            ("unknown id", b"\0\0\0\x20\0\0\0\x0cAZ_HANDSHOOK\x01", false),
            (
                "message too short for its id",
                b"\0\0\0\x0c\0\0\0\x0cAZ_HANDSHAKE\x01",
                false,
            ),
            ("empty", b"", false),
        ] {
            assert_eq!(find(bytes, Side::Originator).is_some(), expected, "{name}");
        }
        for end in 0..20 {
            assert!(find(&HANDSHAKE[..end], Side::Originator).is_none(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(before in prop::collection::vec(any::<u8>(), 0..20), after in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = find(&[&before[..], b"AZ_", &after].concat(), Side::Responder);
        }
    }
}
