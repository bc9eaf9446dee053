//! Bencode (BEP 3, "bencoding"): a cursor over borrowed bytes.
//!
//! Promise: no allocation, no copy, no recursion, no panic; at most [`MAX_DEPTH`] containers inside one
//! another; a value is complete, or the answer says why not. A [`Value`] that [`parse`] returned has
//! been checked to its last byte, so walking it cannot fail.
//!
//! | first byte | value       | form                                   | source |
//! |------------|-------------|----------------------------------------|--------|
//! | `0`..`9`   | byte string | decimal length, `:`, that many bytes   | BEP 3  |
//! | `i`        | integer     | `i`, optional `-`, digits, `e`         | BEP 3  |
//! | `l`        | list        | `l`, values, `e`                       | BEP 3  |
//! | `d`        | dictionary  | `d`, pairs of string and value, `e`    | BEP 3  |
//!
//! Deliberately not demanded: sorted keys, unique keys, shortest number forms. Clients break all three.

/// Most containers inside one another. A DHT answer needs 3, a tracker answer 3, a torrent file 6; the
/// bound keeps the state of the walk in two machine words.
pub const MAX_DEPTH: u32 = 8;

/// Most digits of a byte string's length: nothing on a wire is longer than 10^9 bytes.
const MAX_LENGTH_DIGITS: usize = 9;

/// Why bytes are not a complete value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No continuation of these bytes is bencode within the bounds of this module.
    Malformed,
    /// The bytes are the beginning of a value that ends later.
    Incomplete,
}

/// One value, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer.
    Int(i64),
    /// A byte string's content.
    Bytes(&'a [u8]),
    /// A list.
    List(List<'a>),
    /// A dictionary.
    Dict(Dict<'a>),
}

impl<'a> Value<'a> {
    /// The content of a byte string.
    pub const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Int(_) | Self::List(_) | Self::Dict(_) => None,
        }
    }
    /// The value of an integer.
    pub const fn int(self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(int),
            Self::Bytes(_) | Self::List(_) | Self::Dict(_) => None,
        }
    }
    /// The list.
    pub const fn list(self) -> Option<List<'a>> {
        match self {
            Self::List(list) => Some(list),
            Self::Int(_) | Self::Bytes(_) | Self::Dict(_) => None,
        }
    }
    /// The dictionary.
    pub const fn dict(self) -> Option<Dict<'a>> {
        match self {
            Self::Dict(dict) => Some(dict),
            Self::Int(_) | Self::Bytes(_) | Self::List(_) => None,
        }
    }
}

/// A list: the bytes between `l` and its `e`, the `e` included where it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<'a> {
    body: &'a [u8],
}

impl<'a> List<'a> {
    /// The items in order.
    pub const fn items(self) -> Items<'a> {
        Items { rest: self.body }
    }
}

/// A dictionary: the bytes between `d` and its `e`, the `e` included where it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dict<'a> {
    body: &'a [u8],
}

impl<'a> Dict<'a> {
    /// The pairs in order of the bytes.
    pub const fn entries(self) -> Entries<'a> {
        Entries { rest: self.body }
    }
    /// The value of the first pair with this key. Walks from the start: for more than two or three
    /// keys use one pass over [`Dict::entries`].
    pub fn get(self, key: &[u8]) -> Option<Value<'a>> {
        self.entries()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }
}

/// Items of a [`List`]. Ends early at the cut of a cut list.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.rest.first() == Some(&b'e') {
            return None;
        }
        let (value, rest) = parse_prefix(self.rest).ok()?;
        self.rest = rest;
        Some(value)
    }
}

/// Pairs of a [`Dict`]. Ends early at the cut of a cut dictionary.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = string(self.rest).ok()?;
        let (value, rest) = parse_prefix(rest).ok()?;
        self.rest = rest;
        Some((key, value))
    }
}

/// Reads one value that is exactly these bytes.
///
/// # Errors
/// [`Stop::Malformed`] also for bytes after the value.
pub fn parse(bytes: &[u8]) -> Result<Value<'_>, Stop> {
    match parse_prefix(bytes)? {
        (value, []) => Ok(value),
        _ => Err(Stop::Malformed),
    }
}

/// Reads the value that the bytes begin with; also gives the bytes after it.
///
/// # Errors
/// Says whether more bytes could help.
pub fn parse_prefix(bytes: &[u8]) -> Result<(Value<'_>, &[u8]), Stop> {
    match bytes {
        [] => Err(Stop::Incomplete),
        [b'i', after @ ..] => integer(after).map(|(int, rest)| (Value::Int(int), rest)),
        [b'l', body @ ..] => skip(bytes).map(|rest| {
            (
                Value::List(List {
                    body: until(body, rest),
                }),
                rest,
            )
        }),
        [b'd', body @ ..] => skip(bytes).map(|rest| {
            (
                Value::Dict(Dict {
                    body: until(body, rest),
                }),
                rest,
            )
        }),
        _ => string(bytes).map(|(content, rest)| (Value::Bytes(content), rest)),
    }
}

