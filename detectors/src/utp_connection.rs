//! uTP: what the packets of one connection must have in common, and the stream inside it.
//!
//! Spec: BEP 29; the relations below were measured on libtorrent, libutp, Transmission and µTorrent.
//!
//! | relation     | holds when                                                           | bits |
//! |--------------|----------------------------------------------------------------------|------|
//! | ids          | syn carries `c`; its sender goes on with `c + 1`, the other side with `c` | 15 or 16 |
//! | answer       | the first state has id `c` and acknowledges the syn                  | 32   |
//! | acknowledged | among the other side's sequence numbers: from its first, or its last 1024 | 6 to 15 |
//! | echo         | timestamp - difference is "now" on the other side's clock            | 12   |
//!
//! Echo: a receiver sends back its arrival time minus the sender's timestamp, so its own timestamp minus
//! that difference is the sender's clock at this moment. What the sender's clock shows is known from its
//! own last packet and the time since. The two agree but for the way between observer and receiver.
//!
//! An answered syn proves the responder; two relations of the initiator's later packets prove it. A
//! connection whose syn was not seen needs the ids, echoes both ways (4 together), acknowledgements both
//! ways, timestamps that go on with the time, as constants and small counters do not, and fewer failures than
//! agreements. Resets count for nothing: anybody sends them.
//!
//! The stream inside: the sizes of its first flights (all new bytes of one side that acknowledge the same
//! flight of the other) tell an encrypted BitTorrent handshake, by the same rule as on TCP. A lost packet
//! ends that, as the sizes are then unknown. Later, and in the middle of a connection, the sizes of packets
//! tell encrypted blocks and requests, by the rules of [`crate::entropy`]; there a packet that is late or lost is
//! taken for a full one, as nearly all are in a transfer: a wrong guess only parts the ends before it from those
//! behind it.

use core::num::NonZeroU64;

use crate::entropy::{self, Sizes};
use crate::mse;
use crate::utp::{Kind, Packet};
use crate::{Ends, Evidence, Options, Sensitivity, Side};

/// Latest echo behind the other side's clock, in microseconds: the way from the observer to the receiver
/// and back. With [`ECHO_AHEAD_US`] a random difference agrees with probability 2.6e-4.
const ECHO_BEHIND_US: i32 = 1_000_000;
/// Latest echo ahead of the other side's clock, in microseconds: packets that waited before the observer.
const ECHO_AHEAD_US: i32 = 100_000;
/// How long a clock reading serves, in microseconds: keep-alives come every 29 s.
const CLOCK_AGE_US: u32 = 60_000_000;
/// Time over which a sender's clock is compared with that of the capture, in units of 16 us, what it may be off beside a
/// quarter, and how often it has to agree: constants and small counters stand still.
const WATCHED: u16 = 32;
const SLACK: u16 = 4;
const TIMES: u8 = 2;
/// The same time when it is begun anew.
const TOO_LONG: u16 = 1 << 15;
/// Least room that a receiver tells of, unless it has none.
const LEAST_WINDOW: u32 = 256;
/// Packets that an acknowledgement may lag behind; libutp sends at most 1 MiB ahead of it.
const ACK_LAG: u16 = 1024;
/// What libutp writes as the difference before it has a sample.
const NO_SAMPLE: u32 = 0x7fff_ffff;
/// Agreements and failures are counted up to this.
const COUNT_MAX: u8 = 64;
/// Flights whose size is kept.
const FLIGHTS: usize = 5;
/// Bytes of a block that the randomness test looks at.
const KEY_BYTES: usize = 96;

/// What is known of one direction.
#[derive(Clone, Copy, Debug)]
struct Direction {
    id: Option<u16>,
    /// Last sequence number sent.
    sequence: Option<u16>,
    /// The sequence number before the first, where the start was seen.
    initial: Option<u16>,
    /// Sender's timestamp and capture time of the last packet, both in microseconds modulo 2^32.
    clock: Option<(u32, u32)>,
    acks: u8,
    echoes: u8,
    ack_failures: u8,
    echo_failures: u8,
    /// Sequence number of the next new stream bytes.
    expected: Option<u16>,
    /// New stream bytes were seen.
    spoke: bool,
}

