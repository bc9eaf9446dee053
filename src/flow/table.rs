//! One shard of the flow table: look-up, expiry by packet time, eviction.

use super::key::{FlowHasher, FlowKey};
use super::limits;
use super::slab::{Handle, Slab};
use super::tcp_state::{self, TcpState};
use super::watch::Watch;
use crate::packet::{PacketView, TransportView};
use btblocker_detectors::{
    Endpoint, Ends, Side, StreamBuffers, TcpInspector, Timestamp, Transport, UdpInspector,
};
use hashbrown::HashTable;
use std::num::NonZeroU32;

/// What is done with the packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No payload yet, no inspector.
    New,
    /// The inspector reads the beginning of the stream, in lent buffers.
    Stream,
    /// The inspector reads single packets.
    Packets,
    /// There was evidence and the inspector has enough; it is woken by `limits::REARM_MICROS`.
    Resting,
    /// Nothing more to learn.
    Settled,
}

/// What is remembered of every flow: two neighbouring cache lines, which processors load together.
#[derive(Clone, Debug)]
#[repr(align(128))]
pub(super) struct Flow {
    pub(super) key: FlowKey,
    pub(super) last_seen: Timestamp,
    bytes: [u64; 2],
    packets: [u32; 2],
    pub(super) tcp: TcpState,
    /// Of the slab of its transport.
    pub(super) inspector: Option<Handle>,
    pub(super) buffers: Option<Handle>,
    pub(super) watch: Option<Handle>,
    /// Ends that evidence has proven.
    pub(super) proves: Ends,
    pub(super) stage: Stage,
    /// Whether the inspector looks at segments without payload, too.
    pub(super) heeds_acknowledgements: bool,
    originator_is_low: bool,
    live: bool,
}

impl Flow {
    const fn vacant() -> Self {
        Self {
            key: FlowKey::vacant(),
            last_seen: Timestamp(0),
            bytes: [0; 2],
            packets: [0; 2],
            tcp: TcpState::new(),
            inspector: None,
            buffers: None,
            watch: None,
            proves: Ends::NONE,
            stage: Stage::New,
            heeds_acknowledgements: false,
            originator_is_low: true,
            live: false,
        }
    }
    pub(super) const fn end(&self, side: Side) -> Endpoint {
        if self.originator_is_low == matches!(side, Side::Originator) {
            self.key.low()
        } else {
            self.key.high()
        }
    }
    const fn side(&self, is_low: bool) -> Side {
        if is_low == self.originator_is_low {
            Side::Originator
        } else {
            Side::Responder
        }
    }
    /// Microseconds of silence that end it.
    fn timeout(&self) -> u64 {
        match self.key.transport() {
            Transport::Udp => limits::UDP_IDLE_MICROS,
            Transport::Tcp if self.tcp.closed() => limits::TCP_CLOSED_MICROS,
            Transport::Tcp if self.tcp.half_open() => limits::TCP_HALF_OPEN_MICROS,
            Transport::Tcp => limits::TCP_IDLE_MICROS,
        }
    }
    fn expired(&self, now: Timestamp) -> bool {
        let silent = now.since(self.last_seen);
        // Most packets follow soon, and which timeout holds takes longer to find out.
        silent > limits::SHORTEST_IDLE_MICROS && silent > self.timeout()
    }
    /// How little is lost with it, more first; then by age.
    fn worthless(&self, now: Timestamp) -> (u8, u64) {
        let one_way = self.packets.contains(&0);
        let is_tcp = self.key.transport() == Transport::Tcp;
        let class = if self.watch.is_some() {
            0
        } else if one_way || (is_tcp && (self.tcp.half_open() || self.tcp.may_be_over())) {
            3
        } else if self.stage == Stage::Settled {
            2
        } else {
            1
        };
        (class, now.since(self.last_seen))
    }
    /// Why the flow does not go on with this packet, if so.
    fn over(&self, at: Timestamp, from: Side, packet: &PacketView<'_>) -> Option<Over> {
        if self.expired(at) {
            Some(Over::Expired)
        } else {
            self.reused_by(at, from, packet).map(Over::Reused)
        }
    }
    /// Takes in the header of a packet.
    fn take_in(&mut self, handle: Handle, at: Timestamp, from: Side, packet: &PacketView<'_>) -> Touched {
        self.last_seen = at;
        let wire_len = match &packet.transport {
            TransportView::Tcp(segment) => {
                self.tcp.observe(from, segment);
                segment.wire_len
            }
            TransportView::Udp(datagram) => datagram.wire_len,
        };
        self.packets[from.index()] = self.packets[from.index()].saturating_add(1);
        self.bytes[from.index()] += u64::from(wire_len);
        Touched {
            handle,
            from,
            settled: self.stage == Stage::Settled,
            watched: self.watch.is_some(),
        }
    }
    /// What is known of the new connection when a packet begins one here. While the old one is alive, anybody who takes part in
    /// it can ask for another: then only the answer shows that the other end has agreed.
    fn reused_by(&self, at: Timestamp, from: Side, packet: &PacketView<'_>) -> Option<TcpState> {
        let TransportView::Tcp(segment) = &packet.transport else {
            return None;
        };
        if !tcp_state::is_opening(segment) {
            return self.tcp.reopened(from, segment);
        }
        if self.tcp.repeats(from, segment.sequence) {
            return None;
        }
        let silent = at.since(self.last_seen) > limits::REUSE_IDLE_MICROS;
        let restarted = self.tcp.half_open() && self.tcp.opened_by(from);
        let over = self.tcp.closed() || restarted || (silent && self.tcp.proven().is_empty());
        over.then(TcpState::new)
    }
}

