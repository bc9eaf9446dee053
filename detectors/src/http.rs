//! HTTP trackers, web seeds and user agents.                                  Spec: BEP 3, 17, 23, 48; WebTorrent.
//!
//! | rule | what | confidence |
//! |---|---|---|
//! | `announce` | `info_hash` and `peer_id` of exactly 20 bytes and a numeric `port` in the request's query | conclusive |
//! | `webseed` | `info_hash` of exactly 20 bytes and a numeric `piece` (BEP 17) | conclusive |
//! | `scrape` | a path with `scrape` and an `info_hash` of exactly 20 bytes | strong |
//! | `persistent-seed` | `/data?fid=` and `size=` (BitComet) | strong |
//! | `answer` | a body that is a bencoded dictionary with `interval` and whole entries in `peers` or `peers6` | strong; conclusive after an announce, or when nothing of who asked was seen |
//! | `scrape-answer` | the same with `files` of 20-byte keys | strong; conclusive after the matching request |
//! | `websocket-announce` | a frame of JSON with `announce`, `info_hash`, `peer_id` and `offers` | conclusive |
//! | `torrent-file` | a body that is a torrent file, or its beginning | weak |
//! | `user-agent` | the name of a client | weak |
//!
//! An answer is conclusive only where a tracker was asked: the path holds `announce` or `tracker`, or its last part is a program
//! or at most three letters; one request was open; and the answer's head is not that of a file (two of `Last-Modified`,
//! `ETag`, `Accept-Ranges`).
//! Only the request line counts: a page, a body or a referrer that quotes a tracker's URL is nothing. Where the head shows a
//! browser, which fetches whatever address a page names, or a proxy, which passes on what others ask, an announce and a web
//! seed are strong only. Bodies that are compressed or chunked are not read. The URL may be absolute (through a proxy).

use btblocker_signatures::{Anchor, Transport};
use memchr::memmem;

use crate::bencode::{self, Value};
use crate::signature;
use crate::wire::array_at;
use crate::{Client, Confidence, Endpoint, Evidence, Findings, Learned, LearnedFrom, Side, Technique};

/// What the last request of a flow asked, for grading the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing of a tracker.
    #[default]
    Nothing,
    /// Nobody knows: the capture has nothing of who asked.
    Unseen,
    /// An announce.
    Announce,
    /// A scrape.
    Scrape,
    /// An upgrade to WebSocket.
    WebSocket,
}

/// Headers, in lower case with the colon, of those who fetch what a page names and of proxies.
const FOREIGN_HEADERS: [&[u8]; 4] = [b"referer:", b"via:", b"forwarded:", b"x-forwarded-for:"];

/// Headers of which answers that are files have two at least.
const FILE_HEADERS: [&[u8]; 3] = [b"last-modified:", b"etag:", b"accept-ranges:"];

/// Whether a request is made for others. Browsers send the languages of their user; the HTTP libraries of some clients send `*`.
fn is_for_others(head: &[u8]) -> bool {
    let browses = || {
        header(head, b"accept-language:").is_some_and(|languages| languages != b"*")
            && header(head, b"user-agent:").is_some_and(|agent| agent.starts_with(b"Mozilla/"))
    };
    FOREIGN_HEADERS.iter().any(|name| header(head, name).is_some()) || browses()
}

/// Whether a path is one of a tracker's: it names it, or its last part is a program or has three letters at most.
fn names_a_tracker(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let named = |word: &[u8]| {
        path.windows(word.len())
            .any(|part| part.eq_ignore_ascii_case(word))
    };
    name.len() <= 3 || name.ends_with(b".php") || named(b"announce") || named(b"tracker")
}

