//! UDP tracker protocol.
//!
//! Spec: BEP 15; BEP 41 (options after the announce). All integers are big-endian.
//!
//! | message           | offset | size | field         | value                        | source |
//! |-------------------|--------|------|---------------|------------------------------|--------|
//! | connect request   | 0      | 8    | protocol id   | 0x0000041727101980           | BEP 15 |
//! |                   | 8      | 4    | action        | 0                            | BEP 15 |
//! |                   | 12     | 4    | transaction   | any                          | BEP 15 |
//! | connect response  | 0      | 4    | action        | 0; at least 16 bytes in all, taken for an answer with 16 | BEP 15 |
//! |                   | 4      | 4    | transaction   | echoed                       | BEP 15 |
//! |                   | 8      | 8    | connection id | any                          | BEP 15 |
//! | announce request  | 0      | 8    | connection id | as issued                    | BEP 15 |
//! |                   | 8      | 4    | action        | 1                            | BEP 15 |
//! |                   | 12     | 4    | transaction   | any                          | BEP 15 |
//! |                   | 16     | 20   | info-hash     | any                          | BEP 15 |
//! |                   | 36     | 20   | peer-id       | any                          | BEP 15 |
//! |                   | 56     | 24   | downloaded, left, uploaded | less than 2^50; left also 2^63-1, 2^64-1 | BEP 15, measured |
//! |                   | 80     | 4    | event         | 0..=3; 4 paused (WebTorrent) | BEP 15 |
//! |                   | 84     | 8    | address, key  | any                          | BEP 15 |
//! |                   | 92     | 4    | num_want      | -1 or 0..=10,000             | BEP 15, measured |
//! |                   | 96     | 2    | port          | not 0                        | BEP 15 |
//! |                   | 98     | any  | options       | 0 end, 1 nop, 2 length text  | BEP 41 |
//! | announce response | 0      | 20   | action 1, transaction, interval, leechers, seeders | interval below 2^22, counts below 2^24 or 2^32-1 | BEP 15 |
//! |                   | 20     | 6 n or 18 n | peers  | IPv4 or IPv6                 | BEP 15 |
//! | scrape request    | 0      | 16   | connection id, action 2, transaction |       | BEP 15 |
//! |                   | 16     | 20 n | info-hashes   | n in 1..=74                  | BEP 15 |
//! | scrape response   | 0      | 8 + 12 n | action 2, transaction, counts | below 2^24 or 2^32-1 | BEP 15 |
//! | error             | 0      | 8 + text | action 3, transaction         | printable | BEP 15 |
//!
//! Certain: the 96 fixed bits of a connect request. Answers are taken only whole, and with the transaction of an open
//! request. Proves: an answered connect request and another answered request with another transaction prove the
//! tracker. One does not, nor does an error without a connection: rpcbind, IKE,
//! memcached and others send back four bytes that a stranger has chosen, where the transaction stands. A request with the
//! connection id that was issued to its sender proves the client (64 bits). A strict announce with an unseen connection id is
//! strong; a scrape without a seen connect is not taken at all, as NFS and RX have its shape.
//!
//! The address family of the flow is not known here. A peer list that 18 does not divide is IPv4, which is
//! then remembered; any other is IPv6 when every entry begins like an IPv6 unicast address in use.
//!
//! Look-alikes: DNSCrypt, iodine and Telegram have a one at offset 8 (the strict fields tell them apart).

use core::num::NonZeroU16;

use crate::datagram::UdpDatagram;
use crate::recent::{Recent, digest};
use crate::reported::Sink;
use crate::{Client, Confidence, Endpoint, Ends, Evidence, InfoHash, Learned, LearnedFrom, Side, Technique};

const PROTOCOL_ID: [u8; 8] = [0x00, 0x00, 0x04, 0x17, 0x27, 0x10, 0x19, 0x80];
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;
/// How long an answer may take, in milliseconds: the first retransmission (BEP 15: 15 s) has another
/// transaction in some clients and the same in others.
const ANSWER_MS: u32 = 30_000;
/// How long a tracker honours a connection id, in milliseconds (BEP 15: two minutes), and some slack.
const CONNECTION_MS: u32 = 180_000;
/// Sizes of announce and its options.
const ANNOUNCE_BYTES: usize = 98;

/// Open requests and issued connection ids of one flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    /// Digests of (asking side, action, transaction).
    requests: Recent<6>,
    /// Digests of (side it was issued to, connection id).
    issued: Recent<3>,
    /// Digest of the transaction of the last connect request that each side has answered.
    connected: [Option<NonZeroU16>; 2],
    /// Sides that have answered another request behind it.
    proven: Ends,
    /// A peer list of this flow could only be IPv4.
    ipv4: bool,
}

impl Exchange {
    /// Nothing seen.
    pub(crate) const fn new() -> Self {
        Self {
            requests: Recent::new(),
            issued: Recent::new(),
            connected: [None; 2],
            proven: Ends::NONE,
            ipv4: false,
        }
    }

