//! Reading numbers out of payload bytes: every read is checked, none can panic.

use crate::InfoHash;

/// The big-endian 32-bit integer at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// `N` bytes at `at`.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The byte at `at`.
pub(crate) fn byte_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// An info-hash of 40 hexadecimal digits.
pub(crate) fn hexadecimal(digits: &[u8]) -> Option<InfoHash> {
    let digits: &[u8; 40] = digits.try_into().ok()?;
    let mut hash = [0; 20];
    for (byte, [high, low]) in hash.iter_mut().zip(digits.as_chunks::<2>().0) {
        let nibble = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(hash)
}

/// Whether one of two pairs of bytes stands anywhere. Many places are looked at before the outcome is asked for, so
/// that compilers use vectors; to make a searcher of `memchr` takes as long as this takes for a packet.
pub(crate) fn holds_pair(bytes: &[u8], [[a, b], [c, d]]: [[u8; 2]; 2]) -> bool {
    const TOGETHER: usize = 128;
    let is_pair =
        |(&first, &second): (&u8, &u8)| ((first == a) & (second == b)) | ((first == c) & (second == d));
    let seconds = bytes.get(1..).unwrap_or_default().chunks(TOGETHER);
    bytes.chunks(TOGETHER).zip(seconds).any(|(firsts, seconds)| {
        firsts
            .iter()
            .zip(seconds)
            .fold(false, |found, pair| found | is_pair(pair))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pair_is_found_wherever_it_stands(
            len in 0_usize..400, places in prop::collection::vec((0_usize..400, 0_u8..4), 0..4),
        ) {
            let pairs = [[1, 2], [0, 0]];
            let mut bytes = vec![9; len];
            for (place, byte) in places {
                bytes.iter_mut().skip(place).take(2).for_each(|here| *here = byte);
                bytes.iter_mut().skip(place + 1).take(1).for_each(|here| *here = byte / 2 * 2);
            }
            let expected = bytes.windows(2).any(|two| pairs.iter().any(|pair| pair == two));
            prop_assert_eq!(holds_pair(&bytes, pairs), expected);
        }
    }
}
