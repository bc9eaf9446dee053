//! Inspection of one TCP flow.
//!
//! The ordered beginning of both directions is read as long as buffers are lent; single segments are read behind
//! it, or without buffers. What the beginning says does not depend on how it was cut into segments. Each technique
//! is told once per speaker and confidence until [`TcpInspector::rearm`].
//!
//! | what ends | when |
//! |---|---|
//! | reading the beginning | both directions have 4 KiB, or one is 64 KiB ahead, or 1,024 segments came |
//! | reading segments | TLS or SSH after its first flights; else after 400 segments with payload, 4,000 when anything was found; never after a conclusive finding |
//!
//! 400 segments hold about 35 blocks of 16 KiB: enough for every rule of `entropy` and `peer_message`.

use crate::emitted::Emitted;
use crate::entropy::Sizes;
use crate::extension::{self, Announced};
use crate::grammar::{self, Protocol};
use crate::handshake::{self, HANDSHAKE_BYTES, Handshake};
use crate::http::{self, Asked};
use crate::mse::{self, Exchange};
use crate::socks::{self, Negotiation};
use crate::stream::{Direction, Flights};
use crate::wire::u32_at;
use crate::{
    Class, Confidence, Endpoint, Evidence, Findings, Options, Progress, Side, StreamBuffers, Technique,
    Timestamp, azureus, peer_message,
};

/// Segments with payload that are read while nothing was found.
const SEGMENTS: u16 = 400;
/// Segments with payload that are read when something short of a conclusion was found.
const SEGMENTS_OF_SUSPECT: u16 = 4_000;
/// Segments with payload during which the beginning is read.
const STREAM_SEGMENTS: u16 = 1_024;
/// Bytes of one direction behind which the beginning of the other is not waited for.
const STREAM_BYTES: u32 = 64 << 10;
/// Segments with payload after which a sealed protocol is believed.
const SEALED_SEGMENTS: u16 = 4;
/// Bytes before the newest ones in which a message may begin that the newest ones complete: the longest
/// pattern of `peer_message` has 53.
const OVERLAP: u16 = 160;

/// One TCP segment as the inspector sees it.
#[derive(Clone, Copy, Debug)]
pub struct TcpSegment<'a> {
    /// The end that sent it.
    pub from: Side,
    /// Packet time.
    pub at: Timestamp,
    /// Sequence number of the first payload byte (of a SYN: the initial sequence number plus one).
    pub sequence: u32,
    /// Whether SYN is set.
    pub syn: bool,
    /// Captured payload.
    pub payload: &'a [u8],
    /// Payload length on the wire in bytes, at least `payload.len()`.
    pub wire_len: u32,
}

/// Whether a proxy negotiation is in front of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Proxy {
    #[default]
    Possible,
    No,
    Opened,
}

/// Where one direction of the inner stream stands.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    /// Offset of the inner stream in the kept beginning.
    start: u16,
    /// Bytes of the kept beginning that were read.
    read: u16,
    /// Offset of the next peer message behind a handshake; 0 before one.
    message: u16,
    /// Offset of the next HTTP request or answer.
    head: u16,
    /// Whether a handshake is cut before its info-hash.
    cut: bool,
}

/// What is remembered of one TCP flow.
#[derive(Clone, Debug, Default)]
pub struct TcpInspector {
    directions: [Direction; 2],
    reading: [Reading; 2],
    sizes: [Sizes; 2],
    flights: Flights,
    emitted: Emitted,
    announced: Announced,
    target: Option<Endpoint>,
    segments: u16,
    protocol: Protocol,
    proxy: Proxy,
    asked: Asked,
    /// Whether the buffers were prepared for this flow.
    lent: bool,
    /// Whether the beginning needs no more reading.
    begun: bool,
    /// Whether the exchange of keys is judged.
    judged: bool,
    /// Whether another product uses the framing.
    foreign: bool,
    /// Whether a handshake was seen.
    greeted: bool,
}

/// What one reading step works with.
struct Context<'a> {
    options: &'a Options,
    findings: &'a mut Findings,
}

impl TcpInspector {
    /// State of a flow of which nothing was seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets evidence that was already told be told again, when later segments show it again.
    pub fn rearm(&mut self) {
        self.emitted.clear();
    }

