//! One worker's whole work: a batch goes in, reports come out.

use super::recent::RecentPackets;
use super::{Published, Reader};
use crate::capture::{EarlyExit, FrameBatch, FrameMeta};
use crate::event::{PacketSender, SampleSender};
use crate::flow::{
    FlowCounts, FlowHasher, FlowKey, FlowTable, Handle, Inspected, Remembered, Touched, limits,
};
use crate::judge::{FlowId, LearnedPeer, Report, Sighting};
use crate::metrics::Counters;
use crate::network::{Ingress, PerInterface};
use crate::packet::{self, LinkType, PacketView, Reassembler, Skip, TransportView};
use btblocker_detectors::{Endpoint, Ends, Findings, Options, Side, Timestamp, Transport};
use std::num::NonZeroU32;
use std::time::Instant;

/// What an inspection is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most flows that are remembered, per worker.
    pub flows: NonZeroU32,
    /// Flows that can have the beginning of their streams kept at one time, per worker; 9 KiB each.
    pub stream_buffers: u32,
    /// Tunables of the recognition.
    pub options: Options,
    /// Where tunables come from when they can change or differ by interface; they win over `options`.
    pub tuning: Option<Published<PerInterface<Options>>>,
    /// Seed of the flow table and of the choice of the worker.
    pub hasher: FlowHasher,
    /// Where the beginnings of payloads that give evidence go, if anybody wants them.
    pub samples: Option<SampleSender>,
    /// Where the packets of flows that give evidence go, if anybody wants them.
    pub packets: Option<PacketSender>,
    /// Where settled flows can end in the kernel, by the number of the interface; empty: nowhere.
    pub early_exit: Vec<EarlyExit>,
}

impl Settings {
    /// Default options and buffers for `flows` flows per worker, with a random seed.
    pub fn new(flows: NonZeroU32) -> Self {
        Self {
            flows,
            stream_buffers: limits::STREAM_BUFFERS.min(flows.get()),
            options: Options::default(),
            tuning: None,
            hasher: FlowHasher::random(),
            samples: None,
            packets: None,
            early_exit: Vec::new(),
        }
    }
}

/// Parses, tracks and inspects. Owns its shard of the flow table.
pub struct Inspection {
    reassembler: Reassembler,
    shard: Shard,
    /// When the first frame since the last rest was looked at.
    begun: Option<Instant>,
    /// Time of the last frame.
    now: Timestamp,
}

/// Everything behind the reassembly.
struct Shard {
    table: FlowTable,
    /// When the table was last swept.
    swept: Timestamp,
    findings: Findings,
    tuning: Reader<PerInterface<Options>>,
    ingress: Reader<Ingress>,
    counters: Counters,
    samples: Option<SampleSender>,
    recent: Option<RecentPackets>,
    early_exit: Vec<EarlyExit>,
}

/// The bytes that a packet was read from.
#[derive(Clone, Copy)]
struct Captured<'a> {
    link: LinkType,
    bytes: &'a [u8],
    wire_len: u32,
}

impl Inspection {
    /// One that has seen nothing.
    pub fn new(settings: &Settings, ingress: Reader<Ingress>) -> Self {
        let fixed = || Published::new(settings.options.into());
        Self {
            reassembler: Reassembler::new(),
            begun: None,
            now: Timestamp(0),
            shard: Shard {
                table: FlowTable::new(settings.hasher.clone(), settings.flows, settings.stream_buffers),
                swept: Timestamp(0),
                findings: Findings::new(),
                tuning: settings.tuning.clone().unwrap_or_else(fixed).reader(),
                ingress,
                counters: Counters::default(),
                samples: settings.samples.clone(),
                recent: settings.packets.clone().map(RecentPackets::new),
                early_exit: settings.early_exit.clone(),
            },
        }
    }

    /// Looks at all frames of a batch, in order.
    pub fn batch(&mut self, batch: &FrameBatch, out: &mut impl FnMut(Report)) {
        for (meta, bytes) in batch.frames() {
            self.frame(meta, bytes, out);
        }
        self.rest();
    }

    /// What was counted so far.
    pub const fn counters(&self) -> &Counters {
        &self.shard.counters
    }
    /// For those who hand the reports on.
    pub(super) const fn counters_mut(&mut self) -> &mut Counters {
        &mut self.shard.counters
    }

