//! Whether bytes look uniformly random: the premise of every rule about encrypted streams.
//!
//! | statistic of 96 uniform bytes | expectation | limit (about 99.9 % of uniform blocks pass all) |
//! |---|---|---|
//! | set bits per byte | 4.000, sd 0.144 | 4 ± 4 sd |
//! | distinct values | median 80, 0.1 % point 70 | at least 65 |
//! | highest multiplicity of a value | 2 to 4 | at most 5 |
//! | nibble chi-square, 15 degrees of freedom | 15 | below 45 |
//! | longest printable run | 3 to 8 | at most 12 |
//! | Shannon entropy | median 6.24, never above log2 96 = 6.585 | at least the option's threshold |
//!
//! Wu et al., USENIX Security 2023, describe the exemption tests in practical use (bits per byte, share and
//! runs of printable bytes); the limits here are tighter because 96 bytes are looked at, not a packet.
//! Proves nothing alone: compressed data, key exchanges and every modern protocol look random, too.

use crate::{Options, Sensitivity};

/// Bytes of one sample.
pub const SAMPLE_BYTES: usize = 96;
/// Least bytes of a sample where the capture cut the payload, which is longer: 24 random bytes still differ from
/// text and counters. A capture length of 96 leaves 30 of a TCP segment.
const LEAST_OF_CUT: u16 = 24;
/// Longest run of printable bytes.
const LONGEST_TEXT: usize = 12;

/// Shannon entropy of `bytes` in bits per byte, by exact counts of the 256 values.
pub fn shannon(bytes: &[u8]) -> f32 {
    let mut counts = [0u16; 256];
    for &byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count = count.saturating_add(1);
        }
    }
    entropy_of(&counts, bytes.len())
}

fn entropy_of(counts: &[u16; 256], total: usize) -> f32 {
    if total == 0 {
        return 0.0;
    }
    let mut sum = 0.0;
    for &count in counts {
        if count > 1 {
            sum += f32::from(count) * log2(f32::from(count));
        }
    }
    let total = u16::try_from(total).map_or(f32::MAX, f32::from);
    log2(total) - sum / total
}

/// log2 of a finite `x` of at least 1, absolute error below 0.000_1: `core` has no logarithm.
fn log2(x: f32) -> f32 {
    const EXPONENT_BIAS: u32 = 127;
    let bits = x.to_bits();
    let exponent = (bits >> 23).saturating_sub(EXPONENT_BIAS);
    let mantissa = f32::from_bits((bits & 0x007F_FFFF) | 0x3F80_0000);
    // ln m = 2 artanh((m - 1) / (m + 1)); |argument| <= 1/3, so five terms leave less than 1e-6.
    let y = (mantissa - 1.0) / (mantissa + 1.0);
    let y2 = y * y;
    let ln = 2.0 * y * (1.0 + y2 * (1.0 / 3.0 + y2 * (1.0 / 5.0 + y2 * (1.0 / 7.0 + y2 / 9.0))));
    u8::try_from(exponent).map_or(f32::MAX, f32::from) + ln * core::f32::consts::LOG2_E
}

/// Bytes that a sample has at least; `cut` says that the capture ended before its payload did.
pub(crate) fn least_sample(cut: bool, options: &Options) -> u16 {
    let least = options.min_payload.min(96);
    if cut { least.min(LEAST_OF_CUT) } else { least }
}