    /// Shows one segment. `buffers` is `None` when they were released after [`Progress::Packets`], or
    /// when the owner has none to spare; recognition then works on single segments.
    pub fn segment(
        &mut self,
        segment: &TcpSegment<'_>,
        buffers: Option<&mut StreamBuffers>,
        options: &Options,
        findings: &mut Findings,
    ) -> Progress {
        let side = segment.from;
        if segment.syn {
            self.direction(side).syn(segment.sequence);
        }
        if segment.payload.is_empty() {
            return self.progress();
        }
        self.segments = self.segments.saturating_add(1);
        let mut buffers = buffers.filter(|_| !self.begun);
        if let Some(buffers) = buffers.as_deref_mut()
            && !self.lent
        {
            buffers.forget();
            self.lent = true;
        }
        let added = self.direction(side).place(
            side,
            segment.sequence,
            segment.payload,
            segment.wire_len,
            buffers.as_deref_mut(),
        );
        let mut context = Context { options, findings };
        if added.fresh {
            self.flights.add(side, added.ordered);
            let top = self.direction(side).top();
            self.sizes(side)
                .segment(top, segment.payload, segment.wire_len, options);
        }
        if let Some(buffers) = buffers.as_deref()
            && added.ordered > 0
        {
            self.read_beginning(side, buffers, &mut context);
        }
        let outside = segment.payload.get(added.inside..).unwrap_or(&[]);
        if !outside.is_empty() && added.fresh {
            let whole = if added.inside == 0 {
                outside
            } else {
                segment.payload
            };
            self.read_segment(side, whole, &mut context);
        }
        if added.fresh {
            self.read_sizes(side, &mut context);
        }
        self.progress()
    }

    fn direction(&mut self, side: Side) -> &mut Direction {
        let [a, b] = &mut self.directions;
        match side {
            Side::Originator => a,
            Side::Responder => b,
        }
    }
    fn reading(&mut self, side: Side) -> &mut Reading {
        let [a, b] = &mut self.reading;
        match side {
            Side::Originator => a,
            Side::Responder => b,
        }
    }
    fn sizes(&mut self, side: Side) -> &mut Sizes {
        let [a, b] = &mut self.sizes;
        match side {
            Side::Originator => a,
            Side::Responder => b,
        }
    }

    fn progress(&mut self) -> Progress {
        let [a, b] = &self.directions;
        self.begun |= (a.is_full() && b.is_full())
            || a.top().max(b.top()) > STREAM_BYTES
            || self.segments >= STREAM_SEGMENTS;
        let sealed = self.protocol == Protocol::Sealed && self.segments >= SEALED_SEGMENTS;
        let conclusive = self.emitted.has(Confidence::Conclusive);
        let limit = if self.emitted.has(Confidence::Weak) {
            SEGMENTS_OF_SUSPECT
        } else {
            SEGMENTS
        };
        if (sealed || self.segments >= limit) && !conclusive {
            Progress::Done
        } else if self.begun || sealed {
            Progress::Packets
        } else {
            Progress::Stream
        }
    }

    /// Whether evidence of this strength is believed on a flow of this kind.
    fn is_believed(&self, evidence: &Evidence) -> bool {
        match evidence.technique {
            Technique::Http | Technique::Socks => true,
            // Text quotes; a conclusive structure inside a binary protocol is still itself.
            _ => match self.protocol {
                Protocol::Unknown => true,
                Protocol::Binary => evidence.confidence == Confidence::Conclusive,
                Protocol::Http | Protocol::Text | Protocol::Sealed => false,
            },
        }
    }

    fn emit(&mut self, mut evidence: Evidence, context: &mut Context<'_>) {
        if self.foreign && evidence.class == Class::BitTorrent {
            return;
        }
        if context.options.enabled(evidence.technique)
            && self.is_believed(&evidence)
            && self.emitted.note(&evidence)
        {
            evidence.target = evidence.target.or(self.target);
            context.findings.push(evidence);
        }
    }