/// Why a flow is over though its ends still send.
enum Over {
    /// It was silent for too long.
    Expired,
    /// Its ports are used anew, of which so much is known.
    Reused(TcpState),
}

/// What happened to flows. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Flows that began.
    pub created: u64,
    /// Flows that ended by silence.
    pub expired: u64,
    /// Flows that ended because the table was full.
    pub evicted: u64,
    /// Flows that ended because their ports were used anew.
    pub reused: u64,
    /// Flows whose beginning was read without buffers because none was free.
    pub buffers_missing: u64,
}

/// The flow of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The flow, valid until the next packet.
    pub handle: Handle,
    /// The end that sent the packet.
    pub from: Side,
    /// Nothing more is to be learnt from this flow.
    pub settled: bool,
    /// The flow has given evidence.
    pub watched: bool,
}

/// An entry of the index: the flow's place, and 32 bits of its hash to tell most strangers without a look at them.
#[derive(Clone, Copy)]
struct Indexed {
    tag: u32,
    flow: Handle,
}

impl Indexed {
    /// The hash under which the index keeps an entry.
    const fn hash(tag: u32) -> u64 {
        (tag as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// One shard of the flow table, owned by one worker.
pub struct FlowTable {
    hasher: FlowHasher,
    index: HashTable<Indexed>,
    pub(super) flows: Slab<Flow>,
    pub(super) tcp: Slab<TcpInspector>,
    pub(super) udp: Slab<UdpInspector>,
    pub(super) buffers: Slab<StreamBuffers>,
    pub(super) watches: Slab<Watch>,
    hand: u32,
    pub(super) counts: FlowCounts,
}

impl FlowTable {
    /// A table of at most `flows` flows, of which `stream_buffers` can have the beginning of their streams kept at
    /// one time (9 KiB each). Besides, a flow takes up to 170 bytes, and while it is inspected up to 1 KiB more.
    pub fn new(hasher: FlowHasher, flows: NonZeroU32, stream_buffers: u32) -> Self {
        let flows = flows.get();
        Self {
            hasher,
            // Grows with the flows, to at most four entries of 9 bytes per flow: an index that is larger than
            // needed costs two cache misses per packet, moving its entries a few nanoseconds each, once.
            index: HashTable::new(),
            flows: Slab::new(flows, Flow::vacant),
            tcp: Slab::new(flows, TcpInspector::new),
            udp: Slab::new(flows, UdpInspector::new),
            buffers: Slab::new(stream_buffers, StreamBuffers::new),
            watches: Slab::new(flows, Watch::new),
            hand: 0,
            counts: FlowCounts::default(),
        }
    }

    /// Finds or begins the flow of a packet and takes in its header. `None` only if a new flow had no place, which
    /// eviction prevents.
    pub fn touch(&mut self, at: Timestamp, packet: &PacketView<'_>) -> Option<Touched> {
        let (key, from_low) = FlowKey::of(packet);
        let tag = (self.hasher.flow(&key) >> 32) as u32;
        let mut known = None;
        if let Some(handle) = self.find(&key, tag) {
            let flow = self.flows.get_mut(handle)?;
            let from = flow.side(from_low);
            match flow.over(at, from, packet) {
                None => return Some(flow.take_in(handle, at, from, packet)),
                Some(Over::Expired) => self.counts.expired += 1,
                Some(Over::Reused(tcp)) => {
                    self.counts.reused += 1;
                    known = Some(tcp);
                }
            }
            self.end(handle);
        }
        let handle = self.begin(at, key, tag, packet)?;
        let flow = self.flows.get_mut(handle)?;
        if let Some(tcp) = known {
            flow.tcp = tcp;
        }
        let from = flow.side(from_low);
        Some(flow.take_in(handle, at, from, packet))
    }

    fn find(&self, key: &FlowKey, tag: u32) -> Option<Handle> {
        let is_it = |entry: &Indexed| {
            entry.tag == tag && self.flows.get(entry.flow).is_some_and(|flow| flow.key == *key)
        };
        Some(self.index.find(Indexed::hash(tag), is_it)?.flow)
    }

    fn begin(&mut self, at: Timestamp, key: FlowKey, tag: u32, packet: &PacketView<'_>) -> Option<Handle> {
        let handle = match self.flows.claim() {
            Some(handle) => handle,
            None => {
                self.evict(at);
                self.flows.claim()?
            }
        };
        let answers = matches!(&packet.transport,
            TransportView::Tcp(segment) if tcp_state::is_opening_answer(segment));
        let originator = if answers {
            packet.destination
        } else {
            packet.source
        };
        *self.flows.get_mut(handle)? = Flow {
            key,
            last_seen: at,
            originator_is_low: originator == key.low(),
            live: true,
            ..Flow::vacant()
        };
        let entry = Indexed { tag, flow: handle };
        self.index
            .insert_unique(Indexed::hash(tag), entry, |entry| Indexed::hash(entry.tag));
        self.counts.created += 1;
        Some(handle)
    }

    /// Forgets a flow and gives back all that it held.
    fn end(&mut self, handle: Handle) {
        let Some(flow) = self.flows.get_mut(handle) else {
            return;
        };
        flow.live = false;
        let transport = flow.key.transport();
        let tag = (self.hasher.flow(&flow.key) >> 32) as u32;
        let held = (flow.inspector.take(), flow.buffers.take(), flow.watch.take());
        if let Some(inspector) = held.0 {
            self.release_inspector(transport, inspector);
        }
        if let Some(buffers) = held.1 {
            self.buffers.release(buffers);
        }
        if let Some(watch) = held.2 {
            self.watches.release(watch);
        }
        if let Ok(entry) = self
            .index
            .find_entry(Indexed::hash(tag), |entry| entry.flow == handle)
        {
            entry.remove();
        }
        self.flows.release(handle);
    }

    pub(super) fn release_inspector(&mut self, transport: Transport, inspector: Handle) {
        match transport {
            Transport::Tcp => self.tcp.release(inspector),
            Transport::Udp => self.udp.release(inspector),
        }
    }

    /// Ends the most worthless of some flows.
    fn evict(&mut self, now: Timestamp) {
        let mut victim: Option<(Handle, (u8, u64))> = None;
        for _ in 0..limits::EVICTION_SAMPLE.min(self.flows.len()) {
            let Some((handle, flow)) = self.next_slot() else {
                continue;
            };
            let worthless = flow.worthless(now);
            if flow.live && victim.is_none_or(|(_, most)| worthless > most) {
                victim = Some((handle, worthless));
            }
        }
        if let Some((handle, _)) = victim {
            self.counts.evicted += 1;
            self.end(handle);
        }
    }

    /// The slot under the hand, which moves on.
    fn next_slot(&mut self) -> Option<(Handle, &mut Flow)> {
        let position = if self.hand < self.flows.len() {
            self.hand
        } else {
            0
        };
        self.hand = position.wrapping_add(1);
        let handle = Handle::at(position)?;
        Some((handle, self.flows.get_mut(handle)?))
    }

    /// Looks at the next [`limits::SWEEP`] slots and ends what is expired at `now`. To be called about every
    /// [`limits::SWEEP_MICROS`].
    pub fn sweep(&mut self, now: Timestamp) {
        for _ in 0..limits::SWEEP.min(self.flows.len()) {
            let Some((handle, flow)) = self.next_slot() else {
                continue;
            };
            if !flow.live {
                continue;
            }
            // After a clock that steps back, silence counts from here.
            flow.last_seen = flow.last_seen.min(now);
            if flow.expired(now) {
                self.counts.expired += 1;
                self.end(handle);
            } else if flow.buffers.is_some() && now.since(flow.last_seen) > limits::BUFFERS_IDLE_MICROS {
                self.release_buffers(handle);
            }
        }
    }

    /// Takes the stream buffers from a flow; its packets are inspected singly from then on.
    pub(super) fn release_buffers(&mut self, handle: Handle) {
        let Some(flow) = self.flows.get_mut(handle) else {
            return;
        };
        if flow.stage == Stage::Stream {
            flow.stage = Stage::Packets;
        }
        if let Some(buffers) = flow.buffers.take() {
            self.buffers.release(buffers);
        }
    }

    /// Originator and responder of a flow.
    pub fn ends(&self, handle: Handle) -> Option<(Endpoint, Endpoint)> {
        let flow = self.flows.get(handle)?;
        Some((flow.end(Side::Originator), flow.end(Side::Responder)))
    }
    /// Packets and payload bytes on the wire that one end of a flow has sent.
    pub fn sent(&self, handle: Handle, side: Side) -> Option<(u32, u64)> {
        let flow = self.flows.get(handle)?;
        Some((flow.packets[side.index()], flow.bytes[side.index()]))
    }
    /// Flows that are remembered.
    pub fn active(&self) -> u32 {
        self.flows.taken()
    }
    /// Stream buffers that are lent.
    pub fn buffers_lent(&self) -> u32 {
        self.buffers.taken()
    }
    /// What happened so far.
    pub const fn counts(&self) -> FlowCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_small() {
        assert_eq!(size_of::<Flow>(), 128);
        assert_eq!(size_of::<Indexed>(), 8);
        assert!(size_of::<TcpInspector>() <= 448, "{}", size_of::<TcpInspector>());
        assert!(size_of::<UdpInspector>() <= 800, "{}", size_of::<UdpInspector>());
    }
}
