//! Packets of flows that gave evidence, on their way from the packet path to the evidence files.
//!
//! The packet path keeps the latest packets of undecided flows in a ring of each worker (`pipeline`). When a flow
//! gives evidence, those of the flow go into chunks and here, and later those that led to the next report. So the
//! packets of every flow that the judge heard of lie at his side when he bans a host, however long ago the first of
//! them were, and no worker is asked for anything.
//!
//! Promise: sending takes no memory and never waits; the chunks go round, and when all are under way packets are
//! dropped and counted. Packets are sent before the reports of the last of them, so whoever has a report has its
//! packets. Of the flows with evidence the latest count: what was heard long ago gives way.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::judge::FlowId;
use btblocker_detectors::{Endpoint, Timestamp, Transport};

/// Bytes of a chunk. A packet that is larger by itself is cut to it.
pub const CHUNK_BYTES: usize = 8 * 1024;
/// Packets of a chunk at most.
const CHUNK_PACKETS: usize = 64;

/// What is known of one IP packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketMeta {
    /// Capture time.
    pub at: Timestamp,
    /// Position among the packets of its worker, which tells the order within one microsecond.
    pub order: u64,
    /// Length on the wire in bytes.
    pub wire_len: u32,
}

/// Some IP packets of one flow, in no order.
#[derive(Debug)]
pub struct Chunk {
    flow: FlowId,
    packets: Vec<(PacketMeta, usize)>,
    bytes: Vec<u8>,
}

impl Chunk {
    fn empty() -> Self {
        let nobody = Endpoint { address: 0, port: 0 };
        Self {
            flow: FlowId {
                transport: Transport::Tcp,
                originator: nobody,
                responder: nobody,
            },
            packets: Vec::with_capacity(CHUNK_PACKETS),
            bytes: Vec::with_capacity(CHUNK_BYTES),
        }
    }

    /// Appends an IP packet. `false`: there is no room.
    #[must_use]
    pub fn push(&mut self, meta: PacketMeta, packet: &[u8]) -> bool {
        let packet = packet.get(..CHUNK_BYTES).unwrap_or(packet);
        if self.packets.len() == CHUNK_PACKETS || self.bytes.len() + packet.len() > CHUNK_BYTES {
            return false;
        }
        self.bytes.extend_from_slice(packet);
        self.packets.push((meta, packet.len()));
        true
    }

    /// The packets, each with its captured bytes.
    pub fn packets(&self) -> impl Iterator<Item = (PacketMeta, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.packets.iter().map(move |&(meta, len)| {
            let (packet, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            rest = behind;
            (meta, packet)
        })
    }

    fn has_end(&self, address: IpAddr) -> bool {
        self.flow.originator.ip() == address || self.flow.responder.ip() == address
    }
}

/// The end of the packet path. Clones share the chunks.
#[derive(Clone, Debug)]
pub struct PacketSender {
    spare: Receiver<Box<Chunk>>,
    out: Sender<Box<Chunk>>,
    dropped: Arc<AtomicU64>,
}

impl PacketSender {
    /// An empty chunk for packets of a flow; `None` when all are under way.
    pub fn chunk(&self, flow: FlowId) -> Option<Box<Chunk>> {
        let mut chunk = self.spare.try_recv().ok()?;
        chunk.packets.clear();
        chunk.bytes.clear();
        chunk.flow = flow;
        Some(chunk)
    }

    /// Sends a chunk.
    pub fn send(&self, chunk: Box<Chunk>) {
        // There is a place for every chunk; without a receiver nobody wants packets.
        let _ = self.out.try_send(chunk);
    }