/// Reads a request that begins with `bytes`: what it asks, and its evidence. `None` until its head is whole, unless `cut`
/// says that no more of it is to be had; of a request line that is cut, only an announce is told.
pub(crate) fn request(bytes: &[u8], cut: bool, speaker: Side) -> Option<(Asked, Option<Evidence>)> {
    let head_end = memmem::find(bytes, b"\r\n\r\n");
    if head_end.is_none() && !cut {
        return None;
    }
    let Some(line_end) = memmem::find(bytes, b"\r\n") else {
        let target = bytes.strip_prefix(b"GET ")?;
        let (asked, evidence) = tracker(target, true, speaker)?;
        return (asked == Asked::Announce).then_some((asked, Some(evidence)));
    };
    let head = bytes.get(..head_end.unwrap_or(bytes.len())).unwrap_or(bytes);
    let (line, head) = head.split_at_checked(line_end)?;
    let target = line.split(|&byte| byte == b' ').nth(1).unwrap_or(&[]);
    let is_get = line.starts_with(b"GET ");
    if is_get && let Some((asked, mut evidence)) = tracker(target, false, speaker) {
        if is_for_others(head) {
            evidence.confidence = evidence.confidence.min(Confidence::Strong);
            return Some((Asked::Nothing, Some(evidence)));
        }
        // What a page of another name answers is no tracker's, whatever was asked of it.
        let path = target.split(|&byte| byte == b'?').next().unwrap_or(target);
        let asked = if asked == Asked::Announce && !names_a_tracker(path) {
            Asked::Nothing
        } else {
            asked
        };
        return Some((asked, Some(evidence)));
    }
    let asked = if is_get
        && header(head, b"upgrade:").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
    {
        Asked::WebSocket
    } else {
        Asked::Nothing
    };
    let agent = header(head, b"user-agent:").and_then(|agent| {
        let known = signature::find(Anchor::HttpUserAgent, Transport::Tcp, agent, speaker).next()?;
        // A name labels, it does not prove: libraries lend theirs and programs lie.
        let evidence = Evidence::new(Technique::Http, "user-agent", Confidence::Weak, speaker);
        Some(evidence.of_class(known.class).by(Client::name(agent)))
    });
    Some((asked, agent))
}

