//! The latest packets of flows that are not decided yet, so that those which led to evidence can be shown.
//!
//! Two buffers take turns: packets are appended to the young one, and when it is full the old one is emptied and takes
//! its place. Within a buffer each packet points to the one before it of the same flow, so the cost of finding a
//! flow's packets is their number, whatever else is kept. All memory is taken at the start, about 8 MiB; nothing is
//! written to disk or handed on before a flow gives evidence.

use crate::capture::FrameMeta;
use crate::event::{PacketMeta, PacketSender};
use crate::judge::FlowId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Packets of one buffer at most.
const PACKETS: usize = 8_192;
/// Bytes of one buffer: 256 for each packet, the average of the beginnings of flows.
const BYTES: usize = PACKETS * 256;
/// Points to no packet.
const NONE: u32 = u32::MAX;

struct Kept {
    meta: PacketMeta,
    start: usize,
    len: usize,
    /// Position of the packet before it of the same flow.
    before: u32,
}

/// One of the two buffers.
struct Generation {
    bytes: Vec<u8>,
    packets: Vec<Kept>,
    /// Position of each flow's latest packet.
    latest: HashMap<FlowId, u32, RandomState>,
}

impl Generation {
    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(BYTES),
            packets: Vec::with_capacity(PACKETS),
            latest: HashMap::with_capacity_and_hasher(PACKETS, RandomState::default()),
        }
    }
    fn has_room(&self, len: usize) -> bool {
        self.packets.len() < PACKETS && self.bytes.len() + len <= BYTES
    }
    fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
        self.latest.clear();
    }
}

/// The latest packets of one worker's undecided flows.
pub(super) struct RecentPackets {
    young: Generation,
    old: Generation,
    order: u64,
    sender: PacketSender,
}

impl RecentPackets {
    /// With all its memory.
    pub(super) fn new(sender: PacketSender) -> Self {
        Self {
            young: Generation::new(),
            old: Generation::new(),
            order: 0,
            sender,
        }
    }

    /// Keeps an IP packet of `wire_len` bytes for a while.
    pub(super) fn keep(&mut self, flow: FlowId, meta: &FrameMeta, packet: &[u8], wire_len: u32) {
        if !self.young.has_room(packet.len()) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        let Generation {
            bytes,
            packets,
            latest,
        } = &mut self.young;
        let position = u32::try_from(packets.len()).unwrap_or(NONE);
        let before = latest.insert(flow, position).unwrap_or(NONE);
        self.order += 1;
        packets.push(Kept {
            meta: PacketMeta {
                at: meta.at,
                order: self.order,
                wire_len,
            },
            start: bytes.len(),
            len: packet.len(),
            before,
        });
        bytes.extend_from_slice(packet);
    }

    /// Sends the packets of a flow that were kept since the last time.
    pub(super) fn send(&mut self, flow: FlowId) {
        let mut chunk = None;
        for generation in [&mut self.young, &mut self.old] {
            let Some(latest) = generation.latest.get_mut(&flow) else {
                continue;
            };
            let mut position = std::mem::replace(latest, NONE);
            while let Some(kept) = generation.packets.get(position as usize) {
                position = kept.before;
                let packet = generation.bytes.get(kept.start..kept.start + kept.len);
                let packet = packet.unwrap_or_default();
                let fits = chunk
                    .as_deref_mut()
                    .is_some_and(|chunk: &mut crate::event::Chunk| chunk.push(kept.meta, packet));
                if fits {
                    continue;
                }
                if let Some(full) = chunk.take() {
                    self.sender.send(full);
                }
                chunk = self.sender.chunk(flow);
                let taken = chunk
                    .as_deref_mut()
                    .is_some_and(|chunk| chunk.push(kept.meta, packet));
                if !taken {
                    self.sender.drop_one();
                }
            }
        }
        if let Some(chunk) = chunk {
            self.sender.send(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packets::{A, B, at, endpoint};
    use super::*;
    use crate::capture::{FrameBatch, LinkType};
    use crate::event::{Packets, packets};
    use btblocker_detectors::Transport;

    fn flow(port: u16) -> FlowId {
        FlowId {
            transport: Transport::Tcp,
            originator: endpoint((A.0, port)),
            responder: endpoint(B),
        }
    }

    fn keep(recent: &mut RecentPackets, port: u16, packet: &[u8]) {
        let mut batch = FrameBatch::new();
        assert!(batch.push(at(0), LinkType::Raw, 0, 0, b""));
        let meta = *batch.frame(0).unwrap().0;
        recent.keep(flow(port), &meta, packet, 0);
    }

    /// First byte of every packet of a flow that has arrived, in the order of keeping.
    fn arrived(packets: &mut Packets, port: u16) -> Vec<u8> {
        packets.hear();
        let mut found: Vec<_> = packets
            .of([10, 0, 0, 1].into(), &flow(port))
            .flat_map(|chunk| chunk.packets().map(|(meta, bytes)| (meta.order, bytes[0])))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, byte)| byte).collect()
    }

    #[test]
    fn the_packets_of_a_flow_are_sent_once_and_over_both_buffers() {
        let (sender, mut packets) = packets(64);
        let mut recent = RecentPackets::new(sender);
        for (port, byte) in [(1, 1), (2, 90), (1, 2), (1, 3), (2, 91)] {
            keep(&mut recent, port, &[byte; 5_000]);
        }
        recent.send(flow(3));
        recent.send(flow(1));
        assert_eq!(arrived(&mut packets, 1), [1, 2, 3]);
        // Another flow's packets fill the first buffer up.
        for _ in 0..PACKETS - 6 {
            keep(&mut recent, 7, b"x");
        }
        keep(&mut recent, 1, &[4]);
        keep(&mut recent, 1, &[5]);
        assert_eq!(recent.young.packets.len(), 1);
        recent.send(flow(1));
        assert_eq!(arrived(&mut packets, 1), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn memory_stays_and_what_is_old_gives_way() {
        let (sender, mut packets) = packets(2);
        let mut recent = RecentPackets::new(sender);
        let memory = |recent: &RecentPackets| {
            [&recent.young, &recent.old].map(|one| {
                (
                    one.bytes.capacity(),
                    one.packets.capacity(),
                    one.latest.capacity(),
                )
            })
        };
        let before = memory(&recent);
        keep(&mut recent, 9, &[1]);
        for number in 0..40_000_u32 {
            keep(&mut recent, (number % 20_000) as u16 + 10, &[2; 300]);
        }
        assert_eq!(memory(&recent), before);
        recent.send(flow(9));
        assert_eq!(arrived(&mut packets, 9), [0; 0]);
        // Two chunks are there, and this flow's packets need more.
        for _ in 0..300 {
            keep(&mut recent, 9, &[3; 100]);
        }
        recent.send(flow(9));
        packets.hear();
        assert_eq!(packets.dropped(), 300 - 2 * 64);
    }
}