/// One connection.
#[derive(Clone, Copy, Debug)]
struct Connection {
    directions: [Direction; 2],
    /// Initiator and sequence number of its syn.
    syn: Option<(Side, u16)>,
    answered: bool,
    packets: u8,
    /// The flights by order on the wire, and by what was acknowledged: packets cross, and libtorrent
    /// sends stale acknowledgements with data that waited.
    flights: [Flights; 2],
    /// Hash of the first block of the stream.
    key: Option<NonZeroU64>,
    /// The start of the stream was not seen, or a packet was lost.
    lost: bool,
}

/// Whether the timestamps of an end, which are the same clock's in all its connections, go on with the time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Timestamp and capture time from which on they are compared, in units of 16 us modulo 2^16.
    since: Option<(u16, u16)>,
    agreed: u8,
}

impl Clock {
    const fn new() -> Self {
        Self {
            since: None,
            agreed: 0,
        }
    }

    const fn runs(&self) -> bool {
        self.agreed >= TIMES
    }

    /// Takes a packet's timestamp and capture time in microseconds.
    fn show(&mut self, timestamp: u32, at_us: u32) {
        let units = |us: u32| u16::try_from(us >> 4 & u32::from(u16::MAX)).unwrap_or_default();
        let (timestamp, at) = (units(timestamp), units(at_us));
        let (began, then) = *self.since.get_or_insert((timestamp, at));
        let passed = at.wrapping_sub(then);
        if passed >= WATCHED {
            let agrees = timestamp.wrapping_sub(began).abs_diff(passed) <= passed / 4 + SLACK;
            self.agreed = TIMES.min(self.agreed + u8::from(agrees));
            // A clock that goes in steps agrees over more of them.
            if agrees || passed > TOO_LONG {
                self.since = Some((timestamp, at));
            }
        }
    }
}

/// Sizes of the first flights of the stream inside.
#[derive(Clone, Copy, Debug)]
struct Flights {
    bytes: [u16; FLIGHTS],
    /// Flights begun; more than [`FLIGHTS`] when the handshake is over.
    begun: u8,
    /// Sender of the latest flight and the sequence number it began with.
    latest: Option<(Side, u16)>,
    /// First blocks of flights 1 and 2 that look random.
    random: u8,
}

/// What the relations say after a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The packet is a strict syn.
    pub(crate) syn: bool,
    /// The syn was answered, by the speaker of this packet.
    pub(crate) answer: bool,
    /// All relations hold: this is uTP, and both ends take part.
    pub(crate) connected: bool,
    /// Ends proven so far.
    pub(crate) proven: Ends,
    /// The end that sent the syn, where it was seen.
    pub(crate) initiator: Option<Side>,
    /// The flights inside are those of an encrypted handshake.
    pub(crate) encrypted: bool,
    /// Hash of the initiator's public key, with `encrypted`.
    pub(crate) key: Option<NonZeroU64>,
    /// What the sizes of the packets say.
    pub(crate) sizes: [Option<Evidence>; 5],
    /// Packets that belong to the connection, this one included.
    pub(crate) packets: u8,
}

/// How a packet's stream bytes continue those seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// Directly.
    Next,
    /// So many packets between them were not seen.
    Gap(u16),
    /// They were seen before.
    Old,
}

/// The last two connections of a flow: peers that call each other at once have two for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connections {
    slots: [Connection; 2],
    clocks: [Clock; 2],
    last: u8,
    /// Sizes of the packets of the connection in this slot.
    sizes: [Sizes; 2],
    sized: u8,
}

impl Packet<'_> {
    /// Whether this answers a syn of that sequence number, as all stacks do: with a window. Errors of remote procedures, whose
    /// numbers a stranger chooses, have small ones there.
    fn answers(&self, sequence: u16) -> bool {
        self.kind == Kind::State
            && self.acknowledged == sequence
            && (self.window == 0 || self.window >= LEAST_WINDOW)
    }
}

impl Connections {
    /// None seen.
    pub(crate) const fn new() -> Self {
        Self {
            slots: [Connection::new(); 2],
            clocks: [Clock::new(); 2],
            last: 0,
            sizes: [Sizes::new(); 2],
            sized: 0,
        }
    }

