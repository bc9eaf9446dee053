//! uTP: the header of one datagram.
//!
//! Spec: BEP 29; extension 2 (extension bits) and 3 (close reason) as libutp and libtorrent send them.
//!
//! | offset | size  | field              | value                                   | source  |
//! |--------|-------|--------------------|-----------------------------------------|---------|
//! | 0      | 4 bit | type               | 0 data, 1 fin, 2 state, 3 reset, 4 syn  | BEP 29  |
//! | 0      | 4 bit | version            | 1                                       | BEP 29  |
//! | 1      | 1     | first extension    | 0 none, 1 selective ack, 2 bits, 3 close reason | BEP 29, libtorrent |
//! | 2      | 2     | connection id      | any                                     | BEP 29  |
//! | 4      | 4     | timestamp          | any, microseconds of the sender's clock | BEP 29  |
//! | 8      | 4     | difference         | any: the two clocks are unrelated       | BEP 29  |
//! | 12     | 4     | window             | any                                     | BEP 29  |
//! | 16     | 2     | sequence           | any                                     | BEP 29  |
//! | 18     | 2     | acknowledged       | any                                     | BEP 29  |
//! | 20     | any   | extension chain    | next 1, length 1, body                  | BEP 29  |
//!
//! A selective ack has any length of at least 1 (libtorrent does not round to 4), extension bits 8, a close
//! reason 4. A syn, state or reset carries no payload; data carries some.
//!
//! Certain: nothing, a lone header has 12 fixed bits and 4.5 % of all UDP flows contain one by chance. A
//! strict syn (no extension or 8 zero extension bits; difference and acknowledged 0; window 0 or a power
//! of two from 2^16 to 2^24) is strong; so are the relations that [`crate::utp_connection`] checks. Even
//! they only say uTP, which other programs speak too: BitTorrent is what the payload says.
//!
//! Look-alikes: STUN, TURN, DHCP, CAPWAP, WireGuard, DNS (see [`crate::exclusion`]); OpenVPN, games, calls
//! (no relation holds). Deliberately not bounded: difference, window, id 0, timestamp 0; each is real.

/// Bytes of the header without extensions.
const HEADER_BYTES: usize = 20;
/// Most extensions in a chain; real ones have at most 2.
const MAX_EXTENSIONS: usize = 4;

/// What a packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Carries stream bytes.
    Data,
    /// Ends the stream.
    Fin,
    /// Acknowledges.
    State,
    /// Refuses or aborts.
    Reset,
    /// Opens a connection.
    Syn,
}

/// A header that keeps to the grammar of its type, and what follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    /// What the packet does.
    pub(crate) kind: Kind,
    /// Connection id.
    pub(crate) id: u16,
    /// The sender's clock in microseconds.
    pub(crate) timestamp: u32,
    /// Microseconds from the timestamp of the last packet that the sender received to its arrival, as the
    /// difference of two unrelated clocks.
    pub(crate) difference: u32,
    /// Bytes that the sender has room for.
    pub(crate) window: u32,
    /// Sequence number.
    pub(crate) sequence: u16,
    /// Last sequence number received in order.
    pub(crate) acknowledged: u16,
    /// Captured stream bytes.
    pub(crate) payload: &'a [u8],
    /// Stream bytes on the wire.
    pub(crate) payload_len: u32,
    /// Whether this is the strict form of a syn.
    pub(crate) strict_syn: bool,
}

