//! Inspection of one UDP flow: shows each datagram to the techniques that UDP knows.
//!
//! Order: the mainline DHT, local discovery and the tracker protocol, which have conclusive structure; uTP
//! with the stream inside; the Vuze DHT; and, when all of them saw nothing, the same once more behind the
//! header of a SOCKS5 relay, where only conclusive structure counts.
//!
//! | found so far  | datagrams            | then                                                     |
//! |---------------|----------------------|----------------------------------------------------------|
//! | nothing       | 24                   | [`Progress::Done`]; what is still shown is looked at for DHT and tracker only |
//! | uTP suspected | 256                  | the same: relations need packets of both sides           |
//! | strong        | 4,096 without news   | [`Progress::Packets`], but rests until [`UdpInspector::rearm`] |
//! | conclusive    | 64 without news      | the same                                                 |
//!
//! A socket that begins as something else (name look-ups, STUN) usually has its own flow for that, because
//! a flow has one remote end; 24 datagrams are the first seconds of any exchange.

use btblocker_signatures::{Anchor, Transport};
use memchr::memmem;

use crate::datagram::UdpDatagram;
use crate::extension::{self, Announced};
use crate::reported::{Reported, Sink};
use crate::utp::Packet;
use crate::utp_connection::{Connections, Seen};
use crate::{
    Class, Confidence, Ends, Evidence, Findings, Options, Progress, Side, Technique, Timestamp, dht,
    exclusion, handshake, lsd, peer_message, signature, socks_udp, tls, udp_tracker, vuze_dht,
};

/// Datagrams with payload after which a flow without findings is done.
const BUDGET: u16 = 24;
/// The same for a flow that may be uTP.
const SUSPECT_BUDGET: u16 = 256;
/// Packets of one uTP connection that make a flow suspect.
const SUSPECT_PACKETS: u8 = 4;
/// Datagrams without news after which a conclusively recognised flow rests.
const QUIET: u16 = 64;
/// The same where evidence is only strong: what the stream inside says may come later.
const STRONG_QUIET: u16 = 4096;

/// What is remembered of one UDP flow.
#[derive(Clone, Debug)]
pub struct UdpInspector {
    /// Packet time of the first datagram; exchanges count milliseconds from here.
    start: Option<Timestamp>,
    /// Datagrams shown that had a payload.
    shown: u16,
    /// Of them, since the last news.
    quiet: u16,
    found: Option<Confidence>,
    suspect: bool,
    /// Another protocol was recognised: what is only strong is silenced.
    excluded: bool,
    /// The product whose handshake was seen inside uTP.
    product: Class,
    /// Extension ids that were announced inside uTP.
    announced: Announced,
    reported: Reported,
    dht: dht::Exchange,
    tracker: udp_tracker::Exchange,
    vuze: vuze_dht::Exchange,
    utp: Connections,
}

impl Default for UdpInspector {
    fn default() -> Self {
        Self::new()
    }
}

impl UdpInspector {
    /// State of a flow of which nothing was seen.
    pub const fn new() -> Self {
        Self {
            start: None,
            shown: 0,
            quiet: 0,
            found: None,
            suspect: false,
            excluded: false,
            product: Class::BitTorrent,
            announced: Announced::new(),
            reported: Reported::new(),
            dht: dht::Exchange::new(),
            tracker: udp_tracker::Exchange::new(),
            vuze: vuze_dht::Exchange::new(),
            utp: Connections::new(),
        }
    }

    /// Lets evidence that was told before be told again, so that the owner can renew a ban from continuing
    /// traffic. Cheap; meant for every 30 s of packet time. What is proven stays proven.
    pub const fn rearm(&mut self) {
        self.reported.clear();
        self.dht.rearm();
        self.quiet = 0;
    }

    /// Shows one datagram. Evidence of one rule and speaker is told once, and once more for each end that
    /// it newly proves, until [`UdpInspector::rearm`].
    pub fn datagram(
        &mut self,
        datagram: &UdpDatagram<'_>,
        options: &Options,
        findings: &mut Findings,
    ) -> Progress {
        if datagram.payload.is_empty() || self.rests() {
            return self.progress();
        }
        let start = *self.start.get_or_insert(datagram.at);
        let now_ms = u32::try_from(datagram.at.since(start) / 1_000).unwrap_or(u32::MAX);
        let spent = self.progress() == Progress::Done;
        self.shown = self.shown.saturating_add(1);

        let mut reported = self.reported;
        let mut sink = Sink::new(options, findings, &mut reported, None);
        self.structure(datagram, now_ms, &mut sink);
        if !spent && !sink.recognised {
            self.relations(datagram, now_ms, &mut sink);
        }
        let (mut news, mut found) = (sink.news, sink.found);
        if !spent
            && !sink.recognised
            && let Some((target, header)) = socks_udp::header(datagram.payload)
        {
            let inner = UdpDatagram {
                payload: datagram.payload.get(header..).unwrap_or_default(),
                wire_len: datagram
                    .wire_len
                    .saturating_sub(u32::try_from(header).unwrap_or(u32::MAX)),
                ..*datagram
            };
            let mut sink = Sink::new(options, findings, &mut reported, Some(target));
            self.structure(&inner, now_ms, &mut sink);
            if !sink.recognised {
                self.relations(&inner, now_ms, &mut sink);
            }
            news |= sink.news;
            found = found.max(sink.found);
        }
        self.reported = reported;
        self.found = self.found.max(found);
        self.quiet = if news { 0 } else { self.quiet.saturating_add(1) };
        self.progress()
    }

