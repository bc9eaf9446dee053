//! Inspection of one TCP flow.
//!
//! The ordered beginning of both directions is read as long as buffers are lent; single segments are read behind
//! it, or without buffers. What the beginning says does not depend on how it was cut into segments. Each rule
//! is told once per speaker, and again when it is surer, until [`TcpInspector::rearm`].
//!
//! | what ends | when |
//! |---|---|
//! | reading the beginning | both directions have 4 KiB, or one is at 64 KiB, or 32 flights or 8,192 segments came |
//! | reading segments | TLS or SSH after its first flights; else after 400 segments with payload, 4,000 when anything was found or less than 4 MiB of an opaque flow passed; never after a conclusive finding |
//!
//! 400 segments hold about 35 blocks of 16 KiB: enough for every rule of `entropy` and `peer_message`.

mod peer;
mod web;

use crate::entropy::{self, Sizes};
use crate::extension::Announced;
use crate::grammar::{self, Protocol};
use crate::handshake;
use crate::http::Asked;
use crate::randomness::{SAMPLE_BYTES, looks_random};
use crate::recorded;
use crate::reported::Reported;
use crate::socks::{self, Negotiation};
use crate::stream::{Direction, Flights};
use crate::windows::{self, Windows};
use crate::wire::holds_pair;
use crate::{
    Class, Confidence, Endpoint, Ends, Evidence, Findings, Options, Progress, Side, StreamBuffers, Technique,
    Timestamp, peer_message, tls,
};

/// Segments with payload that are read while nothing was found.
const SEGMENTS: u16 = 400;
/// Segments with payload that are read when something short of a conclusion was found.
const SEGMENTS_OF_SUSPECT: u16 = 4_000;
/// Bytes of one direction of an opaque flow that are read at least: 256 blocks, asked for in 20 segments.
const OPAQUE_BYTES: u32 = 4 << 20;
/// Flights during which the beginning is read: a negotiation with a proxy takes six, an exchange of keys five.
const STREAM_FLIGHTS: usize = 32;
/// Segments with payload during which the beginning is read: both directions byte by byte.
const STREAM_SEGMENTS: u16 = 8_192;
/// Bytes of one direction behind which the beginning of the other is not waited for.
const STREAM_BYTES: u32 = 64 << 10;
/// Segments with payload after which a sealed protocol is believed.
const SEALED_SEGMENTS: u16 = 4;
/// Bytes before the newest ones in which a message may begin that the newest ones complete: the longest
/// pattern of `peer_message` has 53.
const OVERLAP: u16 = 160;

/// Bytes that a short head in front of random ones has at most: line ends and zeros there are rare by chance (3e-4).
const HEAD_BYTES: usize = 16;

/// Bytes of a stream within which signatures of its start end: the longest has 20.
const SIGNATURE_BYTES: u16 = 32;

/// One TCP segment as the inspector sees it.
#[derive(Clone, Copy, Debug)]
pub struct TcpSegment<'a> {
    /// The end that sent it.
    pub from: Side,
    /// Packet time.
    pub at: Timestamp,
    /// Sequence number of the first payload byte (of a SYN: the initial sequence number plus one).
    pub sequence: u32,
    /// Acknowledgement number, where ACK is set.
    pub acknowledgement: Option<u32>,
    /// Receive window as it stands in the header, without its scale (RFC 7323 section 2.2).
    pub window: u16,
    /// Of a SYN with such an option: by how many bits the sender's later windows are shifted (RFC 7323 section 2.2), 0 to 14; more
    /// when it had one, and which is not certain.
    pub window_scale: Option<u8>,
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
    /// Digest of the peer-id that the sender has named; 0 for none.
    peer: u32,
    /// Whether a handshake is cut before its info-hash.
    cut: bool,
    /// Whether recorded packets are copied: what follows is not the sender's own.
    recorded: bool,
    /// Whether the direction was seen from its start and began with bytes that are not random. A peer's that holds no
    /// handshake in front does not: what looks like a message behind them was given to the sender by somebody else.
    structured: bool,
}

