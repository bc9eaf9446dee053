//! Messages of the extension protocol.                                     Spec: BEP 10, 5, 9, 11, 55.
//!
//! | message | form behind the length | gives |
//! |---|---|---|
//! | extended handshake | `14 00`, dictionary with `m` | `v` names the client, `p` its listening port |
//! | peer exchange | `14 id`, dictionary with `added` or `added6` | peers |
//! | metadata | `14 id`, dictionary that begins with `msg_type` 0 to 2 and has `piece` | |
//! | other | the same without `piece`: comments (`ut_comment` of µTorrent) | |
//! | holepunch | `14 id`, type 0 to 2, family 0 or 1, address, port, error code; exact length; id as the receiver announced it | a peer |
//! | port | `09`, port | the speaker's DHT port |
//!
//! Conclusive: length, id and a whole dictionary with its keys. The names of extensions in text are nothing.
//! `lt_donthave` and `upload_only` say nothing that the extended handshake did not say, so they are not read.

use memchr::memmem;

use crate::bencode::{self, Dict, Value};
use crate::peer_message::extended_handshakes;
use crate::wire::{array_at, byte_at, u32_at};
use crate::{Client, Confidence, Endpoint, Evidence, Findings, Learned, LearnedFrom, Side, Technique};

/// Most messages that are looked at in one buffer: each may be read to the buffer's end.
const MOST_CANDIDATES: usize = 4;

/// Extension ids that the two ends announced, by side: 0 stands for none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Announced {
    holepunch: [u8; 2],
}

impl Announced {
    /// None announced.
    pub(crate) const fn new() -> Self {
        Self { holepunch: [0; 2] }
    }
}

/// Reads one message, `body` being what follows its length field; what it teaches goes to `findings`, its
/// evidence to the caller.
pub(crate) fn message(
    body: &[u8],
    speaker: Side,
    announced: &mut Announced,
    findings: &mut Findings,
) -> Option<Evidence> {
    let evidence = |technique, rule| Evidence::new(technique, rule, Confidence::Conclusive, speaker);
    match body {
        [9, high, low] => {
            listens(i64::from(u16::from_be_bytes([*high, *low])), speaker, findings);
            None
        }
        [0x14, 0, dictionary @ ..] => {
            let Ok(Value::Dict(entries)) = bencode::parse(dictionary) else {
                return None;
            };
            handshake(entries, speaker, announced, findings)
                .map(|client| evidence(Technique::Extension, "extended-handshake").by(client))
        }
        [0x14, _, dictionary @ ..] if dictionary.starts_with(b"d") => {
            let (Value::Dict(entries), _) = bencode::parse_prefix(dictionary).ok()? else {
                return None;
            };
            let kind = entries.get(b"msg_type").and_then(Value::int);
            if kind.is_some_and(|kind| (0..=2).contains(&kind)) {
                // Comments and other extensions number their messages alike.
                return Some(match entries.get(b"piece").and_then(Value::int) {
                    Some(_) => evidence(Technique::Metadata, "metadata"),
                    None => evidence(Technique::Extension, "message"),
                });
            }
            exchange(entries, speaker, findings).then(|| evidence(Technique::Pex, "peer-exchange"))
        }
        [0x14, id, rest @ ..] if *id != 0 && announced.holepunch.get(speaker.other().index()) == Some(id) => {
            holepunch(rest, speaker, findings).then(|| evidence(Technique::Holepunch, "holepunch"))
        }
        _ => None,
    }
}