impl<'a> Packet<'a> {
    /// Reads a datagram of `wire_len` bytes.
    pub(crate) fn parse(bytes: &'a [u8], wire_len: u32) -> Option<Self> {
        let (header, mut rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let [
            first,
            mut extension,
            i0,
            i1,
            t0,
            t1,
            t2,
            t3,
            d0,
            d1,
            d2,
            d3,
            w0,
            w1,
            w2,
            w3,
            s0,
            s1,
            a0,
            a1,
        ] = *header;
        let kind = match first {
            0x01 => Kind::Data,
            0x11 => Kind::Fin,
            0x21 => Kind::State,
            0x31 => Kind::Reset,
            0x41 => Kind::Syn,
            _ => return None,
        };
        let mut bare = extension == 0;
        for _ in 0..MAX_EXTENSIONS {
            if extension == 0 {
                break;
            }
            let (&[next, length], after) = rest.split_first_chunk::<2>()?;
            let (body, after) = after.split_at_checked(usize::from(length))?;
            match (extension, length) {
                (1, 1..) | (3, 4) => {}
                (2, 8) => bare = next == 0 && body == [0; 8],
                _ => return None,
            }
            extension = next;
            rest = after;
        }
        if extension != 0 {
            return None;
        }
        let header_len = u32::try_from(bytes.len() - rest.len()).ok()?;
        let payload_len = wire_len.checked_sub(header_len)?;
        let fits = match kind {
            Kind::Data => payload_len > 0,
            Kind::Fin => true,
            Kind::State | Kind::Reset | Kind::Syn => payload_len == 0,
        };
        let difference = u32::from_be_bytes([d0, d1, d2, d3]);
        let window = u32::from_be_bytes([w0, w1, w2, w3]);
        let acknowledged = u16::from_be_bytes([a0, a1]);
        let strict_syn = kind == Kind::Syn
            && bare
            && difference == 0
            && acknowledged == 0
            && (window == 0 || (window.is_power_of_two() && (1 << 16..=1 << 24).contains(&window)));
        fits.then_some(Self {
            kind,
            id: u16::from_be_bytes([i0, i1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            difference,
            window,
            sequence: u16::from_be_bytes([s0, s1]),
            acknowledged,
            payload: rest,
            payload_len,
            strict_syn,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn packet(kind: u8, extension: u8, after: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, extension, 0, 0];
        bytes.extend([0xff; 16]);
        bytes.extend(after);
        bytes
    }

    #[test]
    fn the_grammar_of_each_type_is_kept() {
        for (name, bytes, payload) in [
            ("data", packet(0x01, 0, b"x"), Some(1)),
            ("data without payload", packet(0x01, 0, b""), None),
            ("state", packet(0x21, 0, b""), Some(0)),
            ("state with payload", packet(0x21, 0, b"x"), None),
            ("fin", packet(0x11, 0, b""), Some(0)),
            ("reset", packet(0x31, 0, b""), Some(0)),
            (
                "reset with a close reason",
                packet(0x31, 3, &[0, 4, 0, 0, 0, 1]),
                Some(0),
            ),
            (
                "selective ack of 4",
                packet(0x21, 1, &[0, 4, 1, 2, 3, 4]),
                Some(0),
            ),
            ("selective ack of 3", packet(0x21, 1, &[0, 3, 1, 2, 3]), Some(0)),
            (
                "selective ack before data",
                packet(0x01, 1, &[0, 1, 1, 9, 9]),
                Some(2),
            ),
            (
                "two extensions",
                packet(0x21, 1, &[3, 1, 1, 0, 4, 0, 0, 0, 1]),
                Some(0),
            ),
            ("empty selective ack", packet(0x21, 1, &[0, 0]), None),
            (
                "extension bits of 7",
                packet(0x21, 2, &[0, 7, 0, 0, 0, 0, 0, 0, 0]),
                None,
            ),
            ("unknown extension", packet(0x21, 4, &[0, 1, 0]), None),
            ("extension that runs out", packet(0x21, 1, &[0, 4, 1]), None),
            (
                "endless chain",
                packet(0x01, 1, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
                None,
            ),
            ("version 2", packet(0x02, 0, b"x"), None),
            ("type 5", packet(0x51, 0, b"x"), None),
            ("19 bytes", packet(0x21, 0, b"").split_off(1), None),
        ] {
            let wire_len = u32::try_from(bytes.len()).expect("a datagram's size");
            let parsed = Packet::parse(&bytes, wire_len).map(|packet| packet.payload_len);
            assert_eq!(parsed, payload, "{name}");
        }
    }
}
