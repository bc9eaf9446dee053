//! The capture thread's side: a batch is looked at here, or handed to the workers that own its flows.

use super::Inspection;
use crate::capture::{FrameBatch, FrameMeta};
use crate::flow::FlowHasher;
use crate::judge::Report;
use crate::metrics::{Counters, SharedCounters};
use crate::packet::{self, Skip};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// A batch on its way to a worker, and where it goes when it is done.
pub(super) struct Work {
    pub(super) batch: FrameBatch,
    pub(super) home: Sender<FrameBatch>,
}

/// Where reports go: the judge's queue. A full queue drops and counts.
pub(super) struct Outbox {
    pub(super) reports: Sender<Report>,
    pub(super) shared: Arc<SharedCounters>,
}

impl Outbox {
    /// Looks at a batch, sends its reports and publishes the counters.
    pub(super) fn inspect(&self, inspection: &mut Inspection, batch: &FrameBatch) {
        for (meta, bytes) in batch.frames() {
            self.frame(inspection, meta, bytes);
        }
        self.rest(inspection);
    }
    /// Looks at a frame and sends its reports.
    fn frame(&self, inspection: &mut Inspection, meta: &FrameMeta, bytes: &[u8]) {
        let mut dropped = 0;
        inspection.frame(meta, bytes, &mut |report| {
            dropped += u64::from(self.reports.try_send(report).is_err());
        });
        inspection.counters_mut().reports_dropped += dropped;
    }
    /// Ends a batch and publishes the counters.
    fn rest(&self, inspection: &mut Inspection) {
        inspection.rest();
        self.shared.publish(inspection.counters());
    }
}

/// Takes the batches of one capture thread. Never blocks.
pub struct Dispatcher(Way);

enum Way {
    Inline {
        inspection: Box<Inspection>,
        outbox: Outbox,
    },
    HandOver(Box<HandOver>),
}

impl Dispatcher {
    pub(super) fn inline(inspection: Inspection, outbox: Outbox) -> Self {
        Self(Way::Inline {
            inspection: Box::new(inspection),
            outbox,
        })
    }
    pub(super) fn hand_over(hand_over: HandOver) -> Self {
        Self(Way::HandOver(Box::new(hand_over)))
    }
    /// Looks at one frame where it lies, or copies it for the one of several workers that owns its flow; after some of
    /// them [`Dispatcher::rest`] is due. `false`: it is to be given in a batch, because that will be handed on.
    pub fn frame(&mut self, meta: &FrameMeta, bytes: &[u8]) -> bool {
        match &mut self.0 {
            Way::Inline { inspection, outbox } => {
                outbox.frame(inspection, meta, bytes);
                true
            }
            Way::HandOver(hand_over) => hand_over.frame(meta, bytes),
        }
    }

    /// Does what is done once for many frames that were given one by one.
    pub fn rest(&mut self) {
        match &mut self.0 {
            Way::Inline { inspection, outbox } => outbox.rest(inspection),
            Way::HandOver(hand_over) => hand_over.rest(),
        }
    }

    /// Looks at a batch or hands it on. `batch` is empty afterwards, with all its memory, though it may be another
    /// one.
    pub fn dispatch(&mut self, batch: &mut FrameBatch) {
        match &mut self.0 {
            Way::Inline { inspection, outbox } => outbox.inspect(inspection, batch),
            Way::HandOver(hand_over) => hand_over.dispatch(batch),
        }
        batch.clear();
    }
}

/// Hands batches to workers.
pub(super) struct HandOver {
    hasher: FlowHasher,
    lanes: Vec<Lane>,
    spare: Vec<FrameBatch>,
    returned: Receiver<FrameBatch>,
    home: Sender<FrameBatch>,
    counters: Counters,
    shared: Arc<SharedCounters>,
}

/// The way to one worker.
struct Lane {
    queue: Sender<Work>,
    /// Frames for this worker since the last rest.
    open: Option<FrameBatch>,
}