    /// Takes a packet captured at `at_us` microseconds (modulo 2^32).
    pub(crate) fn packet(&mut self, packet: &Packet<'_>, from: Side, at_us: u32, options: &Options) -> Seen {
        if packet.kind == Kind::Reset {
            return Seen::default();
        }
        let known = self.slots.iter().position(|slot| slot.takes(packet, from));
        let slot = known.unwrap_or_else(|| self.oldest());
        let Some(connection) = self.slots.get_mut(slot) else {
            return Seen::default();
        };
        if known.is_none() {
            *connection = Connection::begin(packet, from);
        }
        from.pick(&mut self.clocks).show(packet.timestamp, at_us);
        let clocks_run = self.clocks.iter().all(Clock::runs);
        self.last = u8::from(slot == 1);
        let (mut seen, follows) = connection.packet(packet, from, (at_us, clocks_run), options);
        if seen.connected && packet.kind == Kind::Data {
            if self.sized != self.last || known.is_none() {
                self.sizes = [Sizes::new(); 2];
                self.sized = self.last;
            }
            let own = from.pick(&mut self.sizes);
            match follows {
                Follows::Old => return seen,
                Follows::Gap(missing) => own.skip(missing),
                Follows::Next => {}
            }
            own.follow(packet.payload, packet.payload_len, options);
            seen.sizes = entropy::inspect(&self.sizes, from, true, true);
        }
        seen
    }

    /// The slot to give up: an unproven one first, then the one not used last.
    fn oldest(&self) -> usize {
        let [first, second] = &self.slots;
        let clocks_run = self.clocks.iter().all(Clock::runs);
        match (first.is_connected(clocks_run), second.is_connected(clocks_run)) {
            (false, true) => 0,
            (true, false) => 1,
            _ => usize::from(self.last == 0 && first.packets > 0),
        }
    }
}

impl Connection {
    const fn new() -> Self {
        Self {
            directions: [Direction::new(); 2],
            syn: None,
            answered: false,
            packets: 0,
            flights: [Flights::new(); 2],
            key: None,
            lost: false,
        }
    }

    fn begin(packet: &Packet<'_>, from: Side) -> Self {
        let mut connection = Self::new();
        if packet.kind == Kind::Syn {
            connection.syn = Some((from, packet.sequence));
            from.pick(&mut connection.directions).initial = Some(packet.sequence.wrapping_sub(1));
            from.pick(&mut connection.directions).id = Some(packet.id.wrapping_add(1));
            from.pick(&mut connection.directions).expected = Some(packet.sequence.wrapping_add(1));
            from.other().pick(&mut connection.directions).id = Some(packet.id);
        } else {
            from.pick(&mut connection.directions).id = Some(packet.id);
            connection.lost = true;
        }
        connection
    }

    /// Whether a packet belongs to this connection by its id.
    fn takes(&self, packet: &Packet<'_>, from: Side) -> bool {
        let mut directions = self.directions;
        let (own, other) = (
            from.pick(&mut directions).id,
            from.other().pick(&mut directions).id,
        );
        if packet.kind == Kind::Syn {
            return self.syn == Some((from, packet.sequence)) && other == Some(packet.id);
        }
        match (own, other) {
            (Some(own), _) => own == packet.id,
            (None, Some(other)) => packet.id == other.wrapping_add(1) || packet.id == other.wrapping_sub(1),
            (None, None) => false,
        }
    }