/// Shows each pair of the dictionary that is exactly these bytes to `visit`, checking it on the way: one
/// walk where [`parse`] and [`Dict::entries`] need two. Pairs before a fault were shown; a container that
/// the end of the bytes cuts is shown with what there is of it.
///
/// # Errors
/// As [`parse`]; also [`Stop::Malformed`] for a value that is no dictionary.
pub fn visit<'a>(bytes: &'a [u8], mut visit: impl FnMut(&'a [u8], Value<'a>)) -> Result<(), Stop> {
    let Some((&b'd', mut rest)) = bytes.split_first() else {
        return Err(if bytes.is_empty() {
            Stop::Incomplete
        } else {
            Stop::Malformed
        });
    };
    loop {
        match rest {
            [b'e'] => return Ok(()),
            [b'e', ..] => return Err(Stop::Malformed),
            _ => {}
        }
        let (key, after) = string(rest)?;
        match parse_prefix(after) {
            Ok((value, after)) => {
                visit(key, value);
                rest = after;
            }
            Err(Stop::Incomplete) => {
                match after {
                    [b'd', body @ ..] => visit(key, Value::Dict(Dict { body })),
                    [b'l', body @ ..] => visit(key, Value::List(List { body })),
                    _ => {}
                }
                return Err(Stop::Incomplete);
            }
            Err(Stop::Malformed) => return Err(Stop::Malformed),
        }
    }
}

/// `all` without its tail `rest`.
fn until<'a>(all: &'a [u8], rest: &[u8]) -> &'a [u8] {
    all.get(..all.len().saturating_sub(rest.len()))
        .unwrap_or_default()
}

/// A byte string's content and what follows it. One and two digits, nearly all that there are, go a short way.
#[inline]
fn string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    let (length, after) = match bytes {
        [digit @ b'0'..=b'9', b':', after @ ..] => (usize::from(digit - b'0'), after),
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', b':', after @ ..] => {
            (usize::from(tens - b'0') * 10 + usize::from(ones - b'0'), after)
        }
        _ => length(bytes)?,
    };
    after.split_at_checked(length).ok_or(Stop::Incomplete)
}

/// A byte string's length and what follows its colon.
#[cold]
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), Stop> {
    let mut length = 0_usize;
    let mut rest = bytes;
    for digits in 0..=MAX_LENGTH_DIGITS {
        let (&byte, after) = rest.split_first().ok_or(Stop::Incomplete)?;
        match byte {
            b'0'..=b'9' => length = length * 10 + usize::from(byte - b'0'),
            b':' if digits > 0 => return Ok((length, after)),
            _ => return Err(Stop::Malformed),
        }
        rest = after;
    }
    Err(Stop::Malformed)
}

/// An integer after its `i`, and what follows its `e`.
fn integer(bytes: &[u8]) -> Result<(i64, &[u8]), Stop> {
    let (negative, mut rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let mut value = 0_i64;
    let mut digits = false;
    loop {
        let (&byte, after) = rest.split_first().ok_or(Stop::Incomplete)?;
        match byte {
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                let next = value.checked_mul(10).and_then(|tens| {
                    if negative {
                        tens.checked_sub(digit)
                    } else {
                        tens.checked_add(digit)
                    }
                });
                value = next.ok_or(Stop::Malformed)?;
                digits = true;
            }
            b'e' if digits => return Ok((value, after)),
            _ => return Err(Stop::Malformed),
        }
        rest = after;
    }
}