/// What is remembered of one TCP flow.
#[derive(Clone, Debug, Default)]
pub struct TcpInspector {
    directions: [Direction; 2],
    reading: [Reading; 2],
    sizes: [Sizes; 2],
    /// Ends that the other end lets send less than a segment during the exchange of keys: it chooses the sizes.
    cramped: Ends,
    /// What lets each end send.
    windows: [Windows; 2],
    /// By how many bits the windows of each end are shifted, where it is known.
    scales: [Option<u8>; 2],
    flights: Flights,
    reported: Reported,
    announced: Announced,
    target: Option<Endpoint>,
    segments: u16,
    protocol: Protocol,
    proxy: Proxy,
    asked: Asked,
    /// Whether a request waits for its answer.
    open: bool,
    /// Whether the buffers were prepared for this flow.
    lent: bool,
    /// Whether the beginning needs no more reading.
    begun: bool,
    /// Whether the exchange of keys is judged, and whether it looks like one.
    judged: bool,
    exchanged: bool,
    /// The other product that uses the framing.
    product: Option<Class>,
    /// Ends whose handshake was seen.
    greeted: Ends,
    /// Whether messages in the clear were seen.
    plain: bool,
    /// The surest evidence so far.
    surest: Option<Confidence>,
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
        self.reported.clear();
    }

    /// Shows one segment; one without payload says something when it has SYN, or while
    /// [`TcpInspector::heeds_acknowledgements`]. `buffers` is `None` when they were released after [`Progress::Packets`], or
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
            self.scale(side, segment.window_scale);
            if let Some(number) = segment.acknowledgement {
                self.direction(side).acknowledge(number);
            }
        } else if let Some(number) = segment.acknowledgement {
            self.grant(side, number, segment.window);
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
        if let Some(number) = segment.acknowledgement {
            self.direction(side).acknowledge(number);
        }
        let mut context = Context { options, findings };
        let cut = self.direction(side).is_cut();
        if added.fresh {
            self.flights
                .add(side, if cut { added.grown } else { added.ordered });
            let top = self.direction(side).top();
            // Whether a sealed protocol looks random is not asked.
            let sample = if self.protocol == Protocol::Sealed {
                &[]
            } else {
                segment.payload
            };
            let scale = *side.other().pick(&mut self.scales);
            let forced =
                self.sizes(side).counts(segment.wire_len) && side.pick(&mut self.windows).end_at(top, scale);
            self.sizes(side)
                .segment(top, sample, segment.wire_len, forced, options);
        }
        if let Some(buffers) = buffers.as_deref() {
            if added.ordered > 0 {
                self.read_beginning(side, buffers, &mut context);
            } else if cut && added.fresh {
                self.read_exchange(buffers, &mut context);
            }
        }
        let outside = segment.payload.get(added.inside..).unwrap_or(&[]);
        if !outside.is_empty() && added.fresh {
            let whole = if added.inside == 0 {
                outside
            } else {
                segment.payload
            };
            if !self.is_settled() {
                self.read_segment(side, whole, &mut context);
            } else if self.sizes(side).is_short(segment.wire_len) && (self.is_greeted() || self.plain) {
                // Peers are still learned from messages, which end in short segments.
                self.read_patterns(side, whole, true, &mut context);
            }
        }
        // Sizes tell the ends one by one: who asks is known later than who sends. Only short segments change them.
        if added.fresh && (!self.is_settled() || self.sizes(side).is_short(segment.wire_len)) {
            self.read_sizes(side, &mut context);
        }
        self.progress()
    }

    /// Whether segments without payload are to be shown, too: what they acknowledge matters.
    pub fn heeds_acknowledgements(&self) -> bool {
        let heeds = || self.sizes.iter().any(Sizes::heeds_windows);
        self.protocol == Protocol::Unknown && !self.is_settled() && (self.exchanges_keys() || heeds())
    }

    /// Whether the first flights may be an exchange of keys.
    const fn exchanges_keys(&self) -> bool {
        self.lent && !self.judged
    }

    /// Takes in the window scale that a SYN names. Where one of both does not, none is scaled.
    fn scale(&mut self, side: Side, named: Option<u8>) {
        if self.direction(side).spoke() {
            return;
        }
        match named {
            None => self.scales = [Some(0); 2],
            Some(scale @ 0..=windows::MAX_SCALE) => {
                side.pick(&mut self.scales).get_or_insert(scale);
            }
            Some(_) => {}
        }
    }

    /// Takes in what `side` acknowledges and how much more it lets come.
    fn grant(&mut self, side: Side, acknowledged: u32, window: u16) {
        let scale = *side.pick(&mut self.scales);
        let sender = side.other();
        let Some(acknowledged) = self.direction(sender).offset(acknowledged).filter(|_| window > 0) else {
            return;
        };
        sender.pick(&mut self.windows).open(acknowledged, window);
        if self.sizes(sender).heeds_windows() {
            self.sizes(sender).grant(acknowledged, window, scale);
        }
        if let Some(scale) = scale
            && self.exchanges_keys()
            && windows::is_narrow(
                windows::edge(acknowledged, window, scale).wrapping_sub(self.direction(sender).top()),
            )
        {
            self.cramped = self.cramped.union(Ends::only(sender));
        }
    }

    /// Whether a handshake of any end was seen.
    const fn is_greeted(&self) -> bool {
        !self.greeted.is_empty()
    }

    /// Whether the flow is recognised beyond doubt, and told since the last [`TcpInspector::rearm`].
    fn is_settled(&self) -> bool {
        self.begun && self.surest == Some(Confidence::Conclusive) && !self.reported.is_empty()
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
            || self.flights.begun() >= STREAM_FLIGHTS
            || self.segments >= STREAM_SEGMENTS;
        let sealed = self.protocol == Protocol::Sealed && self.segments >= SEALED_SEGMENTS;
        let conclusive = self.surest == Some(Confidence::Conclusive);
        let limit = if self.surest.is_some() || self.is_young() {
            SEGMENTS_OF_SUSPECT
        } else {
            SEGMENTS
        };
        if (sealed || self.begun && self.segments >= limit) && !conclusive {
            Progress::Done
        } else if self.begun || sealed {
            Progress::Packets
        } else {
            Progress::Stream
        }
    }

    /// Whether the content is opaque and too little of it passed for the rules about sizes.
    fn is_young(&self) -> bool {
        let [a, b] = &self.directions;
        self.sizes.iter().any(Sizes::is_opaque) && a.top().max(b.top()) < OPAQUE_BYTES
    }

    /// Whether evidence of this strength is believed on a flow of this kind.
    fn is_believed(&self, evidence: &Evidence) -> bool {
        match evidence.technique {
            Technique::Http | Technique::Socks | Technique::Tls => true,
            // Text quotes, and files that are copied hold what others said.
            _ => self.protocol == Protocol::Unknown,
        }
    }

    fn emit(&mut self, mut evidence: Evidence, context: &mut Context<'_>) {
        if evidence.class == Class::BitTorrent {
            match self.product {
                None => {}
                Some(Class::Blizzard) => evidence.class = Class::Blizzard,
                // Its messages are the same, its content is not.
                Some(_) => return,
            }
        }
        if context.options.enabled(evidence.technique)
            && self.is_believed(&evidence)
            && self.reported.is_news(&evidence)
        {
            self.surest = self.surest.max(Some(evidence.confidence));
            evidence.target = evidence.target.or(self.target);
            evidence.proxied |= self.proxy == Proxy::Opened;
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
        if self.protocol == Protocol::Unknown && read.saturating_sub(start) < SAMPLE_BYTES as u16 {
            let negotiates = self.proxy == Proxy::Possible && self.is_negotiating(buffers);
            if !negotiates {
                self.name_beginning(side, bytes);
                self.reading(side).recorded |= self.echoes(side, bytes, buffers);
            }
        }
        if self.protocol == Protocol::Unknown && !self.copies_packets(side, bytes.get(from..).unwrap_or(&[]))
        {
            self.read_handshake(side, bytes, from, context);
            if read.saturating_sub(start) < SIGNATURE_BYTES {
                self.read_start(side, bytes, context);
            }
            self.read_messages(side, bytes, context);
            let apart = self.reading(side).message == 0;
            self.read_patterns(side, bytes.get(from..).unwrap_or(&[]), apart, context);
            self.read_exchange(buffers, context);
        }
        if self.protocol == Protocol::Http {
            self.read_http(side, bytes, context);
        }
        if self.protocol == Protocol::Sealed
            && let Some(evidence) = tls::hello(bytes, side)
        {
            self.emit(evidence, context);
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
            Negotiation::Refused => {
                self.proxy = Proxy::No;
                self.tell_socks("socks5-refused", context);
            }
            Negotiation::Complete(tunnel) => {
                self.proxy = Proxy::Opened;
                self.target = tunnel.target;
                if tunnel.name != "connect" {
                    self.tell_socks(tunnel.name, context);
                }
                self.restart(tunnel.starts);
            }
        }
    }

    fn tell_socks(&mut self, rule: &'static str, context: &mut Context<'_>) {
        let evidence = Evidence::new(Technique::Socks, rule, Confidence::Strong, Side::Originator);
        self.emit(evidence.of_class(Class::Socks), context);
    }

    /// Begins again behind a negotiation.
    fn restart(&mut self, starts: [usize; 2]) {
        self.judged = false;
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
            if found != Protocol::Unknown && believed && !self.is_greeted() {
                self.protocol = found;
            }
        }
    }

    /// Whether the end that speaks second begins with bytes that it was sent.
    fn echoes(&mut self, side: Side, bytes: &[u8], buffers: &StreamBuffers) -> bool {
        let Some(head) = bytes.get(..HEAD_BYTES) else {
            return false;
        };
        let sent = buffers.prefix(side.other(), self.direction(side.other()).ordered());
        side != self.flights.first()
            && !head.starts_with(&handshake::MARK)
            && !handshake::is_foreign(head)
            && memchr::memmem::find(sent, head).is_some()
    }

    /// Looks at the first bytes of a direction: those of a peer are a handshake, or random. The operator's options for
    /// statistics are about evidence, and this is none.
    fn name_beginning(&mut self, side: Side, bytes: &[u8]) {
        let direction = self.direction(side);
        let (whole, cut) = (direction.start_seen(), direction.is_cut());
        let shakes_hands = bytes.starts_with(handshake::PREFIX) || handshake::PREFIX.starts_with(bytes);
        let head = bytes.get(..HEAD_BYTES.min(bytes.len())).unwrap_or(bytes);
        let headed = head.windows(2).any(|pair| pair == b"\r\n")
            || head.iter().filter(|byte| **byte == 0).count() >= 3;
        let random = !headed && looks_random(bytes, cut, &Options::default());
        self.reading(side).structured = whole && !shakes_hands && !random;
    }

    /// Whether the client's first byte is one of a proxy protocol.
    fn is_negotiating(&mut self, buffers: &StreamBuffers) -> bool {
        let end = self.direction(Side::Originator).ordered();
        matches!(buffers.prefix(Side::Originator, end), [4 | 5, ..])
            || buffers.prefix(Side::Originator, end).starts_with(b"CONNECT ")
    }

    /// Reads a segment that lies behind the kept beginning, or of a flow without buffers.
    fn read_segment(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
        if self.protocol == Protocol::Unknown
            && !self.lent
            && self.segments <= SEALED_SEGMENTS
            && !self.is_greeted()
        {
            self.name_segment(side, bytes);
        }
        // In the middle of a stream, what follows a pause begins with a record.
        let joined = self.protocol == Protocol::Unknown && !self.direction(side).start_seen();
        if joined && grammar::is_tls_data(bytes) && !self.is_greeted() && !self.plain {
            self.protocol = Protocol::Sealed;
        }
        match self.protocol {
            Protocol::Http => self.read_http_segment(side, bytes, context),
            Protocol::Text | Protocol::Sealed | Protocol::Binary => {}
            Protocol::Unknown => {
                // Encrypted content ends here.
                if !holds_pair(bytes, [handshake::MARK, peer_message::MARK]) && !handshake::is_foreign(bytes)
                {
                    return;
                }
                if self.copies_packets(side, bytes) {
                    return;
                }
                if let Some((at, found)) = handshake::find(bytes) {
                    let first = at == 0 && self.is_first(side, bytes);
                    let is_peer = found.class == Class::BitTorrent || found.class == Class::Blizzard;
                    if (is_peer && found.info_hash.is_some()) || (!is_peer && first) {
                        self.greet(side, &found, first, context);
                    }
                }
                self.read_patterns(side, bytes, true, context);
            }
        }
    }

    /// Whether a direction that did not begin as a peer's holds recorded packets, in `bytes` or before.
    fn copies_packets(&mut self, side: Side, bytes: &[u8]) -> bool {
        let own = !self.greeted.contains(side) && !self.plain;
        let reading = self.reading(side);
        reading.recorded |= own && recorded::holds_packet(bytes);
        reading.recorded
    }

    /// Names the protocol of a flow without buffers by the start of one of its first segments.
    fn name_segment(&mut self, side: Side, bytes: &[u8]) {
        if bytes.starts_with(b"CONNECT ") {
            self.proxy = Proxy::Opened;
        }
        // What a proxy says of the tunnel is not what is inside.
        if self.proxy == Proxy::Opened && (side == Side::Originator || bytes.starts_with(b"HTTP/1.")) {
            return;
        }
        let found = grammar::of_start(bytes);
        if found != Protocol::Text || self.direction(side).start_seen() {
            self.protocol = found;
        }
    }

    /// Whether `bytes` are all that was seen of a direction.
    fn is_first(&mut self, side: Side, bytes: &[u8]) -> bool {
        usize::try_from(self.direction(side).top()).is_ok_and(|top| top <= bytes.len())
    }

    fn read_sizes(&mut self, side: Side, context: &mut Context<'_>) {
        let structured = self.reading.iter().any(|reading| reading.structured);
        if self.is_greeted() || self.plain || structured || self.protocol != Protocol::Unknown {
            return;
        }
        let exchanged = self.exchanged && !self.cramped.contains(side.other());
        for evidence in entropy::inspect(&self.sizes, side, self.is_conversation(), exchanged)
            .into_iter()
            .flatten()
        {
            self.emit(evidence, context);
        }
    }
}