/// The value of a header whose name, in lower case with the colon, is `name`.
fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|&byte| byte == b'\n').find_map(|line| {
        let (start, value) = line.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

/// `cut` says that the port may be missing because the line is.
fn tracker(target: &[u8], cut: bool, speaker: Side) -> Option<(Asked, Evidence)> {
    let at = target.iter().position(|&byte| byte == b'?')?;
    let (path, query) = target.split_at_checked(at)?;
    let (mut info_hash, mut peer_id, mut port, mut piece, mut file, mut size) =
        (None, None, false, false, false, false);
    for pair in query.get(1..)?.split(|&byte| byte == b'&') {
        let Some(equals) = pair.iter().position(|&byte| byte == b'=') else {
            continue;
        };
        let (name, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
        match name {
            b"info_hash" => info_hash = info_hash.or(decode20(value)),
            b"peer_id" => peer_id = decode20(value),
            b"port" => port = number(value).is_some_and(|port| port <= 65_535),
            b"piece" => piece = number(value).is_some(),
            b"fid" => file = !value.is_empty(),
            b"size" => size = number(value).is_some(),
            _ => {}
        }
    }
    let evidence = |rule, confidence| Evidence {
        // The whole address stands in the request line of those who ask a proxy.
        proxied: path.starts_with(b"http://"),
        ..Evidence::new(Technique::Http, rule, confidence, speaker)
    };
    let Some(hash) = info_hash else {
        return (file && size && path.ends_with(b"/data"))
            .then(|| (Asked::Nothing, evidence("persistent-seed", Confidence::Strong)));
    };
    if let (Some(id), true) = (peer_id, port || cut) {
        let found = evidence("announce", Confidence::Conclusive)
            .of_torrent(hash)
            .by(Client::PeerId(id));
        Some((Asked::Announce, found))
    } else if piece {
        Some((
            Asked::Nothing,
            evidence("webseed", Confidence::Conclusive).of_torrent(hash),
        ))
    } else if memmem::find(path, b"scrape").is_some() {
        Some((
            Asked::Scrape,
            evidence("scrape", Confidence::Strong).of_torrent(hash),
        ))
    } else {
        None
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// Exactly 20 bytes out of their percent-encoded form.
fn decode20(mut encoded: &[u8]) -> Option<[u8; 20]> {
    let hex = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let mut decoded = [0; 20];
    for byte in &mut decoded {
        encoded = match encoded {
            [b'%', high, low, rest @ ..] => {
                *byte = hex(*high)? << 4 | hex(*low)?;
                rest
            }
            [plain, rest @ ..] if *plain != b'%' => {
                *byte = *plain;
                rest
            }
            _ => return None,
        };
    }
    encoded.is_empty().then_some(decoded)
}

/// Reads a tracker's answer: `bytes` begin with the status line. Teaches the peers that it names.
pub(crate) fn answer(bytes: &[u8], speaker: Side, asked: Asked, findings: &mut Findings) -> Option<Evidence> {
    let (head, body) = bytes.split_at_checked(memmem::find(bytes, b"\r\n\r\n")? + 4)?;
    let (mut interval, mut peers, mut files) = (false, false, false);
    // A cut dictionary still shows what is before the cut.
    let _ = bencode::visit(body, |key, value| match (key, value) {
        (b"interval", Value::Int(seconds)) => interval = seconds > 0,
        (b"peers", Value::Bytes(compact)) => peers |= compact.len().is_multiple_of(6),
        (b"peers6", Value::Bytes(compact)) => peers |= compact.len().is_multiple_of(18),
        (b"peers", Value::List(list)) => {
            peers |= list
                .items()
                .all(|peer| peer.dict().is_some_and(|peer| peer.get(b"ip").is_some()));
        }
        (b"files", Value::Dict(torrents)) => {
            files = torrents
                .entries()
                .next()
                .is_some_and(|(hash, _)| hash.len() == 20);
        }
        _ => {}
    });
    let (rule, is_certain) = if interval && peers {
        // A file that somebody has put there is none.
        let is_file = FILE_HEADERS
            .iter()
            .filter(|name| header(head, name).is_some())
            .count()
            >= 2;
        (
            "answer",
            matches!(asked, Asked::Announce | Asked::Unseen) && !is_file,
        )
    } else if files {
        ("scrape-answer", asked == Asked::Scrape)
    } else {
        // What is weak among the beginnings of bodies is a torrent file: a page was opened, nothing was shared.
        return signature::find(Anchor::HttpBody, Transport::Tcp, body, speaker)
            .find(|found| found.confidence == Confidence::Weak)
            .map(|_| Evidence::new(Technique::Http, "torrent-file", Confidence::Weak, speaker));
    };
    if peers && is_certain {
        let _ = bencode::visit(body, |key, value| learn(key, value, speaker, findings));
    }
    let confidence = if is_certain {
        Confidence::Conclusive
    } else {
        Confidence::Strong
    };
    Some(Evidence::new(Technique::Http, rule, confidence, speaker))
}

fn learn(key: &[u8], value: Value<'_>, speaker: Side, findings: &mut Findings) {
    let mut add = |endpoint: Endpoint| {
        if endpoint.port != 0 {
            findings.learn(Learned {
                endpoint,
                from: LearnedFrom::Tracker,
                told: speaker.other(),
            });
        }
    };
    match (key, value) {
        (b"peers", Value::Bytes(compact)) => {
            compact
                .as_chunks::<6>()
                .0
                .iter()
                .for_each(|&peer| add(Endpoint::compact4(peer)));
        }
        (b"peers6", Value::Bytes(compact)) => {
            compact
                .as_chunks::<18>()
                .0
                .iter()
                .for_each(|&peer| add(Endpoint::compact6(peer)));
        }
        (b"peers", Value::List(list)) => {
            for peer in list.items().filter_map(Value::dict) {
                let address = peer
                    .get(b"ip")
                    .and_then(Value::bytes)
                    .and_then(|ip| core::str::from_utf8(ip).ok()?.parse().ok());
                let port = peer
                    .get(b"port")
                    .and_then(Value::int)
                    .and_then(|port| u16::try_from(port).ok());
                if let (Some(address), Some(port)) = (address, port) {
                    add(Endpoint::new(address, port));
                }
            }
        }
        _ => {}
    }
}

/// Bytes of a WebSocket message that are looked at: the announce's fixed keys come before the offers' contents.
const FRAME_BYTES: usize = 1024;

/// Reads the WebSocket frame that `bytes` begin with (RFC 6455 section 5.2), masked or not: its evidence and the
/// bytes it takes. `None` while it is cut before all of it, or as much as is looked at, is there.
pub(crate) fn websocket(bytes: &[u8], speaker: Side) -> Option<(Option<Evidence>, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match second & 0x7F {
        126 => (u64::from(u16::from_be_bytes(array_at(rest, 0)?)), rest.get(2..)?),
        127 => (u64::from_be_bytes(array_at(rest, 0)?), rest.get(8..)?),
        short => (u64::from(short), rest),
    };
    let length = usize::try_from(length).ok()?;
    let (mask, content) = if second & 0x80 != 0 {
        (array_at::<4>(rest, 0)?, rest.get(4..)?)
    } else {
        ([0; 4], rest)
    };
    let seen = content.get(..length.min(FRAME_BYTES))?;
    let total = bytes.len().saturating_sub(content.len()).saturating_add(length);
    // Opcode 1 is text.
    if first & 0x0F != 1 {
        return Some((None, total));
    }
    let mut text = [0u8; FRAME_BYTES];
    for (at, (to, from)) in text.iter_mut().zip(seen).enumerate() {
        *to = from ^ mask.get(at % 4).copied().unwrap_or(0);
    }
    let has = |needle: &[u8]| memmem::find(&text, needle).is_some();
    let announces = text.first() == Some(&b'{')
        && has(b"\"announce\"")
        && has(b"\"info_hash\"")
        && has(b"\"peer_id\"")
        && [&b"\"offers\""[..], b"\"offer\"", b"\"answer\"", b"\"numwant\""]
            .iter()
            .any(|key| has(key));
    let evidence = announces.then(|| {
        Evidence::new(
            Technique::Http,
            "websocket-announce",
            Confidence::Conclusive,
            speaker,
        )
    });
    Some((evidence, total))
}

/// Offset behind the head that begins at `at` in `bytes`.
pub(crate) fn head_end(bytes: &[u8], at: usize) -> Option<usize> {
    Some(at + memmem::find(bytes.get(at..)?, b"\r\n\r\n")? + 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const HASH: &str = "%aa7i%c4S%0d%de%06%24%18s%da%d4%3a%b5%cc%ec%2c%e6%22";

    fn check(name: &str, target: &str, expected: Option<(&str, Confidence)>) {
        let bytes = std::format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n");
        let (_, evidence) = request(bytes.as_bytes(), false, Side::Originator).unwrap();
        assert_eq!(evidence.map(|e| (e.rule, e.confidence)), expected, "{name}");
    }

    #[test]
    fn requests_of_clients_are_recognised() {
        use Confidence::{Conclusive, Strong};
        let id = "-TR2940-chho92c56pul";
        check(
            "announce",
            &std::format!("/announce?info_hash={HASH}&peer_id={id}&port=51413"),
            Some(("announce", Conclusive)),
        );
        check(
            "absolute",
            &std::format!("http://t:6969/a?port=1&peer_id={id}&info_hash={HASH}"),
            Some(("announce", Conclusive)),
        );
        check(
            "raw hash",
            &std::format!("/x?info_hash=abcdefghijklmnopqrst&peer_id={id}&port=1"),
            Some(("announce", Conclusive)),
        );
        check(
            "without a listening port",
            &std::format!("/announce?info_hash={HASH}&peer_id={id}&port=0"),
            Some(("announce", Conclusive)),
        );
        check(
            "web seed",
            &std::format!("/webseed?info_hash={HASH}&piece=4&ranges=0-3"),
            Some(("webseed", Conclusive)),
        );
        check(
            "scrape",
            &std::format!("/scrape?info_hash={HASH}"),
            Some(("scrape", Strong)),
        );
        check(
            "persistent seed",
            "/data?fid=4f&size=99",
            Some(("persistent-seed", Strong)),
        );
    }

    #[test]
    fn requests_that_only_look_alike_are_not() {
        let id = "-TR2940-chho92c56pul";
        check(
            "short hash",
            &std::format!("/announce?info_hash=%aa%bb&peer_id={id}&port=1"),
            None,
        );
        check(
            "long hash",
            &std::format!("/announce?info_hash={HASH}a&peer_id={id}&port=1"),
            None,
        );
        check(
            "bad escape",
            &std::format!("/announce?info_hash=%zz{HASH}&peer_id={id}&port=1"),
            None,
        );
        check(
            "no port",
            &std::format!("/announce?info_hash={HASH}&peer_id={id}"),
            None,
        );
        check(
            "port out of range",
            &std::format!("/announce?info_hash={HASH}&peer_id={id}&port=65536"),
            None,
        );
        check("site path", "/announce?id=5&event=started", None);
        check("scrape of a page", "/scrape?url=http://example.com/", None);
        for header in [
            "Referer: http://forum.example/",
            "accept-language: de\r\nUser-Agent: Mozilla/5.0",
            "Via: 1.1 proxy",
            "X-Forwarded-For: 192.0.2.9",
        ] {
            let bytes = std::format!(
                "GET /announce?info_hash={HASH}&peer_id={id}&port=1 HTTP/1.1\r\nHost: t\r\n{header}\r\n\r\n"
            );
            let (asked, evidence) = request(bytes.as_bytes(), false, Side::Originator).unwrap();
            assert_eq!(
                (asked, evidence.unwrap().confidence),
                (Asked::Nothing, Confidence::Strong),
                "{header}"
            );
        }
        let referrer = std::format!(
            "GET / HTTP/1.1\r\nReferer: http://t/announce?info_hash={HASH}&peer_id={id}&port=1\r\n\r\n"
        );
        assert_eq!(
            request(referrer.as_bytes(), false, Side::Originator),
            Some((Asked::Nothing, None))
        );
    }

    #[test]
    fn a_cut_request_is_an_announce_when_hash_and_id_are_whole() {
        let whole =
            std::format!("GET /a?info_hash={HASH}&peer_id=-TR2940-chho92c56pul&port=51413 HTTP/1.1\r\n\r\n");
        let id_end = whole.find("&port").unwrap();
        for end in 0..whole.len() {
            let found = request(&whole.as_bytes()[..end], true, Side::Originator);
            assert_eq!(found.is_some(), end >= id_end, "{end}");
        }
        let page = std::format!("GET /scrape?info_hash={HASH}&x=");
        assert_eq!(request(page.as_bytes(), true, Side::Originator), None);
    }

    #[test]
    fn user_agents_are_weak_and_upgrades_are_noticed() {
        let (_, agent) = request(
            b"GET /f HTTP/1.1\r\nuser-agent: aria2/1.36.0\r\n\r\n",
            false,
            Side::Originator,
        )
        .unwrap();
        assert_eq!(
            agent.map(|e| (e.rule, e.confidence)),
            Some(("user-agent", Confidence::Weak))
        );
        let upgrade = b"GET / HTTP/1.1\r\nUpgrade: WebSocket\r\n\r\n";
        assert_eq!(
            request(upgrade, false, Side::Originator),
            Some((Asked::WebSocket, None))
        );
    }

    #[test]
    fn answers_are_graded_by_what_was_asked() {
        let compact =
            b"HTTP/1.1 200 OK\r\n\r\nd8:intervali1800e5:peers12:\xc0\0\x02\x07\x1a\xe1\xc0\0\x02\x08\0\0e";
        let list = b"HTTP/1.0 200 OK\r\n\r\nd8:intervali60e5:peersld2:ip9:192.0.2.77:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881eeee";
        let scrape = b"HTTP/1.1 200 OK\r\n\r\nd5:filesd20:abcdefghijklmnopqrstd8:completei1eeee";
        for (name, bytes, asked, expected, learned) in [
            (
                "asked",
                &compact[..],
                Asked::Announce,
                Some(("answer", Confidence::Conclusive)),
                1,
            ),
            (
                "not asked",
                compact,
                Asked::Nothing,
                Some(("answer", Confidence::Strong)),
                0,
            ),
            (
                "not seen what was asked",
                compact,
                Asked::Unseen,
                Some(("answer", Confidence::Conclusive)),
                1,
            ),
            (
                "cut entries",
                b"HTTP/1.1 200 OK\r\n\r\nd8:intervali1800e5:peers5:\xc0\0\x02\x07\x1ae",
                Asked::Nothing,
                None,
                0,
            ),
            (
                "list of peers",
                list,
                Asked::Announce,
                Some(("answer", Confidence::Conclusive)),
                1,
            ),
            (
                "scrape",
                scrape,
                Asked::Scrape,
                Some(("scrape-answer", Confidence::Conclusive)),
                0,
            ),
            (
                "torrent file",
                b"HTTP/1.1 200 OK\r\n\r\nd8:announce9:http://t/4:infod6:lengthi1eee",
                Asked::Nothing,
                Some(("torrent-file", Confidence::Weak)),
                0,
            ),
            (
                "page",
                b"HTTP/1.1 200 OK\r\n\r\n<h1>peers and interval</h1>",
                Asked::Announce,
                None,
                0,
            ),
        ] {
            let mut findings = Findings::new();
            let found = answer(bytes, Side::Responder, asked, &mut findings);
            assert_eq!(found.map(|e| (e.rule, e.confidence)), expected, "{name}");
            assert_eq!(findings.learned().count(), learned, "{name}");
        }
    }

    fn frame(text: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![0x81, if mask.is_some() { 0x80 | 126 } else { 126 }];
        bytes.extend((text.len() as u16).to_be_bytes());
        bytes.extend(
            mask.unwrap_or_default()
                .iter()
                .take(if mask.is_some() { 4 } else { 0 }),
        );
        bytes.extend(
            text.iter()
                .enumerate()
                .map(|(n, byte)| byte ^ mask.map_or(0, |mask| mask[n % 4])),
        );
        bytes
    }

    #[test]
    fn announces_in_websocket_frames_are_read_masked_or_not() {
        let text =
            br#"{"action":"announce","info_hash":"abc","peer_id":"-WW0007-abc","numwant":5,"offers":[]}"#;
        for mask in [None, Some([0x37, 0xfa, 0x21, 0x3d])] {
            let bytes = frame(text, mask);
            let (evidence, length) = websocket(&bytes, Side::Originator).unwrap();
            assert_eq!(evidence.map(|e| e.confidence), Some(Confidence::Conclusive));
            assert_eq!(length, bytes.len());
            for end in 0..bytes.len() {
                assert_eq!(websocket(&bytes[..end], Side::Originator), None, "{end}");
            }
        }
        let chat = frame(br#"{"text":"announce info_hash peer_id offers"}"#, None);
        assert_eq!(
            websocket(&chat, Side::Originator).map(|(evidence, _)| evidence),
            Some(None)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = request(&bytes, true, Side::Originator);
            let _ = request(&[b"GET /?info_hash=", &bytes[..], b"\r\n"].concat(), true, Side::Originator);
            let _ = answer(&[b"HTTP/1.1\r\n\r\nd", &bytes[..]].concat(), Side::Originator, Asked::Nothing, &mut Findings::new());
            let _ = websocket(&bytes, Side::Originator);
        }
    }
}