    /// Inspects one datagram at `now_ms` of the flow's life.
    pub(crate) fn inspect(&mut self, datagram: &UdpDatagram<'_>, now_ms: u32, sink: &mut Sink<'_>) {
        if !sink.options.enabled(Technique::UdpTracker) {
            return;
        }
        let (bytes, speaker) = (datagram.payload, datagram.from);
        if let Some((id, body)) = bytes.split_first_chunk::<8>() {
            match number(body, 0) {
                Some(CONNECT) if *id == PROTOCOL_ID => return self.connect(body, speaker, now_ms, sink),
                Some(ANNOUNCE) => self.announce(id, datagram, now_ms, sink),
                Some(SCRAPE) => self.scrape(id, datagram, now_ms, sink),
                _ => {}
            }
        }
        if !sink.recognised {
            self.answer(datagram, now_ms, sink);
        }
    }

    fn ask(&mut self, action: u32, transaction: u32, speaker: Side, now_ms: u32) {
        self.requests
            .remember(request(speaker, action, transaction), now_ms);
    }

    fn connect(&mut self, body: &[u8], speaker: Side, now_ms: u32, sink: &mut Sink<'_>) {
        let Some(transaction) = number(body, 4) else {
            return;
        };
        self.ask(CONNECT, transaction, speaker, now_ms);
        sink.report(Evidence::new(
            Technique::UdpTracker,
            "connect",
            Confidence::Conclusive,
            speaker,
        ));
    }

    fn announce(&mut self, id: &[u8; 8], datagram: &UdpDatagram<'_>, now_ms: u32, sink: &mut Sink<'_>) {
        let Some(announce) = Announce::parse(datagram.payload) else {
            return;
        };
        let speaker = datagram.from;
        let evidence = if self.was_issued(id, speaker, now_ms) {
            Evidence::new(Technique::UdpTracker, "announce", Confidence::Conclusive, speaker)
                .proving(Ends::only(speaker))
        } else if announce.strict {
            Evidence::new(
                Technique::UdpTracker,
                "announce-unbound",
                Confidence::Strong,
                speaker,
            )
        } else {
            return;
        };
        self.ask(ANNOUNCE, announce.transaction, speaker, now_ms);
        sink.report(
            evidence
                .of_torrent(announce.info_hash)
                .by(Client::PeerId(announce.peer_id)),
        );
    }

    fn scrape(&mut self, id: &[u8; 8], datagram: &UdpDatagram<'_>, now_ms: u32, sink: &mut Sink<'_>) {
        let speaker = datagram.from;
        let hashes = datagram
            .wire_len
            .checked_sub(16)
            .filter(|bytes| bytes % 20 == 0)
            .map(|bytes| bytes / 20);
        let Some(transaction) = number(datagram.payload, 12) else {
            return;
        };
        if !matches!(hashes, Some(1..=74)) || !self.was_issued(id, speaker, now_ms) {
            return;
        }
        self.ask(SCRAPE, transaction, speaker, now_ms);
        let mut evidence = Evidence::new(Technique::UdpTracker, "scrape", Confidence::Conclusive, speaker)
            .proving(Ends::only(speaker));
        evidence.info_hash = datagram.payload.get(16..36).and_then(|hash| hash.try_into().ok());
        sink.report(evidence);
    }

    fn answer(&mut self, datagram: &UdpDatagram<'_>, now_ms: u32, sink: &mut Sink<'_>) {
        let (bytes, speaker) = (datagram.payload, datagram.from);
        let (Some(action @ CONNECT..=ERROR), Some(transaction)) = (number(bytes, 0), number(bytes, 4)) else {
            return;
        };
        let asked = speaker.other();
        let connected = speaker.pick(&mut self.connected).is_some();
        let mut was_asked = |action| {
            self.requests
                .take(request(asked, action, transaction), now_ms, ANSWER_MS)
        };
        if !is_whole(action, bytes, datagram.wire_len) {
            return;
        }
        let rule = match action {
            CONNECT if was_asked(CONNECT) => "connect-answer",
            ANNOUNCE if was_asked(ANNOUNCE) => "announce-answer",
            SCRAPE if was_asked(SCRAPE) => "scrape-answer",
            ERROR if connected && (was_asked(ANNOUNCE) || was_asked(SCRAPE)) => "error",
            _ => return,
        };
        if let (CONNECT, Some(id)) = (action, bytes.get(8..16)) {
            self.issued.remember(issue(asked, id), now_ms);
            // More than an id is allowed, and says nothing of the answerer.
            if datagram.wire_len != 16 {
                return;
            }
        }
        let short =
            u16::try_from(digest(&[&transaction.to_be_bytes()]) & u32::from(u16::MAX)).unwrap_or_default();
        let answered = NonZeroU16::new(short).or(NonZeroU16::new(1));
        let known = speaker.pick(&mut self.connected);
        if action == CONNECT {
            *known = answered;
        } else if known.is_some() && *known != answered {
            self.proven = self.proven.union(Ends::only(speaker));
        }
        let proves = if self.proven.contains(speaker) {
            Ends::only(speaker)
        } else {
            Ends::NONE
        };
        sink.report(
            Evidence::new(Technique::UdpTracker, rule, Confidence::Conclusive, speaker).proving(proves),
        );
        if action == ANNOUNCE {
            // The capture may end before the list does.
            self.ipv4 |= !datagram.wire_len.saturating_sub(20).is_multiple_of(18);
            self.learn(bytes.get(20..).unwrap_or_default(), asked, sink);
        }
    }