    /// Reads the bytes of `side` that became ordered.
    fn read_beginning(&mut self, side: Side, buffers: &StreamBuffers, context: &mut Context<'_>) {
        self.read_proxy(buffers, context);
        self.name_protocol(buffers);
        let end = self.direction(side).ordered();
        let Reading { start, read, .. } = *self.reading(side);
        let bytes = buffers.prefix(side, end).get(usize::from(start)..).unwrap_or(&[]);
        let from = usize::from(read.saturating_sub(start).saturating_sub(OVERLAP));
        if !matches!(self.protocol, Protocol::Http | Protocol::Text | Protocol::Sealed) {
            self.read_handshake(side, bytes, from, context);
            self.read_messages(side, bytes, context);
            self.read_patterns(side, bytes.get(from..).unwrap_or(&[]), context);
            self.read_exchange(buffers, context);
        }
        if self.protocol == Protocol::Http {
            self.read_http(side, bytes, context);
        }
        self.reading(side).read = end;
    }

    fn read_proxy(&mut self, buffers: &StreamBuffers, context: &mut Context<'_>) {
        if self.proxy != Proxy::Possible {
            return;
        }
        let [client, server] = [Side::Originator, Side::Responder]
            .map(|side| buffers.prefix(side, self.direction(side).ordered()));
        if client.is_empty() {
            return;
        }
        match socks::negotiation(client, server) {
            Negotiation::Unfinished => {}
            Negotiation::None => self.proxy = Proxy::No,
            Negotiation::Complete(tunnel) => {
                self.proxy = Proxy::Opened;
                self.target = tunnel.target;
                if tunnel.name != "connect" {
                    let evidence = Evidence::new(
                        Technique::Socks,
                        tunnel.name,
                        Confidence::Strong,
                        Side::Originator,
                    )
                    .of_class(Class::Socks);
                    self.emit(evidence, context);
                }
                self.restart(tunnel.starts);
            }
        }
    }

    /// Begins again behind a negotiation.
    fn restart(&mut self, starts: [usize; 2]) {
        self.protocol = Protocol::Unknown;
        self.flights = Flights::default();
        for (side, start) in [Side::Originator, Side::Responder].into_iter().zip(starts) {
            let start = u16::try_from(start).unwrap_or(u16::MAX);
            let inner = self.direction(side).ordered().saturating_sub(start);
            *self.reading(side) = Reading {
                start,
                read: start,
                ..Reading::default()
            };
            if inner > 0 {
                self.flights.add(side, inner);
            }
        }
    }

    fn name_protocol(&mut self, buffers: &StreamBuffers) {
        if self.protocol != Protocol::Unknown || self.proxy == Proxy::Possible && self.is_negotiating(buffers)
        {
            return;
        }
        for side in [Side::Originator, Side::Responder] {
            let end = self.direction(side).ordered();
            let start = usize::from(self.reading(side).start);
            let bytes = buffers.prefix(side, end).get(start..).unwrap_or(&[]);
            let found = grammar::of_start(bytes);
            // In the middle of a stream text may be content.
            let believed = found != Protocol::Text || self.direction(side).start_seen();
            if found != Protocol::Unknown && believed && !self.greeted {
                self.protocol = found;
            }
        }
    }

    /// Whether the client's first byte is one of a proxy protocol.
    fn is_negotiating(&mut self, buffers: &StreamBuffers) -> bool {
        let end = self.direction(Side::Originator).ordered();
        matches!(buffers.prefix(Side::Originator, end), [4 | 5, ..])
            || buffers.prefix(Side::Originator, end).starts_with(b"CONNECT ")
    }

    fn read_handshake(&mut self, side: Side, bytes: &[u8], from: usize, context: &mut Context<'_>) {
        if core::mem::take(&mut self.reading(side.other()).cut) && self.reading(side.other()).message == 0 {
            // The other side answers a handshake that it cannot have understood.
            let evidence = Evidence::new(
                Technique::Handshake,
                "handshake-prefix",
                Confidence::Strong,
                side.other(),
            );
            self.emit(evidence, context);
        }
        if self.reading(side).message != 0 {
            return;
        }
        let Some((at, found)) = handshake::find_from(bytes, from) else {
            return;
        };
        self.reading(side).cut = found.len < HANDSHAKE_BYTES && found.info_hash.is_none();
        if self.reading(side).cut && found.class == Class::BitTorrent {
            return;
        }
        if found.confidence == Confidence::Conclusive && found.class == Class::BitTorrent {
            let message = at.saturating_add(usize::from(self.reading(side).start)) + HANDSHAKE_BYTES;
            // Only a whole handshake says where the messages begin.
            if found.peer_id.is_some() {
                self.reading(side).message = u16::try_from(message).unwrap_or(u16::MAX);
            }
        }
        self.greet(side, &found, context);
    }