    /// Counts a packet for which there was no chunk.
    pub fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// The judge's end: the packets of the latest flows with evidence.
#[derive(Debug)]
pub struct Packets {
    heard: Receiver<Box<Chunk>>,
    home: Sender<Box<Chunk>>,
    /// Oldest first.
    kept: VecDeque<Box<Chunk>>,
    most: usize,
    dropped: Arc<AtomicU64>,
}

/// Both ends with `count` chunks between them, half of which stay with the judge at most.
pub fn packets(count: usize) -> (PacketSender, Packets) {
    let (home, spare) = crossbeam_channel::bounded(count);
    let (out, heard) = crossbeam_channel::bounded(count);
    for _ in 0..count {
        let _ = home.try_send(Box::new(Chunk::empty()));
    }
    let dropped = Arc::<AtomicU64>::default();
    let sender = PacketSender {
        spare,
        out,
        dropped: Arc::clone(&dropped),
    };
    let packets = Packets {
        heard,
        home,
        kept: VecDeque::with_capacity(count),
        most: count / 2,
        dropped,
    };
    (sender, packets)
}

impl Packets {
    /// Takes in what has arrived.
    pub fn hear(&mut self) {
        while let Ok(chunk) = self.heard.try_recv() {
            self.kept.push_back(chunk);
            if self.kept.len() > self.most
                && let Some(oldest) = self.kept.pop_front()
            {
                let _ = self.home.try_send(oldest);
            }
        }
    }

    /// Chunks of flows that a host is an end of: those of `first`, then the others, each latest first.
    pub fn of(&self, host: IpAddr, first: &FlowId) -> impl Iterator<Item = &Chunk> {
        let kept = || self.kept.iter().rev().map(Box::as_ref);
        let others = kept().filter(move |chunk| chunk.flow != *first && chunk.has_end(host));
        kept().filter(move |chunk| chunk.flow == *first).chain(others)
    }

    /// Packets that were dropped because all chunks were under way.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16) -> FlowId {
        FlowId {
            transport: Transport::Udp,
            originator: Endpoint::new([10, 8, 0, 7].into(), port),
            responder: Endpoint::new([192, 0, 2, 2].into(), 6881),
        }
    }

    fn meta(order: u64) -> PacketMeta {
        PacketMeta {
            at: Timestamp(order),
            order,
            wire_len: 9_000,
        }
    }

    fn send(sender: &PacketSender, port: u16) -> bool {
        let Some(mut chunk) = sender.chunk(flow(port)) else {
            return false;
        };
        assert!(chunk.push(meta(u64::from(port)), &port.to_be_bytes()));
        sender.send(chunk);
        true
    }

    #[test]
    fn a_chunk_is_bounded_and_gives_its_packets_back() {
        let (sender, _packets) = packets(2);
        let mut chunk = sender.chunk(flow(1)).unwrap();
        assert!(chunk.push(meta(1), b"one") && chunk.push(meta(2), b"") && chunk.push(meta(3), &[7; 4_000]));
        assert!(!chunk.push(meta(4), &[7; 8_000]), "too many bytes");
        let kept: Vec<_> = chunk
            .packets()
            .map(|(meta, bytes)| (meta.order, bytes.len()))
            .collect();
        assert_eq!(kept, [(1, 3), (2, 0), (3, 4_000)]);
        let mut large = sender.chunk(flow(2)).unwrap();
        assert!(large.push(meta(1), &[7; 65_535]));
        assert_eq!(large.packets().next().unwrap().1.len(), CHUNK_BYTES);
        drop(chunk);
        let mut many = packets(1).0.chunk(flow(1)).unwrap();
        let taken = (0..1_000).filter(|&order| many.push(meta(order), b"x")).count();
        assert_eq!(taken, CHUNK_PACKETS);
    }

    #[test]
    fn chunks_go_round_and_the_latest_stay() {
        let (sender, mut packets) = packets(4);
        assert_eq!((1..=6).filter(|port| send(&sender, *port)).count(), 4);
        packets.hear();
        let ports = |packets: &Packets, first: u16| -> Vec<u16> {
            let host = [192, 0, 2, 2].into();
            packets
                .of(host, &flow(first))
                .map(|chunk| chunk.flow.originator.port)
                .collect()
        };
        assert_eq!(ports(&packets, 3), [3, 4]);
        assert_eq!((7..=9).filter(|port| send(&sender, *port)).count(), 2);
        packets.hear();
        assert_eq!(ports(&packets, 7), [7, 8]);
        assert_eq!(packets.of([10, 0, 0, 1].into(), &flow(99)).count(), 0);
    }
}
