//! The peer protocol inside a TCP flow: handshake, messages, the encrypted exchange.
//!
//! Says how sure each technique's finding is in the light of the whole flow: who spoke, where in the stream it stood,
//! which other protocol the flow began with. The techniques themselves know bytes only.

use core::num::NonZeroU16;

use btblocker_signatures::{Anchor, Transport};
use memchr::memmem;

use super::{Context, TcpInspector};
use crate::grammar::Protocol;
use crate::handshake::{self, HANDSHAKE_BYTES, Handshake, RESERVED_END};
use crate::mse::{self, Exchange};
use crate::recent::digest;
use crate::stream::Direction;
use crate::wire::u32_at;
use crate::{
    Class, Confidence, Ends, Evidence, Side, StreamBuffers, Technique, azureus, extension, peer_message,
    signature,
};

impl TcpInspector {
    /// Searches a handshake that the bytes from `from` on complete.
    pub(super) fn read_handshake(
        &mut self,
        side: Side,
        bytes: &[u8],
        from: usize,
        context: &mut Context<'_>,
    ) {
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
        let Some((at, mut found)) = handshake::find_from(bytes, from) else {
            return;
        };
        if found.len < HANDSHAKE_BYTES && found.info_hash.is_none() && found.class == Class::BitTorrent {
            if !self.direction(side).is_cut() {
                self.reading(side).cut = true;
                return;
            }
            // The capture shows no more of it. Name and reserved bits that begin a stream are 160 bits and more.
            if at == 0 && found.len >= RESERVED_END {
                found.confidence = Confidence::Conclusive;
            }
        }
        self.reading(side).cut = false;
        self.greet(side, &found, at == 0, context);
        // Only a whole handshake says where the messages begin.
        if self.greeted.contains(side)
            && found.confidence == Confidence::Conclusive
            && found.class == Class::BitTorrent
            && found.peer_id.is_some()
        {
            let message = at.saturating_add(usize::from(self.reading(side).start)) + HANDSHAKE_BYTES;
            self.reading(side).message = u16::try_from(message).unwrap_or(u16::MAX);
        }
    }

    /// Names the other products that the signature table knows by the first bytes of a stream.
    pub(super) fn read_start(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
        if self.is_greeted() || self.product.is_some() {
            return;
        }
        for evidence in signature::find(Anchor::StreamStart, Transport::Tcp, bytes, side) {
            // The handshake's own prefix is told with what follows it.
            if evidence.class != Class::BitTorrent || evidence.confidence == Confidence::Weak {
                self.emit(evidence, context);
                self.product = Some(evidence.class).filter(|class| *class != Class::BitTorrent);
            }
        }
    }

    /// Tells a handshake; `first` says that nothing of its direction was seen in front of it.
    pub(super) fn greet(&mut self, side: Side, found: &Handshake, first: bool, context: &mut Context<'_>) {
        if self.repeats(side, found) {
            self.reading(side).recorded = true;
            return;
        }
        let mut evidence = found.evidence(side);
        if !self.is_conversation() {
            if found.confidence != Confidence::Conclusive {
                return;
            }
            if !first || self.is_unasked(side) {
                evidence.confidence = Confidence::Strong;
            }
        }
        // In front of a handshake nothing stands, or an exchange of keys: this one was quoted.
        if !first && self.reading(side).structured {
            evidence.confidence = evidence.confidence.min(Confidence::Strong);
        }
        if evidence.confidence == Confidence::Conclusive {
            self.greeted = self.greeted.union(Ends::only(side));
        }
        self.emit(evidence, context);
        if found.class != Class::BitTorrent {
            self.product = Some(found.class);
        }
    }

    /// Whether the other end has sent a handshake with this peer-id, or both none: then `side` sends back what it gets.
    fn repeats(&mut self, side: Side, found: &Handshake) -> bool {
        // Who begins a connection names himself at once; in a capture that cuts segments, nobody does.
        let hash = found.info_hash.filter(|_| !self.direction(side).is_cut());
        let Some(name) = found.peer_id.or(hash) else {
            return false;
        };
        self.reading(side).peer = digest(&[&name]);
        self.reading(side).peer == self.reading(side.other()).peer
    }

