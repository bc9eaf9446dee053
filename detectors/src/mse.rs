//! Message stream encryption, by the sizes of its flights.             Source: the Azureus wiki's MSE page.
//!
//! | flight | bytes | check |
//! |---|---|---|
//! | 1, first speaker | key 96, pad 0 to 512 | 96 to 608, first 96 random |
//! | 2 | key 96, pad 0 to 512 | 96 to 608, first 96 random |
//! | 3 | 40 of hashes, 16 and pads encrypted, first payload | 56 to 890; exactly 124 = 40 + 16 + 68 without a pad |
//! | 4 | 14 and a pad encrypted, payload | at least 14; exactly 82 = 14 + 68 without a pad, where flight 3 held no handshake |
//! | 5 | payload | exactly 68 where the handshake was held back until flight 4 |
//!
//! Rule `flights` (strong): all of it with one of the three exact sizes: the handshake inside is always 68 bytes.
//! Of 984 flows of other protocols with three flights none has 124 or 68 there. Equally exact are the writes of
//! programs that do not collect them: a first segment of just the key (96), and a third flight that begins with
//! one segment for each hash (20, 20).
//! The sizes of flights 3 and 5 are the first speaker's: they involve that end only. That of flight 4 involves both, as the
//! first speaker has opened the exchange. A size that the other end's window left no room to exceed is nobody's own.
//! Rule `shape` (weak): all of it without an exact size, which random-looking request protocols also have.
//! Excluded: a flight that states its own length, and whatever `grammar` names. The clear eight zero bytes that
//! some detectors seek do not exist on the wire: they are sent encrypted. Nothing here can prove the content;
//! where the exchange ends in plaintext, the handshake scan finds what follows.

use core::num::NonZeroU64;

pub use crate::randomness::looks_random;

use crate::grammar::states_length;
use crate::stream::Flights;
use crate::{Confidence, Options};

/// Bytes of a public key (768 bits).
const KEY_BYTES: usize = 96;

/// What the flights say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// Not such an exchange.
    No,
    /// Too few flights to tell.
    Unfinished,
    /// The sizes are possible.
    Shape,
    /// The sizes are possible, and those of these ends are exact: whether of the first speaker, and of the second.
    Flights([bool; 2]),
}

impl Exchange {
    const fn of_flights(exact: [bool; 2]) -> Self {
        match exact {
            [false, false] => Self::Shape,
            exact => Self::Flights(exact),
        }
    }

    /// Takes away what an end whose sizes the other one chooses cannot be blamed for: `own` says who chose his own.
    pub(crate) fn by(self, own: [bool; 2]) -> Self {
        match self {
            Self::Flights([first, second]) => {
                let [first_chose, second_chose] = own;
                Self::of_flights([first && first_chose, second && second_chose])
            }
            other => other,
        }
    }
}

/// Judges the flights of a flow that was seen from its start; `first` and `second` are the beginnings of the
/// directions of the first and of the second speaker. `cut` says that the capture may show less than a key of them.
pub(crate) fn exchange(
    flights: &Flights,
    first: &[u8],
    second: &[u8],
    cut: bool,
    options: &Options,
) -> Exchange {
    let Some(one) = flights.ended(0) else {
        return Exchange::Unfinished;
    };
    let is_opening = |len: u16| (96..=608).contains(&len);
    if !is_opening(one) {
        return Exchange::No;
    }
    let Some(two) = flights.ended(1) else {
        return Exchange::Unfinished;
    };
    let is_key = |bytes: &[u8]| {
        bytes
            .get(..KEY_BYTES)
            .or(cut.then_some(bytes))
            .is_some_and(|key| looks_random(key, cut, options))
    };
    if !is_opening(two)
        || states_length(first, one)
        || states_length(second, two)
        || !is_key(first)
        || !is_key(second)
    {
        return Exchange::No;
    }
    let (Some(three), Some(four)) = (flights.ended(2), flights.so_far(3)) else {
        return Exchange::Unfinished;
    };
    if !(56..=890).contains(&three) {
        return Exchange::No;
    }
    if four < 14 {
        return if flights.ended(3).is_some() {
            Exchange::No
        } else {
            Exchange::Unfinished
        };
    }
    let apart = flights.opening(0) == [96, one - 96] && flights.opening(2) == [20, 20];
    Exchange::of_flights([
        apart || three == 124 || flights.ended(4) == Some(68),
        flights.ended(3) == Some(82),
    ])
}