    fn greet(&mut self, side: Side, found: &Handshake, context: &mut Context<'_>) {
        self.greeted |= found.confidence == Confidence::Conclusive;
        if found.class == Class::BitTorrent
            && found.confidence == Confidence::Conclusive
            && self.is_unasked(side)
        {
            let mut evidence = found.evidence(side);
            evidence.confidence = Confidence::Strong;
            self.emit(evidence, context);
            return;
        }
        self.emit(found.evidence(side), context);
        self.foreign |= matches!(
            found.class,
            Class::DeliveryOptimization | Class::AceStream | Class::Resilio
        );
    }

    /// Whether a flow seen from its start is a transfer towards the end that opened it, which said nothing: the
    /// initiator of a peer connection always speaks first.
    fn is_unasked(&mut self, side: Side) -> bool {
        side == Side::Responder
            && self.direction(Side::Originator).start_seen()
            && !self.direction(Side::Originator).spoke()
    }

    /// Reads whole messages behind a handshake.
    fn read_messages(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
        let start = self.reading(side).start;
        while self.reading(side).message != 0 {
            let at = usize::from(self.reading(side).message.saturating_sub(start));
            let Some(length) = u32_at(bytes, at).and_then(|length| usize::try_from(length).ok()) else {
                return;
            };
            let Some(body) = bytes.get(at + 4..).and_then(|rest| rest.get(..length)) else {
                return;
            };
            if let Some(evidence) = extension::message(body, side, &mut self.announced, context.findings) {
                self.emit(evidence, context);
            }
            if matches!(body, [0x0E | 0x0F] | [0x11, _, _, _, _] | [0x0D, _, _, _, _]) {
                self.emit(
                    Evidence::new(Technique::Fast, "fast", Confidence::Conclusive, side),
                    context,
                );
            }
            let next = at.saturating_add(4 + length).saturating_add(usize::from(start));
            self.reading(side).message = u16::try_from(next).unwrap_or(u16::MAX);
        }
    }

    /// Searches message patterns at any offset.
    fn read_patterns(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
        if let Some(hit) = peer_message::scan(bytes) {
            let mut evidence = hit.evidence(side);
            let [a, b] = &self.directions;
            // A transfer of recorded traffic shows messages, but only one end speaks.
            if !self.greeted && !(a.spoke() && b.spoke()) {
                evidence.confidence = Confidence::Strong;
            }
            self.emit(evidence, context);
        }
        if let Some(evidence) = azureus::find(bytes, side) {
            self.emit(evidence, context);
        }
    }

    fn read_exchange(&mut self, buffers: &StreamBuffers, context: &mut Context<'_>) {
        if self.judged || !context.options.enabled(Technique::Mse) {
            return;
        }
        let [a, b] = &self.directions;
        if self.greeted || !(a.start_seen() || b.start_seen()) || self.protocol != Protocol::Unknown {
            return;
        }
        let first = self.flights.first();
        let [one, two] = [first, first.other()].map(|side| {
            let start = usize::from(self.reading(side).start);
            buffers
                .prefix(side, self.direction(side).ordered())
                .get(start..)
                .unwrap_or(&[])
        });
        let found = mse::exchange(&self.flights, one, two, context.options);
        self.judged = match found {
            Exchange::No | Exchange::Flights => true,
            Exchange::Unfinished => false,
            Exchange::Shape => self.flights.ended(4).is_some(),
        };
        if let Some((rule, confidence)) = mse::grade(found) {
            let mut evidence = Evidence::new(Technique::Mse, rule, confidence, first);
            evidence.key = mse::key_hash(one);
            self.emit(evidence, context);
        }
    }