    /// Whether both ends sent payload, by their segments or by what the other end acknowledges. In a file transfer,
    /// which may hold recorded traffic, only one does.
    pub(super) fn is_conversation(&self) -> bool {
        let [a, b] = &self.directions;
        (a.spoke() || b.heard()) && (b.spoke() || a.heard())
    }

    /// Whether the end that was called speaks while the caller, seen from the start, has said nothing: the
    /// initiator of a peer connection always speaks first.
    fn is_unasked(&mut self, side: Side) -> bool {
        let originator = self.direction(Side::Originator);
        side == Side::Responder && originator.start_seen() && !originator.spoke()
    }

    /// Reads whole messages behind a handshake.
    pub(super) fn read_messages(&mut self, side: Side, bytes: &[u8], context: &mut Context<'_>) {
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

    /// Searches message patterns at any offset, and extension messages that lie whole in `bytes`.
    pub(super) fn read_patterns(&mut self, side: Side, bytes: &[u8], whole: bool, context: &mut Context<'_>) {
        // What is in front of the first message's mark is none.
        let Some((before, bytes)) =
            memmem::find(bytes, &peer_message::MARK).and_then(|at| bytes.split_at_checked(at))
        else {
            return;
        };
        let sure = self.greeted.contains(side) || (self.is_conversation() && !self.reading(side).structured);
        if let Some(hit) = peer_message::scan(bytes) {
            // Where the capture cuts segments, it may hide that recorded packets are copied.
            let hidden = self.direction(side).is_cut() && !self.is_greeted();
            if hidden && !(before.is_empty() && peer_message::leads_to(bytes, hit.at)) {
                return;
            }
            let mut evidence = hit.evidence(side);
            if !sure {
                evidence.confidence = Confidence::Strong;
            }
            self.plain = true;
            self.emit(evidence, context);
        }
        if !sure {
            return;
        }
        if let Some(evidence) = azureus::find(bytes, side) {
            self.emit(evidence, context);
        }
        if whole {
            let mut told: [Option<Evidence>; 4] = [None; 4];
            extension::find(
                bytes,
                side,
                &mut self.announced,
                context.findings,
                |_, evidence| {
                    if let Some(free) = told.iter_mut().find(|slot| slot.is_none()) {
                        *free = Some(evidence);
                    }
                },
            );
            for evidence in told.into_iter().flatten() {
                self.emit(evidence, context);
            }
        }
    }

    /// Judges the flights as an exchange of keys, once.
    pub(super) fn read_exchange(&mut self, buffers: &StreamBuffers, context: &mut Context<'_>) {
        if self.judged || !context.options.enabled(Technique::Mse) {
            return;
        }
        let start_seen = self.directions.iter().any(Direction::start_seen);
        if !start_seen || self.protocol != Protocol::Unknown {
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
        let cut = self.directions.iter().any(Direction::is_cut);
        let own = [first, first.other()].map(|side| !self.cramped.contains(side));
        let found = mse::exchange(&self.flights, one, two, cut, context.options).by(own);
        self.judged = match found {
            Exchange::No | Exchange::Flights(_) => true,
            Exchange::Unfinished => false,
            Exchange::Shape => self.flights.ended(4).is_some(),
        };
        if let Some((rule, confidence)) = mse::grade(found) {
            self.exchanged = true;
            let mut evidence = Evidence::new(Technique::Mse, rule, confidence, first);
            // Who opens an exchange has a part in the answer, who only answers none in how it was asked.
            if found != Exchange::Flights([true, false]) {
                evidence = evidence.of_both();
            }
            evidence.key = mse::key_hash(one);
            evidence.opening = self.flights.ended(0).and_then(NonZeroU16::new);
            self.emit(evidence, context);
        }
    }
}