/// How sure an exchange is and by which rule.
pub(crate) const fn grade(exchange: Exchange) -> Option<(&'static str, Confidence)> {
    match exchange {
        Exchange::No | Exchange::Unfinished => None,
        Exchange::Shape => Some(("shape", Confidence::Weak)),
        Exchange::Flights(_) => Some(("flights", Confidence::Strong)),
    }
}

/// A hash (FNV-1a, 64 bits) of the first speaker's public key: one program that sends the same key to several
/// hosts gives itself away.
pub(crate) fn key_hash(first: &[u8]) -> Option<NonZeroU64> {
    let key = first.get(..KEY_BYTES)?;
    NonZeroU64::new(key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Side;
    use std::vec::Vec;

    fn random(seed: u64) -> Vec<u8> {
        let mut x = seed;
        (0..96)
            .map(|_| {
                x = x
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (x >> 56) as u8
            })
            .collect()
    }

    fn check(name: &str, lengths: &[u16], expected: Exchange) {
        let mut flights = Flights::default();
        let mut side = Side::Originator;
        for &len in lengths {
            flights.add(side, len);
            side = side.other();
        }
        let found = exchange(&flights, &random(11), &random(12), false, &Options::default());
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn client_exchanges_are_recognised_by_their_exact_sizes() {
        check(
            "glued handshake",
            &[380, 213, 124, 357],
            Exchange::Flights([true, false]),
        );
        check(
            "held back handshake",
            &[389, 452, 551, 226, 68, 20],
            Exchange::Flights([true, false]),
        );
        check(
            "without handshake",
            &[201, 368, 559, 510, 68, 1],
            Exchange::Flights([true, false]),
        );
        check(
            "handshake with the answer",
            &[350, 132, 208, 82, 253],
            Exchange::Flights([false, true]),
        );
        check(
            "smallest pads",
            &[96, 96, 124, 14],
            Exchange::Flights([true, false]),
        );
        check("padded handshake", &[300, 300, 400, 20], Exchange::Shape);
        check("scattered with pads", &[351, 351, 890, 14], Exchange::Shape);
    }

    #[test]
    fn other_request_protocols_are_not() {
        check("short opening", &[95, 213, 124, 357], Exchange::No);
        check("long opening", &[609, 213, 124, 357], Exchange::No);
        check("large reply", &[105, 65_535, 124, 20], Exchange::No);
        check("short third", &[200, 200, 55, 20], Exchange::No);
        check("long third", &[200, 200, 2001, 20], Exchange::No);
        check("short fourth", &[200, 200, 124, 13, 1], Exchange::No);
        check("one flight", &[200], Exchange::Unfinished);
        check("three flights", &[200, 200, 124], Exchange::Unfinished);
    }

    #[test]
    fn structured_keys_and_stated_lengths_are_excluded() {
        let mut flights = Flights::default();
        for (side, len) in [
            (Side::Originator, 200),
            (Side::Responder, 200),
            (Side::Originator, 124),
            (Side::Responder, 50),
        ] {
            flights.add(side, len);
        }
        let options = Options::default();
        let mut stated = random(11);
        stated[..2].copy_from_slice(&198u16.to_be_bytes());
        for (first, second) in [
            (vec![0; 96], random(12)),
            (random(11), vec![b'a'; 96]),
            (stated, random(12)),
            (random(11)[..95].to_vec(), random(12)),
        ] {
            assert_eq!(exchange(&flights, &first, &second, false, &options), Exchange::No);
        }
    }

    #[test]
    fn the_same_key_gives_the_same_hash() {
        assert_eq!(key_hash(&random(1)), key_hash(&[&random(1)[..], b"pad"].concat()));
        assert_ne!(key_hash(&random(1)), key_hash(&random(2)));
        assert_eq!(key_hash(&[0; 95]), None);
    }
}
