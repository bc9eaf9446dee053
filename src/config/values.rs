//! How values are written: lists as a sequence or separated by commas, times with a unit, names as text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};

use btblocker_detectors::{Class, Technique, signature_is_evidence};

use super::{ClassName, SignatureId, TechniqueName};
use crate::ban::Timeout;

/// A time: whole seconds, or a number with `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let wrong = || format!("{text:?} is no time (18000, 90s, 30m, 5h, 2d)");
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// The times of bans in words.
pub(super) const BAN_TIMES: &str = "1s to 2147483s (24.8 days)";

/// Whether the kernel's sets hold a ban for so long.
pub(super) fn is_ban_time(time: Duration) -> bool {
    const { assert!(Timeout::MAX_SECS == 2_147_483) };
    (Duration::from_secs(1)..=Duration::from_secs(Timeout::MAX_SECS.into())).contains(&time)
}

/// A time that a ban may last.
///
/// # Errors
/// As [`parse_duration`], and what is allowed.
pub fn parse_ban_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if is_ban_time(time) {
        Ok(time)
    } else {
        Err(format!("{text} is out of range, {BAN_TIMES} is allowed"))
    }
}

/// The shortest exact way to write a time.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0".to_owned();
    }
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

/// A text or a number, as text.
struct Scalar(String);

impl<'de> serde::Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
        }
        d.deserialize_any(Any)
    }
}

/// A text, or a number in its place, that a type reads and writes itself.
pub(super) mod text {
    use super::*;

    pub(in super::super) fn serialize<T: fmt::Display, S: Serializer>(
        value: &T,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        let Scalar(text) = serde::Deserialize::deserialize(d)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A time.
pub(super) mod duration {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format_duration(*value))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        struct Time;
        impl Visitor<'_> for Time {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as 18000, 90s, 30m, 5h or 2d")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                parse_duration(text).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, secs: u64) -> Result<Duration, E> {
                Ok(Duration::from_secs(secs))
            }
            fn visit_i64<E: de::Error>(self, secs: i64) -> Result<Duration, E> {
                let wrong = || E::custom(format!("{secs} is no time: it is negative"));
                u64::try_from(secs).map(Duration::from_secs).map_err(|_| wrong())
            }
        }
        d.deserialize_any(Time)
    }
}

/// A sequence, or a text whose parts are separated by commas.
pub(super) mod list {
    use super::*;

    pub(in super::super) fn serialize<T: fmt::Display, S: Serializer>(
        list: &[T],
        s: S,
    ) -> Result<S::Ok, S::Error> {
        let mut sequence = s.serialize_seq(Some(list.len()))?;
        for entry in list {
            sequence.serialize_element(&entry.to_string())?;
        }
        sequence.end()
    }

    pub(in super::super) fn deserialize<'de, T, D>(d: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        struct List<T>(std::marker::PhantomData<T>);
        fn entry<T: FromStr<Err: fmt::Display>, E: de::Error>(text: &str) -> Result<T, E> {
            text.parse()
                .map_err(|error| E::custom(format!("{text:?}: {error}")))
        }
        impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for List<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or a text with commas")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                text.split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(entry)
                    .collect()
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Vec<T>, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<T>, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(part) = sequence.next_element::<Scalar>()? {
                    list.push(entry(&part.0)?);
                }
                Ok(list)
            }
        }
        d.deserialize_any(List(std::marker::PhantomData))
    }
}

/// A number with the digits that it was written with: 32 bits made 64 have more.
pub(super) fn shortest<S: Serializer>(value: &f32, s: S) -> Result<S::Ok, S::Error> {
    let written = value.to_string().parse();
    s.serialize_f64(written.unwrap_or_else(|_| f64::from(*value)))
}

/// `--no-setup` is the opposite of the key `setup`.
pub(super) fn negated<S: Serializer>(value: &Option<bool>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_bool(!value.unwrap_or(false))
}

impl FromStr for ClassName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Class::ALL
            .iter()
            .copied()
            .find(|class| class.name() == text)
            .map(Self);
        found.ok_or_else(|| {
            let names: Vec<_> = Class::ALL.iter().map(|class| class.name()).collect();
            format!("no such class, one of {} is needed", names.join(", "))
        })
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl FromStr for TechniqueName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Technique::ALL.iter().find(|technique| technique.name() == text);
        found.copied().map(Self).ok_or_else(|| {
            let names: Vec<_> = Technique::ALL.iter().map(|technique| technique.name()).collect();
            format!("no such technique, one of {} is needed", names.join(", "))
        })
    }
}

impl fmt::Display for TechniqueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl FromStr for SignatureId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let signature = btblocker_signatures::by_id(text).ok_or("no such signature")?;
        if !signature_is_evidence(text) {
            return Err(
                "this signature is no evidence by itself, but a part of another technique; disable switches that off"
                    .to_owned(),
            );
        }
        Ok(Self(signature.id))
    }
}

impl fmt::Display for SignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, secs) in [
            ("18000", 18_000),
            ("90s", 90),
            ("30m", 1_800),
            ("5h", 18_000),
            ("2d", 172_800),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        assert_eq!(parse_duration("5ms"), Ok(Duration::from_millis(5)));
        for text in ["", "h", "-5", "5 weeks", "99999999999999999999s", "1.5h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for (text, good) in [
            ("0", false),
            ("999ms", false),
            ("1s", true),
            ("2147483", true),
            ("25d", false),
        ] {
            assert_eq!(parse_ban_time(text).is_ok(), good, "{text}");
        }
        for text in ["5h", "90s", "2d", "7ms", "61s", "0"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