/// Whether the first [`SAMPLE_BYTES`] of `bytes` (fewer when there are fewer) look uniformly random.
/// False for less than `options.min_payload` bytes, which no statistic can judge (24 where the capture has `cut`
/// a longer payload), and always false when the operator wants structure only.
pub fn looks_random(bytes: &[u8], cut: bool, options: &Options) -> bool {
    let sample = bytes.get(..SAMPLE_BYTES).unwrap_or(bytes);
    let Ok(len) = u16::try_from(sample.len()) else {
        return false;
    };
    if len == 0 || len < least_sample(cut, options) {
        return false;
    }
    // Deviations allowed of the number of set bits, in standard deviations of sqrt(8 n / 4).
    let z = match options.sensitivity {
        Sensitivity::Strict => return false,
        Sensitivity::Balanced => 4.0,
        Sensitivity::Aggressive => 4.6,
    };
    let ones = set_bits(sample);
    let n = f32::from(len);
    let deviation = f32::from(u16::try_from(ones).unwrap_or(u16::MAX)) - 4.0 * n;
    if deviation * deviation > z * z * 2.0 * n {
        return false;
    }
    let Some(counts) = Counts::of(sample) else {
        return false;
    };
    // 65 of 96; a shorter sample repeats less.
    let [distinct, ..] = counts.at_least;
    if u32::from(distinct) * 96 < u32::from(len) * 65 || has_printable_run(sample) {
        return false;
    }
    // The sum of (count - n / 8)^2 / (n / 8) over both 16 nibbles of a byte, multiplied out.
    let squares: u32 = counts
        .nibbles
        .iter()
        .map(|&count| u32::from(count) * u32::from(count))
        .sum();
    let len = u32::from(len);
    if 8 * squares >= len * (45 + 2 * len) {
        return false;
    }
    // The threshold is stated for 96 bytes: log2 n bounds the entropy of a shorter sample.
    let threshold = options.entropy_threshold - (log2(96.0) - log2(n)).max(0.0);
    log2(n) - counts.repetition() / n >= threshold
}

/// Number of bits that are set, eight bytes at a time.
fn set_bits(sample: &[u8]) -> u32 {
    let (words, rest) = sample.as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones());
    words.chain(rest.iter().map(|byte| byte.count_ones())).sum()
}

/// What the values of one sample say. All counts fit seven bits, because a sample has at most 96 bytes.
struct Counts {
    /// How many values occur at least once, twice and so on, to five times.
    at_least: [u8; 5],
    /// Occurrences of each nibble, upper and lower.
    nibbles: [u8; 16],
}

/// Eight bytes of 1.
const ONES: u64 = u64::MAX / 0xff;

/// By occurrences of a value: the byte of [`Counts::at_least`], in a word, that one more of them adds to.
const NTH: [u64; 6] = [0, 1, 1 << 8, 1 << 16, 1 << 24, 1 << 32];

impl Counts {
    /// `None` when a value occurs more than five times.
    fn of(sample: &[u8]) -> Option<Self> {
        let mut counts = [0u8; 256];
        let mut at_least = 0;
        for &byte in sample {
            let count = counts.get_mut(usize::from(byte))?;
            *count += 1;
            at_least += NTH.get(usize::from(*count))?;
        }
        let mut lower = [0u64; 2];
        let mut nibbles = [0u8; 16];
        for (row, upper) in counts.as_chunks::<16>().0.iter().zip(&mut nibbles) {
            let [left, right] = words(row);
            let [lower_left, lower_right] = &mut lower;
            (*lower_left, *lower_right) = (*lower_left + left, *lower_right + right);
            *upper = sum(left + right);
        }
        let lower = lower.map(u64::to_le_bytes);
        for (nibble, lower) in nibbles.iter_mut().zip(lower.as_flattened()) {
            *nibble += lower;
        }
        let [at_least @ .., _, _, _] = u64::to_le_bytes(at_least);
        Some(Self { at_least, nibbles })
    }

    /// Sum of n log2 n over the numbers of occurrences: each further occurrence adds the difference to the one before.
    fn repetition(&self) -> f32 {
        let [_, two, three, four, five] = self.at_least.map(f32::from);
        two * 2.0 + three * 2.754_887_5 + four * 3.245_112_5 + five * 3.609_640_5
    }
}

fn words(row: &[u8; 16]) -> [u64; 2] {
    let whole = u128::from_le_bytes(*row);
    // The lower and the upper half.
    [whole as u64, (whole >> 64) as u64]
}

/// Sum of the bytes of a word, below 256.
const fn sum(word: u64) -> u8 {
    (word.wrapping_mul(ONES) >> 56) as u8
}