    /// Whether the flow is recognised and has nothing new to say for now.
    const fn rests(&self) -> bool {
        match self.found {
            None | Some(Confidence::Weak) => false,
            Some(Confidence::Strong) => self.quiet >= STRONG_QUIET,
            Some(Confidence::Conclusive) => self.quiet >= QUIET,
        }
    }

    const fn progress(&self) -> Progress {
        let budget = if self.suspect { SUSPECT_BUDGET } else { BUDGET };
        match self.found {
            None | Some(Confidence::Weak) if self.shown >= budget => Progress::Done,
            _ => Progress::Packets,
        }
    }

    /// Techniques whose single datagrams have conclusive structure.
    fn structure(&mut self, datagram: &UdpDatagram<'_>, now_ms: u32, sink: &mut Sink<'_>) {
        self.dht.inspect(datagram, now_ms, sink);
        if !sink.recognised {
            lsd::inspect(datagram, sink);
        }
        if !sink.recognised {
            self.tracker.inspect(datagram, now_ms, sink);
        }
    }

    /// Techniques that compare packets, and those that look into a stream inside.
    fn relations(&mut self, datagram: &UdpDatagram<'_>, now_ms: u32, sink: &mut Sink<'_>) {
        self.vuze.inspect(datagram, now_ms, sink);
        if sink.recognised {
            return;
        }
        self.excluded |= exclusion::is_other_protocol(datagram.payload, datagram.wire_len);
        if !datagram.multicast
            && let Some(packet) = Packet::parse(datagram.payload, datagram.wire_len)
        {
            self.utp(&packet, datagram, sink);
        }
        if !sink.recognised && !self.excluded && !datagram.is_cut() {
            let found = signature::find(
                Anchor::DatagramStart,
                Transport::Udp,
                datagram.payload,
                datagram.from,
            );
            for mut evidence in found {
                // The techniques above know these structures in full, and have refused this one.
                evidence.confidence = evidence.confidence.min(Confidence::Strong);
                sink.report(evidence);
            }
        }
    }

    fn utp(&mut self, packet: &Packet<'_>, datagram: &UdpDatagram<'_>, sink: &mut Sink<'_>) {
        let from = datagram.from;
        // Reckoned modulo 2^32, like uTP's own clocks.
        let at_us = u32::try_from(datagram.at.0 & u64::from(u32::MAX)).unwrap_or_default();
        let seen = self.utp.packet(packet, from, at_us, sink.options);
        self.suspect |= seen.packets >= SUSPECT_PACKETS;
        if self.excluded {
            return;
        }
        self.content(packet, from, &seen, sink);
        let initiator = seen.initiator.unwrap_or(Side::Originator);
        let mut tell = |technique, rule, speaker| {
            let mut evidence =
                Evidence::new(technique, rule, Confidence::Strong, speaker).proving(seen.proven);
            evidence.key = seen.key;
            // Both ends have spoken as only a program for uTP does.
            if seen.connected {
                evidence = evidence.of_both();
            }
            sink.report(evidence);
        };
        if seen.syn {
            tell(Technique::Utp, "syn", from);
        }
        if seen.answer {
            tell(Technique::Utp, "answer", from);
        }
        if seen.connected {
            tell(Technique::Utp, "connection", initiator);
        }
        if seen.encrypted {
            tell(Technique::Mse, "utp-mse", initiator);
        }
        for evidence in seen.sizes.into_iter().flatten() {
            sink.report(evidence.proving(seen.proven));
        }
    }

    /// Looks for BitTorrent in the stream bytes of a packet.
    fn content(&mut self, packet: &Packet<'_>, from: Side, seen: &Seen, sink: &mut Sink<'_>) {
        if packet.payload.is_empty() {
            return;
        }
        // What somebody has a server send back may look like a connection's beginning.
        let proven = if seen.connected { seen.proven } else { Ends::NONE };
        if let Some((_, handshake)) = handshake::find(packet.payload) {
            self.product = handshake.class;
            sink.report(handshake.evidence(from).proving(proven));
        }
        if let Some(evidence) = tls::hello(packet.payload, from) {
            sink.report(evidence.proving(proven));
        }
        // Every message begins with a length below 65,536; encrypted bytes rarely hold two zero bytes.
        if memmem::find(packet.payload, b"\0\0").is_none() {
            return;
        }
        let mut messages = [None; 4];
        let mut free = messages.iter_mut();
        extension::find(
            packet.payload,
            from,
            &mut self.announced,
            sink.findings,
            |_, evidence| {
                if let Some(slot) = free.next() {
                    *slot = Some(evidence);
                }
            },
        );
        let scanned = peer_message::scan(packet.payload).map(|hit| hit.evidence(from));
        for evidence in messages.into_iter().chain([scanned]).flatten() {
            sink.report(evidence.of_class(self.product).proving(proven));
        }
    }
}