    /// Takes a packet that was captured at a time in microseconds, when both ends' clocks had been seen to run or not.
    fn packet(
        &mut self,
        packet: &Packet<'_>,
        from: Side,
        (at_us, clocks_run): (u32, bool),
        options: &Options,
    ) -> (Seen, Follows) {
        self.packets = self.packets.saturating_add(1);
        let mut seen = Seen::default();
        let other = *from.other().pick(&mut self.directions);
        let own = from.pick(&mut self.directions);
        if packet.kind == Kind::Syn {
            own.sequence = Some(packet.sequence);
            seen.syn = packet.strict_syn;
        } else {
            own.id = Some(packet.id);
            own.relate(&other, packet, at_us);
            own.advance(packet);
            if let Some((initiator, sequence)) = self.syn
                && initiator != from
                && !self.answered
                && packet.answers(sequence)
            {
                self.answered = true;
                seen.answer = true;
                // The answer's number is acknowledged by the text of BEP 29, the one before it by all
                // stacks that were measured.
                own.sequence = Some(packet.sequence);
                own.initial = Some(packet.sequence.wrapping_sub(1));
                own.expected = Some(packet.sequence);
            }
        }
        own.clock = Some((packet.timestamp, at_us));
        let mut follows = Follows::Old;
        if packet.kind == Kind::Data {
            follows = from.pick(&mut self.directions).follow(packet.sequence);
            self.stream(packet, from, follows, options);
        }
        seen.connected = self.is_connected(clocks_run);
        seen.proven = self.proven(seen.connected);
        seen.packets = self.packets;
        seen.initiator = self.syn.map(|(initiator, _)| initiator);
        if seen.connected {
            seen.encrypted = self.encrypted(options);
            seen.key = self.key.filter(|_| seen.encrypted);
        }
        (seen, follows)
    }

    fn proven(&self, connected: bool) -> Ends {
        match self.syn {
            _ if connected => Ends::BOTH,
            Some((initiator, _)) if self.answered => Ends::only(initiator.other()),
            _ => Ends::NONE,
        }
    }

    fn encrypted(&self, options: &Options) -> bool {
        !self.lost
            && options.sensitivity != Sensitivity::Strict
            && self.flights.iter().any(Flights::are_encrypted)
    }

    fn is_connected(&self, clocks_run: bool) -> bool {
        let [a, b] = &self.directions;
        let by_syn = self.answered
            && self.syn.is_some_and(|(initiator, _)| {
                let mut directions = self.directions;
                let caller = initiator.pick(&mut directions);
                caller.acks_are_sound() && (caller.acks >= 2 || (caller.acks == 1 && caller.echoes >= 1))
            });
        let by_echo = a.id.is_some()
            && b.id.is_some()
            && clocks_run
            && a.echoes.min(b.echoes) >= 1
            && a.acks.min(b.acks) >= 1
            && a.echoes.saturating_add(b.echoes) >= 4
            && a.is_sound()
            && b.is_sound();
        by_syn || by_echo
    }

    /// Follows the stream inside with a data packet.
    fn stream(&mut self, packet: &Packet<'_>, from: Side, follows: Follows, options: &Options) {
        if self.lost || self.flights.iter().all(Flights::is_over) {
            return;
        }
        match (self.syn, follows) {
            (Some((initiator, _)), Follows::Next) if self.answered => {
                if self.flights.iter().all(|flights| flights.begun == 0) {
                    self.key = mse::key_hash(packet.payload);
                }
                let [by_order, by_acknowledgement] = &mut self.flights;
                by_order.add(packet, from, initiator, false, options);
                by_acknowledgement.add(packet, from, initiator, true, options);
            }
            (_, Follows::Old) => {}
            _ => self.lost = true,
        }
    }
}

impl Direction {
    const fn new() -> Self {
        Self {
            id: None,
            sequence: None,
            initial: None,
            clock: None,
            acks: 0,
            echoes: 0,
            ack_failures: 0,
            echo_failures: 0,
            expected: None,
            spoke: false,
        }
    }

    /// Compares a packet of this direction with the last one of the other.
    fn relate(&mut self, other: &Self, packet: &Packet<'_>, at_us: u32) {
        if let Some(sequence) = other.sequence {
            let sent = other
                .initial
                .map_or(ACK_LAG, |initial| sequence.wrapping_sub(initial).min(ACK_LAG));
            let agrees = sequence.wrapping_sub(packet.acknowledged) <= sent;
            count(if agrees {
                &mut self.acks
            } else {
                &mut self.ack_failures
            });
        }
        let Some((timestamp, then_us)) = other.clock else {
            return;
        };
        let since = at_us.wrapping_sub(then_us);
        if matches!(packet.difference, 0 | NO_SAMPLE) || since > CLOCK_AGE_US {
            return;
        }
        let clock = timestamp.wrapping_add(since);
        let echo = packet.timestamp.wrapping_sub(packet.difference);
        let agrees = (-ECHO_BEHIND_US..=ECHO_AHEAD_US).contains(&echo.wrapping_sub(clock).cast_signed());
        count(if agrees {
            &mut self.echoes
        } else {
            &mut self.echo_failures
        });
    }