    /// Reads requests, answers and frames of one direction in order.
    fn read_http(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
        let start = self.reading(side).start;
        loop {
            let at = usize::from(self.reading(side).head.saturating_sub(start));
            let rest = bytes.get(at..).unwrap_or(&[]);
            let next = if grammar::is_http_request(rest) {
                let Some((asked, evidence)) = http::request(rest, side) else {
                    return;
                };
                self.asked = asked;
                self.emit_some(evidence, context);
                http::head_end(bytes, at)
            } else if rest.starts_with(b"HTTP/1.") {
                if let Some(evidence) = http::answer(rest, side, self.asked, context.findings) {
                    self.emit(evidence, context);
                }
                // A tracker's body ends with its flow or before the next answer's segment.
                http::head_end(bytes, at).filter(|_| self.asked == Asked::WebSocket)
            } else if self.asked == Asked::WebSocket && at > 0 {
                let Some((evidence, length)) = http::websocket(rest, side) else {
                    return;
                };
                self.emit_some(evidence, context);
                Some(at.saturating_add(length))
            } else {
                return;
            };
            let Some(next) = next else { return };
            let next = next.saturating_add(usize::from(start));
            self.reading(side).head = u16::try_from(next).unwrap_or(u16::MAX);
        }
    }

    fn emit_some(&mut self, evidence: Option<Evidence>, context: &mut Context<'_>) {
        if let Some(evidence) = evidence {
            self.emit(evidence, context);
        }
    }

    fn read_http_segment(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
        let evidence = if grammar::is_http_request(bytes) {
            http::request(bytes, side).and_then(|(asked, evidence)| {
                self.asked = asked;
                evidence
            })
        } else if bytes.starts_with(b"HTTP/1.") {
            http::answer(bytes, side, self.asked, context.findings)
        } else if self.asked == Asked::WebSocket {
            http::websocket(bytes, side).and_then(|(evidence, _)| evidence)
        } else {
            None
        };
        self.emit_some(evidence, context);
    }

    /// Reads a segment that lies behind the kept beginning, or of a flow without buffers.
    fn read_segment(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
        if self.protocol == Protocol::Unknown
            && !self.lent
            && self.segments <= SEALED_SEGMENTS
            && !self.greeted
        {
            let found = grammar::of_start(bytes);
            if found != Protocol::Text || self.direction(side).start_seen() {
                self.protocol = found;
            }
        }
        match self.protocol {
            Protocol::Http => self.read_http_segment(side, bytes, context),
            Protocol::Text | Protocol::Sealed => {}
            Protocol::Unknown | Protocol::Binary => {
                if let Some((_, found)) = handshake::find(bytes)
                    && found.info_hash.is_some()
                {
                    self.greet(side, &found, context);
                }
                self.read_patterns(side, bytes, context);
                let mut announced = self.announced;
                let findings = &mut *context.findings;
                let mut told: [Option<Evidence>; 4] = [None; 4];
                extension::find(bytes, side, &mut announced, findings, |_, evidence| {
                    if let Some(free) = told.iter_mut().find(|slot| slot.is_none()) {
                        *free = Some(evidence);
                    }
                });
                self.announced = announced;
                for evidence in told.into_iter().flatten() {
                    self.emit(evidence, context);
                }
            }
        }
    }

    fn read_sizes(&mut self, side: Side, context: &mut Context<'_>) {
        if self.protocol != Protocol::Unknown || !context.options.enabled(Technique::Entropy) {
            return;
        }
        let [a, b] = &self.directions;
        let both = a.spoke() && b.spoke();
        let sizes = *self.sizes(side);
        let opaque = sizes.is_opaque() || self.sizes(side.other()).is_opaque();
        if sizes.requests() && opaque && both {
            self.emit(
                Evidence::new(Technique::Entropy, "rc4-requests", Confidence::Strong, side),
                context,
            );
        }
        if let Some(confidence) = sizes.blocks() {
            let confidence = if both { confidence } else { Confidence::Strong };
            self.emit(
                Evidence::new(Technique::Entropy, "rc4-blocks", confidence, side),
                context,
            );
        }
    }
}