impl HandOver {
    /// To the workers behind `queues`, with enough batches to fill every queue.
    pub(super) fn new(
        hasher: FlowHasher,
        queues: &[Sender<Work>],
        queue_batches: NonZeroUsize,
        shared: Arc<SharedCounters>,
    ) -> Self {
        // Beside the queue, each worker holds one batch and one is being filled for it.
        let batches = queues.len() * (queue_batches.get() + 2);
        let (home, returned) = crossbeam_channel::bounded(batches);
        Self {
            hasher,
            lanes: queues
                .iter()
                .map(|queue| Lane {
                    queue: queue.clone(),
                    open: None,
                })
                .collect(),
            spare: (0..batches).map(|_| FrameBatch::new()).collect(),
            returned,
            home,
            counters: Counters::default(),
            shared,
        }
    }

    fn dispatch(&mut self, batch: &mut FrameBatch) {
        if batch.is_empty() {
            return;
        }
        if self.lanes.len() > 1 {
            for (meta, bytes) in batch.frames() {
                self.frame(meta, bytes);
            }
        } else {
            self.pass(batch);
        }
        self.rest();
    }

    /// Copies a frame for its worker. `false`: there is only one, which takes whole batches.
    fn frame(&mut self, meta: &FrameMeta, bytes: &[u8]) -> bool {
        match NonZeroUsize::new(self.lanes.len()) {
            Some(NonZeroUsize::MIN) | None => false,
            Some(lanes) => {
                let lane = self.lane_of(meta, bytes, lanes);
                self.append(lane, meta, bytes);
                true
            }
        }
    }

    /// Hands over what was copied.
    fn rest(&mut self) {
        for lane in 0..self.lanes.len() {
            self.flush(lane);
        }
        self.shared.publish(&self.counters);
    }

    /// The whole batch to the only worker, in exchange for an empty one.
    fn pass(&mut self, batch: &mut FrameBatch) {
        match self.empty_batch() {
            Some(empty) => {
                let full = std::mem::replace(batch, empty);
                self.send(0, full);
            }
            None => self.counters.batch_missing_frames += batch.len() as u64,
        }
    }

    /// The worker that owns the flow of a frame. Frames that hold no packet go to the first, which counts them.
    ///
    /// Of a tunnelled packet the inner addresses count. A tunnel packet that is itself fragmented shows only the
    /// outer ones, so it goes elsewhere than its flow's whole packets.
    fn lane_of(&self, meta: &FrameMeta, bytes: &[u8], lanes: NonZeroUsize) -> usize {
        match packet::parse(meta.link, bytes, meta.wire_len) {
            Ok(packet) => self
                .hasher
                .shard(packet.source.address, packet.destination.address, lanes),
            Err(Skip::Fragment) => match packet::fragment(meta.link, bytes, meta.wire_len) {
                Some(fragment) => self.hasher.shard(fragment.source, fragment.destination, lanes),
                None => 0,
            },
            Err(_) => 0,
        }
    }

    fn append(&mut self, lane: usize, meta: &FrameMeta, bytes: &[u8]) {
        if self.push(lane, meta, bytes) {
            return;
        }
        self.flush(lane);
        if !self.push(lane, meta, bytes) {
            self.counters.batch_missing_frames += 1;
        }
    }

    fn push(&mut self, lane: usize, meta: &FrameMeta, bytes: &[u8]) -> bool {
        if self.lanes.get(lane).is_some_and(|lane| lane.open.is_none()) {
            let empty = self.empty_batch();
            if let Some(lane) = self.lanes.get_mut(lane) {
                lane.open = empty;
            }
        }
        let open = self.lanes.get_mut(lane).and_then(|lane| lane.open.as_mut());
        open.is_some_and(|open| open.push(meta.at, meta.link, meta.interface, meta.wire_len, bytes))
    }

    /// The one that came back last: caches may still hold it.
    fn empty_batch(&mut self) -> Option<FrameBatch> {
        self.spare.extend(self.returned.try_iter());
        self.spare.pop()
    }

    fn flush(&mut self, lane: usize) {
        if let Some(open) = self.lanes.get_mut(lane).and_then(|lane| lane.open.take()) {
            self.send(lane, open);
        }
    }

    fn send(&mut self, lane: usize, batch: FrameBatch) {
        let Some(lane) = self.lanes.get(lane) else {
            return;
        };
        let work = Work {
            batch,
            home: self.home.clone(),
        };
        if let Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) = lane.queue.try_send(work) {
            let mut batch = work.batch;
            self.counters.queue_dropped_batches += 1;
            self.counters.queue_dropped_frames += batch.len() as u64;
            batch.clear();
            self.spare.push(batch);
        }
    }
}
