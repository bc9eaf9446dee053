//! How far a TCP flow is proven and whether it is over (RFC 9293).
//!
//! An end is proven when the other end acknowledged something that only it can have sent, and both are when that
//! happened both ways: the three packets of a handshake, or payload in the middle of a flow. Somebody who sends
//! packets with a forged source does not see the answers and would have to guess a sequence number. A capture of
//! one direction proves nothing.

use super::limits::MAX_IN_FLIGHT;
use crate::packet::TcpView;
use btblocker_detectors::{Ends, Side};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What one end sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Sequence number of its SYN.
    initial: u32,
    /// First sequence number that is not acknowledged.
    first: u32,
    /// The sequence number behind the last one: when both ends are proven, that of a SYN that came since.
    next: u32,
    /// Something was seen that takes up sequence numbers.
    seen: bool,
    /// SYN and FIN, when it has sent them.
    flags: u8,
    /// The window scale of its SYN.
    scale: u8,
    /// The other end acknowledged something of it.
    acknowledged: bool,
}

/// Stand for a SYN without window scale, and for a scale that the other end has not certainly taken over.
const UNSCALED: u8 = u8::MAX;
const UNCERTAIN: u8 = u8::MAX - 1;

impl Sent {
    fn extend(&mut self, sequence: u32, len: u32) {
        let end = sequence.wrapping_add(len);
        let ahead = end.wrapping_sub(self.next);
        if !self.seen || (ahead > MAX_IN_FLIGHT && ahead < MAX_IN_FLIGHT.wrapping_neg()) {
            (self.first, self.next, self.seen) = (sequence, end, true);
        } else if ahead <= MAX_IN_FLIGHT {
            self.next = end;
        }
        if self.next.wrapping_sub(self.first) > MAX_IN_FLIGHT {
            self.first = self.next.wrapping_sub(MAX_IN_FLIGHT);
        }
    }
    /// The other end says that it has everything before `number`.
    fn acknowledge(&mut self, number: u32) {
        let newly = number.wrapping_sub(self.first);
        if self.seen && newly != 0 && newly <= self.next.wrapping_sub(self.first) {
            (self.first, self.acknowledged) = (number, true);
        }
    }
}

/// What is remembered of the TCP headers of one flow. Empty for other transports.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpState {
    sides: [Sent; 2],
    reset: bool,
    payload: bool,
    /// Who has asked for a new connection on the ports of this one, and with which window scale.
    reopening: Option<Side>,
    reopening_scale: u8,
}

/// Whether the segment asks for a new connection (SYN without ACK).
pub(super) const fn is_opening(segment: &TcpView<'_>) -> bool {
    segment.flags & (SYN | ACK | RST) == SYN
}
/// Whether the segment answers such a request (SYN with ACK).
pub(super) const fn is_opening_answer(segment: &TcpView<'_>) -> bool {
    segment.flags & (SYN | ACK | RST) == SYN | ACK
}
/// Whether SYN is set.
pub(super) const fn has_syn(segment: &TcpView<'_>) -> bool {
    segment.flags & SYN != 0
}

/// Whether ACK is set.
pub(super) const fn has_ack(segment: &TcpView<'_>) -> bool {
    segment.flags & ACK != 0
}

