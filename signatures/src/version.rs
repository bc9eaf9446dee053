//! Decoding of the version numbers that clients write into peer-ids and DHT tags.

use core::fmt::Write;

use crate::text::Text;
use crate::words::VersionStyle;

/// The version in `bytes`; the bytes themselves, as far as they are a word, where they do not follow the
/// style. Empty when there is none.
pub(crate) fn decode(style: VersionStyle, bytes: &[u8]) -> Text {
    let mut text = Text::default();
    let followed = match style {
        VersionStyle::None => return text,
        VersionStyle::Text => None,
        VersionStyle::Dotted => dotted(bytes, true, &mut text),
        VersionStyle::Triple => dotted(bytes, false, &mut text),
        VersionStyle::Pairs => pairs(bytes).and_then(|(a, b)| write!(text, "{a}.{b}").ok()),
        VersionStyle::Hundredths => pairs(bytes).and_then(|(a, b)| write!(text, "{a}.{b:02}").ok()),
        VersionStyle::Transmission => transmission(bytes, &mut text),
        VersionStyle::Dashes => dashes(bytes, &mut text),
        VersionStyle::Bytes | VersionStyle::Nibbles | VersionStyle::ZeroNibbles | VersionStyle::Build => {
            return binary(style, bytes);
        }
    };
    match followed {
        Some(()) => text,
        None => Text::word(bytes),
    }
}

/// Value of a digit, or of a capital letter that goes on from 10.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'Z' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Three numbers of one digit, then a fourth that is left out when 0. It is written as a number only if
/// it is a decimal digit, or a capital letter and `letters` is set.
fn dotted(bytes: &[u8], letters: bool, text: &mut Text) -> Option<()> {
    let ([a, b, c], rest) = bytes.split_first_chunk()?;
    write!(text, "{}.{}.{}", digit(*a)?, digit(*b)?, digit(*c)?).ok()?;
    match rest.first() {
        None | Some(b'0' | b'-') => {}
        Some(last) => match digit(*last).filter(|number| letters || *number < 10) {
            Some(number) => write!(text, ".{number}").ok()?,
            None => text.push(*last),
        },
    }
    Some(())
}

/// Two decimal numbers of two digits.
fn pairs(bytes: &[u8]) -> Option<(u8, u8)> {
    let digits = bytes.first_chunk::<4>()?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let [a, b, c, d] = digits.map(|digit| digit - b'0');
    Some((a * 10 + b, c * 10 + d))
}

/// Transmission up to 3 writes major, two digits minor, and the kind of build; 4 and later write major,
/// minor, patch, and the kind of build; before 0.10 only the last digits were used.
fn transmission(bytes: &[u8], text: &mut Text) -> Option<()> {
    let [a, b, c, kind] = *bytes.first_chunk()?;
    match (a, b, c) {
        (b'0', b'0', b'0') => write!(text, "0.{}", digit(kind)?).ok()?,
        (b'0', b'0', _) => write!(text, "0.{}{}", digit(c)?, digit(kind)?).ok()?,
        (b'0'..=b'3', ..) => write!(text, "{}.{}{}", digit(a)?, digit(b)?, digit(c)?).ok()?,
        _ => write!(text, "{}.{}.{}", digit(a)?, digit(b)?, digit(c)?).ok()?,
    }
    if matches!(kind, b'X' | b'Z' | b'B') {
        text.push(b'+');
    }
    Some(())
}

/// At least two decimal numbers, each followed by a dash; the dash becomes a point.
fn dashes(bytes: &[u8], text: &mut Text) -> Option<()> {
    let mut numbers = bytes.split(|byte| *byte == b'-');
    let number = |part: &&[u8]| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    let first = numbers.next().filter(number)?;
    let second = numbers.next().filter(number)?;
    first.iter().for_each(|byte| text.push(*byte));
    text.push(b'.');
    second.iter().for_each(|byte| text.push(*byte));
    if let Some(third) = numbers.next().filter(number) {
        text.push(b'.');
        third.iter().for_each(|byte| text.push(*byte));
    }
    Some(())
}

/// The styles that write a version in two bytes.
fn binary(style: VersionStyle, bytes: &[u8]) -> Text {
    let mut text = Text::default();
    if let Some([a, b]) = bytes.first_chunk() {
        let (high, low) = (b >> 4, b & 15);
        // Writing to a `Text` cannot fail.
        let _ = match style {
            VersionStyle::Nibbles => write!(text, "{a}.{high}.{low}"),
            VersionStyle::ZeroNibbles => write!(text, "0.{a}.{high}"),
            VersionStyle::Build => write!(text, "build {}", u16::from_be_bytes([*a, *b])),
            _ => write!(text, "{a}.{b:02}"),
        };
    }
    text
}
