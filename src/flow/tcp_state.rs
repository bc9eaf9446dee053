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
    /// The sequence number behind the last one.
    next: u32,
    /// Something was seen that takes up sequence numbers.
    seen: bool,
    syn: bool,
    fin: bool,
    /// The other end acknowledged something of it.
    acknowledged: bool,
}

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
            syn: false,
            fin: false,
            acknowledged: false,
        };
        Self {
            sides: [nothing; 2],
            reset: false,
            payload: false,
        }
    }
    /// Takes in the header of one segment.
    pub(super) fn observe(&mut self, from: Side, segment: &TcpView<'_>) {
        let TcpView {
            sequence, wire_len, ..
        } = *segment;
        let (syn, fin) = (segment.flags & SYN != 0, segment.flags & FIN != 0);
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
        sender.fin |= fin;
        if proven {
            return;
        }
        if syn && !(sender.syn && sender.initial == sequence) {
            (sender.initial, sender.syn) = (sequence, true);
            (sender.first, sender.next, sender.seen) = (sequence, sequence, true);
        }
        let len = wire_len
            .saturating_add(u32::from(syn))
            .saturating_add(u32::from(fin));
        if len > 0 {
            sender.extend(sequence, len);
        }
        if segment.flags & ACK != 0 {
            receiver.acknowledge(segment.acknowledgement);
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
    /// After a reset, or FIN of both ends.
    pub(super) fn closed(&self) -> bool {
        self.reset || self.finished()
    }
    /// Both ends have said that they send no more.
    pub(super) fn finished(&self) -> bool {
        self.sides.iter().all(|sent| sent.fin)
    }
    /// Neither payload nor a complete handshake was seen.
    pub(super) fn half_open(&self) -> bool {
        !self.payload && self.proven().is_empty()
    }
    /// Whether an opening segment of `from` repeats the SYN that this flow knows of it.
    pub(super) fn repeats(&self, from: Side, sequence: u32) -> bool {
        let sent = &self.sides[from.index()];
        sent.syn && sent.initial == sequence
    }
    /// Whether `from` has sent a SYN.
    pub(super) fn opened_by(&self, from: Side) -> bool {
        self.sides[from.index()].syn
    }
    /// Sequence number of the first payload byte of one side, when its SYN was seen.
    pub(super) fn beginning(&self, side: Side) -> Option<u32> {
        let sent = &self.sides[side.index()];
        sent.syn.then(|| sent.initial.wrapping_add(1))
    }
}