    /// Looks at one frame. After some of them [`Inspection::rest`] is due.
    #[inline]
    pub fn frame(&mut self, meta: &FrameMeta, bytes: &[u8], out: &mut impl FnMut(Report)) {
        if self.begun.is_none() {
            self.begun = Some(Instant::now());
            self.shard.refresh();
        }
        self.now = meta.at;
        let counters = &mut self.shard.counters;
        counters.frames += 1;
        counters.bytes += u64::from(meta.wire_len);
        // Borrowed: a view is too large to be moved for every packet.
        match &packet::parse(meta.link, bytes, meta.wire_len) {
            Ok(packet) => {
                let captured = Captured {
                    link: meta.link,
                    bytes,
                    wire_len: meta.wire_len,
                };
                self.shard.packet(meta, captured, packet, out);
                if packet.first_fragment {
                    self.fragment(meta, bytes, out);
                }
            }
            Err(reason) => {
                counters.skip(*reason);
                if *reason == Skip::Fragment {
                    self.fragment(meta, bytes, out);
                }
            }
        }
    }

    /// Does what is done once for many frames: ends what is expired, brings the counters up to date, and has the next
    /// frame take the newest view of the network and the newest tunables.
    pub fn rest(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.shard.sweep(self.now);
            self.shard.counters.batch(begun.elapsed());
        }
        self.shard.count_flows();
    }

    /// Looks at the datagram that a fragment completes.
    fn fragment(&mut self, meta: &FrameMeta, bytes: &[u8], out: &mut impl FnMut(Report)) {
        let Some(fragment) = packet::fragment(meta.link, bytes, meta.wire_len) else {
            return;
        };
        let Some(whole) = self.reassembler.insert(meta.at, &fragment) else {
            return;
        };
        self.shard.counters.reassembled += 1;
        let wire_len = u32::try_from(whole.len()).unwrap_or(u32::MAX);
        match packet::parse(LinkType::Raw, whole, wire_len) {
            Ok(packet) => {
                let packet = PacketView {
                    source_mac: fragment.source_mac,
                    tunnel: fragment.tunnel.or(packet.tunnel),
                    ..packet
                };
                let captured = Captured {
                    link: LinkType::Raw,
                    bytes: whole,
                    wire_len,
                };
                self.shard.packet(meta, captured, &packet, out);
            }
            Err(reason) => self.shard.counters.skip(reason),
        }
    }
}

impl Shard {
    /// Ends what is expired, after enough packet time. Clocks may jump both ways.
    fn sweep(&mut self, now: Timestamp) {
        if now.0.abs_diff(self.swept.0) >= limits::SWEEP_MICROS {
            self.swept = now;
            self.table.sweep(now);
        }
    }

    /// Takes the newest view of the network and the newest tunables.
    fn refresh(&mut self) {
        self.ingress.refresh();
        self.tuning.refresh();
    }

    fn packet(
        &mut self,
        meta: &FrameMeta,
        captured: Captured<'_>,
        packet: &PacketView<'_>,
        out: &mut impl FnMut(Report),
    ) {
        let ingress = self.ingress.get();
        if !ingress.plausible(meta.interface, packet.source_mac, packet.outer_source()) {
            self.counters.martian += 1;
            return;
        }
        let Some(touched) = self.table.touch(meta.at, packet) else {
            self.counters.flow_missing += 1;
            return;
        };
        if touched.settled {
            self.counters.settled += 1;
            if !self.early_exit.is_empty() {
                self.end_early(meta, packet, touched.handle);
            }
            return;
        }
        self.inspect(meta, captured, packet, touched, out);
    }

    /// Tells the kernel of a settled flow that goes on.
    #[inline(never)]
    fn end_early(&self, meta: &FrameMeta, packet: &PacketView<'_>, flow: Handle) {
        let sent = |side| {
            self.table
                .sent(flow, side)
                .map_or(0, |(packets, _)| u64::from(packets))
        };
        let packets = sent(Side::Originator) + sent(Side::Responder);
        // The kernel does not look into tunnels.
        if !packets.is_multiple_of(limits::EARLY_EXIT_STEP) || packet.tunnel.is_some() {
            return;
        }
        if let Some(early_exit) = self.early_exit.get(usize::from(meta.interface)) {
            let flow = FlowKey::of(packet).0.words();
            early_exit.settled(&flow, meta.at, limits::EARLY_EXIT_MICROS);
        }
    }

    /// The way of packets whose flow is not settled, kept apart so that the way of the others stays short.
    #[inline(never)]
    fn inspect(
        &mut self,
        meta: &FrameMeta,
        captured: Captured<'_>,
        packet: &PacketView<'_>,
        touched: Touched,
        out: &mut impl FnMut(Report),
    ) {
        self.findings.clear();
        let options = self.tuning.get().of(meta.interface);
        let inspected = self
            .table
            .inspect(touched, meta.at, packet, options, &mut self.findings);
        match inspected {
            Inspected::Yes => self.counters.inspected += 1,
            Inspected::Empty => self.counters.empty += 1,
            Inspected::Unwanted => self.counters.settled += 1,
        }
        // Of a flow that has given evidence, packets that nobody looked at count only when they complete the proof.
        let kept = match inspected {
            Inspected::Yes => true,
            Inspected::Empty => !touched.watched,
            Inspected::Unwanted => false,
        };
        if kept {
            self.keep(meta, captured, packet, touched);
        }
        // A packet without payload can complete the proof of what was seen before.
        if touched.watched || !self.findings.is_empty() {
            let rest = (!kept).then_some(captured);
            self.report(meta, rest, packet, touched, out);
        }
        self.counters.findings_overflow += u64::from(self.findings.overflow());
    }