/// Whether more than [`LONGEST_TEXT`] printable bytes follow each other. Such a run covers one of the places that are
/// looked at first.
fn has_printable_run(sample: &[u8]) -> bool {
    let printable = |byte: &&u8| (0x20..0x7F).contains(*byte);
    (LONGEST_TEXT..sample.len())
        .step_by(LONGEST_TEXT + 1)
        .any(|place| {
            let (before, after) = sample.split_at_checked(place).unwrap_or_default();
            let after = after.iter().take_while(printable).count();
            after > 0 && before.iter().rev().take_while(printable).count() + after > LONGEST_TEXT
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// xorshift64*: uniform bytes for tests without a dependency.
    fn uniform(seed: u64, n: usize) -> Vec<u8> {
        let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..n)
            .map(|_| {
                x ^= x >> 12;
                x ^= x << 25;
                x ^= x >> 27;
                (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
            })
            .collect()
    }

    #[test]
    fn uniform_blocks_pass_at_least_99_in_100() {
        let options = Options::default();
        for len in [24, 30, 60, 96, 600] {
            let passed = (1..=2000)
                .filter(|&s| looks_random(&uniform(s, len), len < 60, &options))
                .count();
            assert!(passed >= 1980, "{passed} of 2000 blocks of {len} bytes");
        }
    }

    #[test]
    fn structured_blocks_do_not_pass() {
        let options = Options::default();
        let base64 = b"TWFueSBoYW5kcyBtYWtlIGxpZ2h0IHdvcmsuIFRoZSBxdWljayBicm93biBmb3gganVtcHMgb3ZlciB0aGUgbGF6eSBkb2cgYW5k";
        let mut half = uniform(7, 48);
        half.extend([0; 48]);
        for (name, bytes) in [
            ("zeros", &[0u8; 96][..]),
            ("text", &b"GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: some browser or another\r\nAccept: */*\r\n\r\n"[..]),
            ("base64", &base64[..]),
            ("half zeros", &half[..]),
            ("too short", &uniform(1, 59)[..]),
            ("empty", &[][..]),
        ] {
            assert!(!looks_random(bytes, false, &options), "{name}");
        }
    }

    #[test]
    fn strict_sensitivity_never_says_random() {
        let mut options = Options::default();
        options.sensitivity = Sensitivity::Strict;
        assert!(!looks_random(&uniform(3, 96), false, &options));
    }

    #[test]
    fn entropy_agrees_with_known_values() {
        let all: Vec<u8> = (0..=255).collect();
        for (bytes, bits) in [
            (&all[..], 8.0),
            (&[5u8; 40][..], 0.0),
            (&[0u8, 1, 2, 3][..], 2.0),
            (&[][..], 0.0),
        ] {
            assert!((shannon(bytes) - bits).abs() < 0.001, "{bits}");
        }
    }

    /// The table of the module's documentation, literally.
    fn by_the_table(sample: &[u8]) -> bool {
        let count = |value: u8| sample.iter().filter(|byte| **byte == value).count();
        let nibble = |value: u8| {
            let both = sample.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            both.filter(|nibble| *nibble == value).count() as f32
        };
        let n = sample.len() as f32;
        let ones: u32 = sample.iter().map(|byte| byte.count_ones()).sum();
        let distinct = (0..=255).filter(|value| count(*value) > 0).count() as f32;
        let is_text = |run: &[u8]| run.iter().all(|byte| (0x20..0x7F).contains(byte));
        let squares: f32 = (0..16).map(|value| (nibble(value) - n / 8.0).powi(2)).sum();
        (ones as f32 - 4.0 * n).powi(2) <= 16.0 * 2.0 * n
            && distinct / n >= 65.0 / 96.0
            && (0..=255).all(|value| count(value) <= 5)
            && !sample.windows(13).any(is_text)
            && squares * 8.0 < 45.0 * n
            && shannon(sample) >= Options::default().entropy_threshold - (96.0 / n).log2()
    }

    proptest! {
        #[test]
        fn the_table_is_kept(
            seed: u64, len in 60_usize..=96, mask in prop::sample::select(vec![0xff_u8, 0x7f, 0xbf, 0xf7]),
            text in 0_usize..30, at in 0_usize..60, repeated in 0_usize..7,
        ) {
            let mut bytes: Vec<u8> = uniform(seed, len).into_iter().map(|byte| byte & mask).collect();
            let end = bytes.len().min(at + text);
            bytes[at..end].iter_mut().for_each(|byte| *byte = 0x20 + *byte % 0x5F);
            bytes[..repeated].fill(7);
            prop_assert_eq!(looks_random(&bytes, false, &Options::default()), by_the_table(&bytes));
        }
    }
}
