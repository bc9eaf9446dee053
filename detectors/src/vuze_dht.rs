//! The DHT of Vuze and BiglyBT: its own binary protocol over UDP, all integers big-endian.
//!
//! Source: the public sources of BiglyBT, `dht.transport.udp`.
//!
//! | message | offset | size | field              | value                                 |
//! |---------|--------|------|--------------------|---------------------------------------|
//! | request | 0      | 8    | connection id      | top bit set                           |
//! |         | 8      | 4    | action             | 1024, 1026, 1028, 1030, 1034..=1036, 1038 |
//! |         | 12     | 4    | transaction        | any                                   |
//! |         | 16     | 1    | protocol version   | 50..=60                               |
//! |         | 17     | 1    | vendor             | any                                   |
//! |         | 18     | 4    | network            | less than 256                         |
//! |         | 22     | 1    | originator version | 50..=60                               |
//! |         | 23     | 1    | address length     | 4 or 16                               |
//! | reply   | 0      | 4    | action             | 1025, 1027, 1029, 1031..=1033, 1037, 1039 |
//! |         | 4      | 4    | transaction        | echoed                                |
//! |         | 8      | 8    | connection id      | echoed                                |
//! |         | 16     | 1    | protocol version   | 50..=60                               |
//!
//! Certain: a reply to an open request (96 echoed bits). A lone request is strong (about 75 fixed bits, but
//! from the sources of one program only). Proves: a reply proves its sender. Look-alikes: none known.

use crate::datagram::UdpDatagram;
use crate::recent::{Recent, digest};
use crate::reported::Sink;
use crate::{Class, Confidence, Ends, Evidence, Side, Technique};

/// How long an answer may take, in milliseconds.
const ANSWER_MS: u32 = 20_000;
/// Bytes of the shortest request: an IPv4 ping of version 50.
const REQUEST_BYTES: u32 = 42;

/// Open requests of one flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    requests: Recent<4>,
}

impl Exchange {
    /// Nothing seen.
    pub(crate) const fn new() -> Self {
        Self {
            requests: Recent::new(),
        }
    }

    /// Inspects one datagram at `now_ms` of the flow's life.
    pub(crate) fn inspect(&mut self, datagram: &UdpDatagram<'_>, now_ms: u32, sink: &mut Sink<'_>) {
        if !sink.options.enabled(Technique::Dht) {
            return;
        }
        let speaker = datagram.from;
        if let Some((class, question)) = request(datagram) {
            self.requests.remember(question, now_ms);
            let evidence = Evidence::new(Technique::Dht, "vuze-request", Confidence::Strong, speaker);
            sink.report(evidence.of_class(class));
        } else if let Some((class, question)) = reply(datagram)
            && self.requests.take(question, now_ms, ANSWER_MS)
        {
            let evidence = Evidence::new(Technique::Dht, "vuze-reply", Confidence::Conclusive, speaker);
            sink.report(evidence.of_class(class).proving(Ends::only(speaker)));
        }
    }
}

/// Class of a request and the digest that its reply must match.
fn request(datagram: &UdpDatagram<'_>) -> Option<(Class, u32)> {
    let [
        connection @ ..,
        a0,
        a1,
        a2,
        a3,
        t0,
        t1,
        t2,
        t3,
        version,
        _,
        n0,
        n1,
        n2,
        _,
        origin,
        address,
    ] = datagram.payload.first_chunk::<24>()?;
    let connection: &[u8; 8] = connection;
    let action = u32::from_be_bytes([*a0, *a1, *a2, *a3]);
    let sound = connection[0] & 0x80 != 0
        && matches!(action, 1024 | 1026 | 1028 | 1030 | 1034..=1036 | 1038)
        && is_version(*version)
        && [*n0, *n1, *n2] == [0; 3]
        && is_version(*origin)
        && matches!(address, 4 | 16)
        && datagram.wire_len >= REQUEST_BYTES;
    sound.then(|| {
        (
            class(action),
            question(datagram.from, &[*t0, *t1, *t2, *t3], connection),
        )
    })
}

/// Class of a reply and the digest of the request that it must answer.
fn reply(datagram: &UdpDatagram<'_>) -> Option<(Class, u32)> {
    let [a0, a1, a2, a3, t0, t1, t2, t3, connection @ .., version] = datagram.payload.first_chunk::<17>()?;
    let connection: &[u8; 8] = connection;
    let action = u32::from_be_bytes([*a0, *a1, *a2, *a3]);
    let sound = matches!(action, 1025 | 1027 | 1029 | 1031..=1033 | 1037 | 1039) && is_version(*version);
    sound.then(|| {
        (
            class(action - 1),
            question(datagram.from.other(), &[*t0, *t1, *t2, *t3], connection),
        )
    })
}

fn question(asking: Side, transaction: &[u8; 4], connection: &[u8; 8]) -> u32 {
    digest(&[&[asking as u8], transaction, connection])
}

const fn is_version(byte: u8) -> bool {
    matches!(byte, 50..=60)
}

/// Pings, node look-ups and statistics maintain the routing table; the rest stores and finds torrents.
const fn class(action: u32) -> Class {
    match action {
        1026 | 1030 | 1038 => Class::BitTorrent,
        _ => Class::DhtMaintenance,
    }
}