    fn was_issued(&self, id: &[u8; 8], to: Side, now_ms: u32) -> bool {
        self.issued.contains(issue(to, id), now_ms, CONNECTION_MS)
    }

    fn learn(&self, peers: &[u8], told: Side, sink: &mut Sink<'_>) {
        let (entries, _) = peers.as_chunks::<18>();
        let ipv6 = !self.ipv4 && entries.iter().all(is_ipv6_peer);
        let mut teach = |endpoint| {
            sink.learn(
                Technique::UdpTracker,
                Learned {
                    endpoint,
                    from: LearnedFrom::Tracker,
                    told,
                },
            );
        };
        if ipv6 {
            entries
                .iter()
                .copied()
                .map(Endpoint::compact6)
                .for_each(&mut teach);
        } else {
            peers
                .as_chunks::<6>()
                .0
                .iter()
                .copied()
                .map(Endpoint::compact4)
                .for_each(&mut teach);
        }
    }
}

/// Whether an answer of `wire_len` bytes, of which `bytes` were captured, has the size and the ranges of its action.
fn is_whole(action: u32, bytes: &[u8], wire_len: u32) -> bool {
    const INTERVAL: u32 = 1 << 22;
    const COUNT: u32 = 1 << 24;
    let below = |at, limit| number(bytes, at).is_none_or(|number| number < limit);
    let count = |at| below(at, COUNT) || number(bytes, at) == Some(u32::MAX);
    let entries = |head: u32, size: u32| {
        wire_len
            .checked_sub(head)
            .is_some_and(|rest| rest.is_multiple_of(size))
    };
    match action {
        CONNECT => wire_len >= 16,
        ANNOUNCE => entries(20, 6) && below(8, INTERVAL) && count(12) && count(16),
        SCRAPE => entries(8, 12) && (8..bytes.len()).step_by(4).all(count),
        ERROR => bytes.get(8..).is_some_and(|text| {
            text.iter()
                .all(|byte| !byte.is_ascii_control() || b"\0\t\r\n".contains(byte))
        }),
        _ => false,
    }
}

/// Digest of a request, as its answer must match it.
fn request(asking: Side, action: u32, transaction: u32) -> u32 {
    digest(&[&[asking as u8], &action.to_be_bytes(), &transaction.to_be_bytes()])
}

/// Digest of a connection id in the hands of one side.
fn issue(to: Side, id: &[u8]) -> u32 {
    digest(&[&[to as u8], id])
}

/// Big-endian number at an offset.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

/// Whether an entry begins like an address of 2000::/4 or fc00::/7, has a port, and is not three IPv4
/// peers whose numbers happen to look so: 1 in 7 for one entry, nothing for a list.
fn is_ipv6_peer(entry: &[u8; 18]) -> bool {
    matches!(entry, [0x20..=0x2f | 0xfc | 0xfd, ..]) && !matches!(entry, [.., 0, 0])
}

/// An announce request.
struct Announce {
    transaction: u32,
    info_hash: InfoHash,
    peer_id: [u8; 20],
    /// Whether all fields are in the ranges of the table above.
    strict: bool,
}

impl Announce {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (announce, options) = bytes.split_first_chunk::<ANNOUNCE_BYTES>()?;
        let counter = |at: usize| announce.get(at..)?.first_chunk().copied().map(u64::from_be_bytes);
        let (down, left, up) = (counter(56)?, counter(64)?, counter(72)?);
        let (event, wanted) = (number(announce, 80)?, number(announce, 92)?);
        let known = |count: u64| count < 1 << 50;
        let strict = known(down)
            && known(up)
            && (known(left) || left == u64::MAX || left == u64::MAX >> 1)
            && event <= 4
            && (wanted <= 10_000 || wanted == u32::MAX)
            && !announce.ends_with(&[0, 0])
            && are_options(options);
        Some(Self {
            transaction: number(announce, 12)?,
            info_hash: *announce.get(16..)?.first_chunk()?,
            peer_id: *announce.get(36..)?.first_chunk()?,
            strict,
        })
    }
}

/// Whether bytes are options of BEP 41. Some clients pad with zero bytes, which is the end option.
fn are_options(mut bytes: &[u8]) -> bool {
    loop {
        bytes = match bytes {
            [] => return true,
            [0, rest @ ..] => return rest.iter().all(|byte| *byte == 0),
            [1, rest @ ..] => rest,
            [2, length, rest @ ..] => match rest.get(usize::from(*length)..) {
                Some(rest) => rest,
                None => return false,
            },
            _ => return false,
        };
    }
}