/// Finds whole messages anywhere in `bytes` and gives each one's evidence to `found`.
pub(crate) fn find(
    bytes: &[u8],
    speaker: Side,
    announced: &mut Announced,
    findings: &mut Findings,
    mut found: impl FnMut(&mut Findings, Evidence),
) {
    let handshakes = extended_handshakes(bytes, MOST_CANDIDATES);
    let exchanges = memmem::find_iter(bytes, b"d5:added").map(|at| at.checked_sub(6));
    let metadata = memmem::find_iter(bytes, b"d8:msg_typei").map(|at| at.checked_sub(6));
    for at in handshakes.chain(exchanges.chain(metadata).take(MOST_CANDIDATES).flatten()) {
        let Some(length @ 3..0x1_0000) = u32_at(bytes, at) else {
            continue;
        };
        let body = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.get(at + 4..)?.get(..length));
        if let Some(evidence) = body.and_then(|body| message(body, speaker, announced, findings)) {
            found(findings, evidence);
        }
    }
}

fn handshake(
    entries: Dict<'_>,
    speaker: Side,
    announced: &mut Announced,
    findings: &mut Findings,
) -> Option<Client> {
    let (mut has_map, mut client) = (false, Client::Unknown);
    for (key, value) in entries.entries() {
        match (key, value) {
            (b"m", Value::Dict(map)) => {
                has_map = true;
                let id = map
                    .get(b"ut_holepunch")
                    .and_then(Value::int)
                    .and_then(|id| u8::try_from(id).ok());
                if let (Some(id), Some(slot)) = (id, announced.holepunch.get_mut(speaker.index())) {
                    *slot = id;
                }
            }
            (b"v", Value::Bytes(name)) => client = Client::name(name),
            (b"p", Value::Int(port)) => listens(port, speaker, findings),
            _ => {}
        }
    }
    has_map.then_some(client)
}

fn listens(port: i64, speaker: Side, findings: &mut Findings) {
    if let Ok(port @ 1..) = u16::try_from(port) {
        let endpoint = Endpoint { address: 0, port };
        findings.learn(Learned {
            endpoint,
            from: LearnedFrom::ListenPort,
            told: speaker.other(),
        });
    }
}

fn exchange(entries: Dict<'_>, speaker: Side, findings: &mut Findings) -> bool {
    let mut is_exchange = false;
    let mut learn = |endpoint: Endpoint| {
        if endpoint.port != 0 {
            findings.learn(Learned {
                endpoint,
                from: LearnedFrom::Pex,
                told: speaker.other(),
            });
        }
    };
    for (key, value) in entries.entries() {
        match (key, value) {
            (b"added", Value::Bytes(peers)) => {
                is_exchange = true;
                peers
                    .as_chunks::<6>()
                    .0
                    .iter()
                    .for_each(|&peer| learn(Endpoint::compact4(peer)));
            }
            (b"added6", Value::Bytes(peers)) => {
                is_exchange = true;
                peers
                    .as_chunks::<18>()
                    .0
                    .iter()
                    .for_each(|&peer| learn(Endpoint::compact6(peer)));
            }
            _ => {}
        }
    }
    is_exchange
}