    /// Whether agreements outnumber failures. Who guesses another end's numbers fails most of the time.
    const fn acks_are_sound(&self) -> bool {
        self.ack_failures <= self.acks && self.ack_failures < COUNT_MAX
    }

    /// The same for both relations. Echoes also fail on links that hold packets for seconds.
    const fn is_sound(&self) -> bool {
        self.acks_are_sound() && self.echo_failures <= self.echoes && self.echo_failures < COUNT_MAX
    }

    /// Takes the sequence number of stream bytes.
    fn follow(&mut self, sequence: u16) -> Follows {
        let follows = match self.expected.map(|expected| sequence.wrapping_sub(expected)) {
            Some(0) => Follows::Next,
            // Stacks that follow the text of BEP 29 number their first data one above the answer.
            Some(1) if !self.spoke => Follows::Next,
            Some(0x8000..) => return Follows::Old,
            Some(missing) => Follows::Gap(missing),
            None => Follows::Gap(0),
        };
        self.expected = Some(sequence.wrapping_add(1));
        self.spoke = true;
        follows
    }

    /// Keeps the highest sequence number that was sent.
    fn advance(&mut self, packet: &Packet<'_>) {
        let sent = match packet.kind {
            Kind::Data | Kind::Fin => packet.sequence,
            // A state carries the number that comes next.
            Kind::State | Kind::Reset | Kind::Syn => packet.sequence.wrapping_sub(1),
        };
        if self
            .sequence
            .is_none_or(|known| sent.wrapping_sub(known) < 1 << 15)
        {
            self.sequence = Some(sent);
        }
    }
}

fn count(counter: &mut u8) {
    *counter = COUNT_MAX.min(*counter + 1);
}

impl Flights {
    const fn new() -> Self {
        Self {
            bytes: [0; FLIGHTS],
            begun: 0,
            latest: None,
            random: 0,
        }
    }

    const fn is_over(&self) -> bool {
        self.begun as usize > FLIGHTS
    }

    /// Adds new stream bytes. With `causal`, what does not acknowledge the other side's latest flight was
    /// sent without knowing it, and still belongs to the flight before.
    fn add(&mut self, packet: &Packet<'_>, from: Side, initiator: Side, causal: bool, options: &Options) {
        let begins = match self.latest {
            // The initiator always speaks first.
            None if from != initiator => return,
            None => true,
            Some((speaker, began)) => {
                speaker != from && (!causal || packet.acknowledged.wrapping_sub(began) < 1 << 15)
            }
        };
        if begins {
            self.latest = Some((from, packet.sequence));
            self.begun += 1;
            if self.begun <= 2 {
                let key = packet.payload.get(..KEY_BYTES).unwrap_or(packet.payload);
                let cut = u32::try_from(packet.payload.len()).is_ok_and(|len| len < packet.payload_len);
                self.random += u8::from(mse::looks_random(key, cut, options));
            }
        }
        let own_is_latest = self.latest.is_some_and(|(speaker, _)| speaker == from);
        let flight = usize::from(self.begun).checked_sub(if own_is_latest { 1 } else { 2 });
        if let Some(bytes) = flight.and_then(|flight| self.bytes.get_mut(flight)) {
            let more = u16::try_from(packet.payload_len).unwrap_or(u16::MAX);
            *bytes = bytes.saturating_add(more);
        }
    }

    /// Whether the flights are two public keys with padding, then what a key exchange goes on with. Told when
    /// the third can be of no other size (124, with a 68-byte BitTorrent handshake), else when five are over:
    /// users of uTP are so few that no exact size is needed.
    fn are_encrypted(&self) -> bool {
        let [first, second, third, fourth, _] = self.bytes;
        let key = 96..=608;
        self.random == 2
            && key.contains(&first)
            && key.contains(&second)
            && (56..=890).contains(&third)
            && fourth >= 14
            && (third == 124 || self.begun > 5)
    }
}