/// What follows the value that the bytes begin with.
fn skip(bytes: &[u8]) -> Result<&[u8], Stop> {
    let mut rest = bytes;
    let mut depth = 0_u32;
    // One bit per open container, the innermost lowest: is it a dictionary, and does a key come next.
    let mut dicts = 0_u32;
    let mut keys = 0_u32;
    loop {
        let (&byte, after) = rest.split_first().ok_or(Stop::Incomplete)?;
        let in_dict = dicts & 1 != 0;
        let key_next = keys & 1 != 0;
        rest = match byte {
            b'0'..=b'9' => string(rest)?.1,
            b'e' if depth > 0 && in_dict == key_next => {
                depth -= 1;
                dicts >>= 1;
                keys >>= 1;
                after
            }
            _ if key_next => return Err(Stop::Malformed),
            b'i' => integer(after)?.1,
            b'd' | b'l' => {
                if depth == MAX_DEPTH {
                    return Err(Stop::Malformed);
                }
                let dict = u32::from(byte == b'd');
                depth += 1;
                dicts = dicts << 1 | dict;
                keys = keys << 1 | dict;
                rest = after;
                continue;
            }
            _ => return Err(Stop::Malformed),
        };
        if depth == 0 {
            return Ok(rest);
        }
        // A finished value or key: a dictionary turns from key to value and back, a list never.
        keys ^= dicts & 1;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::{string::String, vec, vec::Vec};

    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = vec![b'l'; depth];
        bytes.resize(2 * depth, b'e');
        bytes
    }

    #[test]
    fn a_value_is_complete_or_says_why_not() {
        let deepest = nested(MAX_DEPTH as usize);
        let too_deep = nested(MAX_DEPTH as usize + 1);
        let table: &[(&[u8], Result<(), Stop>)] = &[
            (b"de", Ok(())),
            (b"le", Ok(())),
            (b"0:", Ok(())),
            (b"4:spam", Ok(())),
            (b"04:spam", Ok(())),
            (b"i0e", Ok(())),
            (b"i-9223372036854775808e", Ok(())),
            (b"d1:bi1e1:ai2ee", Ok(())),
            (b"d1:ad2:id3:abce1:q4:ping1:t2:aa1:y1:qe", Ok(())),
            (b"ld1:ali1eeei2e0:e", Ok(())),
            (&deepest, Ok(())),
            (&too_deep, Err(Stop::Malformed)),
            (b"", Err(Stop::Incomplete)),
            (b"4:spa", Err(Stop::Incomplete)),
            (b"4", Err(Stop::Incomplete)),
            (b"i12", Err(Stop::Incomplete)),
            (b"d1:a", Err(Stop::Incomplete)),
            (b"ie", Err(Stop::Malformed)),
            (b"i-e", Err(Stop::Malformed)),
            (b"i9223372036854775808e", Err(Stop::Malformed)),
            (b"di1e1:ae", Err(Stop::Malformed)),
            (b"d1:ae", Err(Stop::Malformed)),
            (b"d1:ad1:be", Err(Stop::Malformed)),
            (b"1234567890:", Err(Stop::Malformed)),
            (b":", Err(Stop::Malformed)),
            (b"e", Err(Stop::Malformed)),
            (b"dee", Err(Stop::Malformed)),
            (b"$6\r\nfoobar\r\n", Err(Stop::Malformed)),
        ];
        for (bytes, expected) in table {
            let name = String::from_utf8_lossy(bytes);
            assert_eq!(parse(bytes).map(|_| ()), *expected, "{name}");
            if bytes.first() == Some(&b'd') {
                assert_eq!(visit(bytes, |_, _| {}), *expected, "visit {name}");
            }
        }
    }

    #[test]
    fn every_cut_of_a_complete_value_is_incomplete() {
        let bytes = b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:eli201e3:whye1:q4:ping1:t2:aa1:y1:qe";
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Err(Stop::Incomplete), "cut at {cut}");
            assert_eq!(
                visit(&bytes[..cut], |_, _| {}),
                Err(Stop::Incomplete),
                "visit cut at {cut}"
            );
        }
        assert!(parse(bytes).is_ok());
    }

    #[test]
    fn pairs_and_items_come_in_order() {
        let dict = parse(b"d1:bl1:xi-3ee1:ad1:ci7eee")
            .ok()
            .and_then(Value::dict)
            .expect("a dictionary");
        let keys: Vec<_> = dict.entries().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"b", b"a"]);
        let list = dict.get(b"b").and_then(Value::list).expect("a list");
        let items: Vec<_> = list.items().collect();
        assert_eq!(items, [Value::Bytes(b"x"), Value::Int(-3)]);
        let inner = dict.get(b"a").and_then(Value::dict).expect("a dictionary");
        assert_eq!(inner.get(b"c").and_then(Value::int), Some(7));
        assert_eq!(inner.get(b"b"), None);
    }

    #[test]
    fn what_follows_a_value_is_given_back() {
        let (value, rest) = parse_prefix(b"d8:msg_typei1eeRAW").expect("a value");
        assert!(value.dict().is_some());
        assert_eq!(rest, b"RAW");
    }

    #[test]
    fn a_cut_container_is_visited_with_what_there_is() {
        let mut id = None;
        let stop = visit(b"d1:rd2:id3:abc5:nodes26:xx", |key, value| {
            assert_eq!(key, b"r");
            id = value.dict().and_then(|r| r.get(b"id")).and_then(Value::bytes);
        });
        assert_eq!(stop, Err(Stop::Incomplete));
        assert_eq!(id, Some(&b"abc"[..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_without_panic(bytes in proptest::collection::vec(
            prop_oneof![Just(b'd'), Just(b'l'), Just(b'e'), Just(b'i'), Just(b'1'), Just(b':'), any::<u8>()], 0..64)
        ) {
            let visited = visit(&bytes, |_, value| {
                if let Value::Dict(dict) = value { dict.entries().for_each(drop); }
                if let Value::List(list) = value { list.items().for_each(drop); }
            });
            if bytes.first() == Some(&b'd') {
                prop_assert_eq!(visited.is_ok(), parse(&bytes).is_ok());
            }
        }
    }
}