/// Behind the id: type, family, address, port, and with type 2 an error code of 4 bytes.
fn holepunch(rest: &[u8], speaker: Side, findings: &mut Findings) -> bool {
    let (Some(kind @ 0..=2), Some(family)) = (byte_at(rest, 0), byte_at(rest, 1)) else {
        return false;
    };
    let error = if rest.len() == 8 || rest.len() == 20 { 0 } else { 4 };
    let endpoint = match (family, rest.len() - error) {
        (0, 8) => array_at(rest, 2).map(Endpoint::compact4),
        (1, 20) => array_at(rest, 2).map(Endpoint::compact6),
        _ => None,
    };
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.port != 0) else {
        return false;
    };
    if kind == 1 {
        findings.learn(Learned {
            endpoint,
            from: LearnedFrom::Holepunch,
            told: speaker.other(),
        });
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const SIDE: Side = Side::Originator;

    fn framed(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    fn check(name: &str, body: &[u8], expected: Option<Technique>, learned: &[(LearnedFrom, u16)]) {
        let mut findings = Findings::new();
        let mut announced = Announced { holepunch: [0, 4] };
        let found = message(body, SIDE, &mut announced, &mut findings);
        assert_eq!(found.map(|e| e.technique), expected, "{name}");
        let ports: Vec<_> = findings.learned().map(|l| (l.from, l.endpoint.port)).collect();
        assert_eq!(ports, learned, "{name}");
        assert!(findings.learned().all(|l| l.told == Side::Responder), "{name}");
    }

    #[test]
    fn messages_are_told_apart() {
        let handshake = b"\x14\0d1:md12:ut_holepunchi4e6:ut_pexi1ee1:pi6881e1:v5:abcd1e";
        check(
            "handshake",
            handshake,
            Some(Technique::Extension),
            &[(LearnedFrom::ListenPort, 6881)],
        );
        let pex = b"\x14\x01d5:added12:\xc0\0\x02\x07\x1a\xe1\xc0\0\x02\x08\x1a\xe27:added.f2:\x01\x01e";
        check(
            "peer exchange",
            pex,
            Some(Technique::Pex),
            &[(LearnedFrom::Pex, 6881), (LearnedFrom::Pex, 6882)],
        );
        check(
            "metadata request",
            b"\x14\x02d8:msg_typei0e5:piecei0ee",
            Some(Technique::Metadata),
            &[],
        );
        check(
            "metadata with data",
            b"\x14\x02d8:msg_typei1e5:piecei0e10:total_sizei3eeabc",
            Some(Technique::Metadata),
            &[],
        );
        check(
            "comments",
            b"\x14\x06d8:msg_typei1e8:commentslee",
            Some(Technique::Extension),
            &[],
        );
        let connect = b"\x14\x04\x01\0\xc0\0\x02\x07\x1a\xe1";
        check(
            "holepunch",
            connect,
            Some(Technique::Holepunch),
            &[(LearnedFrom::Holepunch, 6881)],
        );
        check("port", b"\x09\x1a\xe1", None, &[(LearnedFrom::ListenPort, 6881)]);
    }

    #[test]
    fn lookalikes_are_not() {
        check(
            "no map",
            b"\x14\0d1:pi6881ee",
            None,
            &[(LearnedFrom::ListenPort, 6881)],
        );
        check(
            "not announced",
            b"\x14\x05\x01\0\xc0\0\x02\x07\x1a\xe1",
            None,
            &[],
        );
        check(
            "wrong length",
            b"\x14\x04\x01\0\xc0\0\x02\x07\x1a\xe1\0",
            None,
            &[],
        );
        check("bad type", b"\x14\x02d8:msg_typei7e5:piecei0ee", None, &[]);
        check("port 0", b"\x09\0\0", None, &[]);
        check("text", b"\x14 ut_pex ut_metadata", None, &[]);
        check("empty", b"", None, &[]);
    }

    #[test]
    fn whole_messages_are_found_at_any_offset_and_cut_ones_are_not() {
        let handshake = framed(b"\x14\0d1:md6:ut_pexi1eee");
        let bytes = [
            b"xx",
            &handshake[..],
            &framed(b"\x14\x01d5:added6:\xc0\0\x02\x07\x1a\xe1e"),
        ]
        .concat();
        for end in 0..=bytes.len() {
            let (mut findings, mut told) = (Findings::new(), 0);
            find(
                &bytes[..end],
                SIDE,
                &mut Announced::default(),
                &mut findings,
                |_, _| told += 1,
            );
            let expected = usize::from(end >= 2 + handshake.len()) + usize::from(end == bytes.len());
            assert_eq!(told, expected, "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), id in 0u8..3) {
            let mut findings = Findings::new();
            let _ = message(&[&[0x14, id], &bytes[..]].concat(), SIDE, &mut Announced::default(), &mut findings);
            find(&[b"\0\0\0\x20\x14\0d1:md", &bytes[..]].concat(), SIDE, &mut Announced::default(), &mut findings, |_, _| {});
        }
    }
}