impl TcpState {
    /// Nothing seen.
    pub(super) const fn new() -> Self {
        let nothing = Sent {
            initial: 0,
            first: 0,
            next: 0,
            seen: false,
            flags: 0,
            scale: UNSCALED,
            acknowledged: false,
        };
        Self {
            sides: [nothing; 2],
            reset: false,
            payload: false,
            reopening: None,
            reopening_scale: UNSCALED,
        }
    }
    /// Takes in the header of one segment.
    pub(super) fn observe(&mut self, from: Side, segment: &TcpView<'_>) {
        let TcpView {
            sequence, wire_len, ..
        } = *segment;
        let (syn, fin) = (segment.flags & SYN, segment.flags & FIN);
        if segment.flags & RST != 0 {
            // Its numbers are copied from the segment that it refuses, so they prove nothing.
            self.reset = true;
            return;
        }
        self.payload |= wire_len > 0;
        let proven = self.proven() == Ends::BOTH;
        let [originator, responder] = &mut self.sides;
        let (sender, receiver) = match from {
            Side::Originator => (originator, responder),
            Side::Responder => (responder, originator),
        };
        sender.flags |= fin;
        let scale = segment.window_scale.unwrap_or(UNSCALED);
        let repeats = sender.flags & SYN != 0 && sender.initial == sequence;
        if proven {
            if is_opening(segment) && !repeats {
                sender.next = sequence;
                (self.reopening, self.reopening_scale) = (Some(from), scale);
            }
            return;
        }
        if syn != 0 && repeats && sender.scale != scale {
            sender.scale = UNCERTAIN;
        }
        if syn != 0 && !repeats {
            (sender.initial, sender.scale) = (sequence, scale);
            sender.flags |= SYN;
            (sender.first, sender.next, sender.seen) = (sequence, sequence, true);
        }
        let len = wire_len
            .saturating_add(u32::from(syn != 0))
            .saturating_add(u32::from(fin != 0));
        if len > 0 {
            sender.extend(sequence, len);
        }
        if segment.flags & ACK != 0 {
            let known = receiver.acknowledged;
            receiver.acknowledge(segment.acknowledgement);
            // Of several SYNs the one that was answered counts.
            if !known && segment.acknowledgement != receiver.initial.wrapping_add(1) {
                receiver.scale = UNCERTAIN;
            }
        }
    }
    /// Ends that take part for certain: both or none.
    pub(super) fn proven(&self) -> Ends {
        if self.sides.iter().all(|sent| sent.acknowledged) {
            Ends::BOTH
        } else {
            Ends::NONE
        }
    }
    /// After FIN of both ends, or a reset while none is proven. An end of a connection can send a reset that the other end ignores,
    /// by a wrong checksum for one.
    pub(super) fn closed(&self) -> bool {
        self.finished() || (self.reset && self.proven().is_empty())
    }
    /// The same with a reset, believed or not.
    pub(super) fn may_be_over(&self) -> bool {
        self.finished() || self.reset
    }
    /// Both ends have said that they send no more.
    pub(super) fn finished(&self) -> bool {
        self.sides.iter().all(|sent| sent.flags & FIN != 0)
    }
    /// Neither payload nor a complete handshake was seen.
    pub(super) fn half_open(&self) -> bool {
        !self.payload && self.proven().is_empty()
    }
    /// Whether an opening segment of `from` repeats the SYN that this flow knows of it.
    pub(super) fn repeats(&self, from: Side, sequence: u32) -> bool {
        let sent = &self.sides[from.index()];
        sent.flags & SYN != 0 && sent.initial == sequence
    }
    /// Whether `from` has sent a SYN.
    pub(super) fn opened_by(&self, from: Side) -> bool {
        self.sides[from.index()].flags & SYN != 0
    }
    /// The state of the new connection that the other end has asked for, if a segment of `from` grants it.
    pub(super) fn reopened(&self, from: Side, segment: &TcpView<'_>) -> Option<Self> {
        let side = self.reopening?;
        let initial = self.sides[side.index()].next;
        let granted = segment.acknowledgement == initial.wrapping_add(1);
        if side == from || !granted || !is_opening_answer(segment) {
            return None;
        }
        let mut anew = Self::new();
        let [opening, _] = &mut anew.sides;
        (opening.initial, opening.flags, opening.scale) = (initial, SYN, self.reopening_scale);
        (opening.first, opening.next, opening.seen) = (initial, initial.wrapping_add(1), true);
        Some(anew)
    }
    /// The window scale that the SYN of one side named; more than 14 when that is not certain.
    pub(super) fn window_scale(&self, side: Side) -> Option<u8> {
        let sent = &self.sides[side.index()];
        match sent.scale {
            _ if !sent.acknowledged => Some(UNCERTAIN),
            UNSCALED => None,
            scale => Some(scale),
        }
    }
    /// Sequence number of the first payload byte of one side, when its SYN was seen.
    pub(super) fn beginning(&self, side: Side) -> Option<u32> {
        let sent = &self.sides[side.index()];
        (sent.flags & SYN != 0).then(|| sent.initial.wrapping_add(1))
    }
}