    /// Keeps a packet for the case that its flow gives evidence, when somebody wants that.
    fn keep(&mut self, meta: &FrameMeta, captured: Captured<'_>, packet: &PacketView<'_>, touched: Touched) {
        if let Some(recent) = &mut self.recent
            && let Some(flow) = flow_id(&self.table, touched.handle, packet)
            && let Some((bytes, wire_len)) =
                packet::ip_packet(captured.link, captured.bytes, captured.wire_len)
        {
            recent.keep(flow, meta, bytes, wire_len);
        }
    }

    /// Reports what the packet has shown. `captured` is there when the packet is not kept yet.
    fn report(
        &mut self,
        meta: &FrameMeta,
        captured: Option<Captured<'_>>,
        packet: &PacketView<'_>,
        touched: Touched,
        out: &mut impl FnMut(Report),
    ) {
        let Some(flow) = flow_id(&self.table, touched.handle, packet) else {
            return;
        };
        let proven = self.table.proven(touched.handle, &self.findings);
        let sighting = |seen: Remembered, proven: Ends| {
            Report::Sighting(Sighting {
                at: meta.at,
                interface: meta.interface,
                flow,
                evidence: seen.evidence,
                proven,
                payload_len: seen.payload_len,
            })
        };
        let proven_now = self.table.newly_proven(touched.handle, proven);
        if !self.findings.is_empty() || proven_now.iter().any(Option::is_some) {
            if let Some(captured) = captured {
                self.keep(meta, captured, packet, touched);
            }
            if let Some(recent) = &mut self.recent {
                recent.send(flow);
            }
        }
        for seen in proven_now.into_iter().flatten() {
            self.counters.reproven += 1;
            out(sighting(seen, proven));
        }
        let (payload_len, payload) = match &packet.transport {
            TransportView::Tcp(segment) => (segment.wire_len, segment.payload),
            TransportView::Udp(datagram) => (datagram.wire_len, datagram.payload),
        };
        if let Some(samples) = &self.samples {
            samples.send(meta.at, flow, self.findings.evidence(), payload_len, payload);
        }
        for evidence in self.findings.evidence() {
            let seen = Remembered {
                evidence: *evidence,
                payload_len,
            };
            self.counters.see(evidence.technique, evidence.confidence);
            self.table.remember(touched.handle, meta.at, seen, proven);
            out(sighting(seen, proven));
        }
        // Anybody may name an honest host's partner as a peer: who is told has to speak the protocol itself.
        let (findings, table) = (&self.findings, &self.table);
        let learned = findings
            .learned()
            .filter(|learned| proven != Ends::NONE && table.has_spoken(touched.handle, learned.told));
        for learned in learned {
            let endpoint = match learned.endpoint {
                // The end that spoke, at the port that it named or speaks from.
                Endpoint { address: 0, port: 0 } => flow.end(learned.told.other()),
                Endpoint { address: 0, port } => Endpoint {
                    address: flow.end(learned.told.other()).address,
                    port,
                },
                named => named,
            };
            self.counters.learned += 1;
            out(Report::Learned(LearnedPeer {
                at: meta.at,
                told: flow.end(learned.told).address,
                endpoint,
                from: learned.from,
            }));
        }
    }

    fn count_flows(&mut self) {
        let FlowCounts {
            created,
            expired,
            evicted,
            reused,
            buffers_missing,
        } = self.table.counts();
        let counters = &mut self.counters;
        (counters.flows_created, counters.flows_expired) = (created, expired);
        (counters.flows_evicted, counters.flows_reused) = (evicted, reused);
        counters.buffers_missing = buffers_missing;
        counters.flows_active = u64::from(self.table.active());
    }
}

fn flow_id(table: &FlowTable, handle: Handle, packet: &PacketView<'_>) -> Option<FlowId> {
    let (originator, responder) = table.ends(handle)?;
    let transport = match packet.transport {
        TransportView::Tcp(_) => Transport::Tcp,
        TransportView::Udp(_) => Transport::Udp,
    };
    Some(FlowId {
        transport,
        originator,
        responder,
    })
}
