//! Beginnings of payloads that gave evidence, on their way from the packet path to the detection log.
//!
//! Promise: sending takes no memory and never waits; the buffers go round, and when all are under way the sample is
//! dropped and counted. A sample is sent before the reports of its packet, so whoever has a report has its sample.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::judge::FlowId;
use btblocker_detectors::{Class, Endpoint, Evidence, Timestamp, Transport};

/// Payload bytes of a sample at most.
pub const SAMPLE_BYTES: usize = 512;

/// How much a piece of evidence counts: its confidence, then whether it is of BitTorrent itself.
type Weight = (u8, bool);

/// The beginning of one payload.
#[derive(Debug)]
pub struct Sample {
    /// Packet time.
    pub at: Timestamp,
    /// The packet's flow.
    pub flow: FlowId,
    /// Payload length on the wire, in bytes.
    pub wire_len: u32,
    weight: Weight,
    bytes: Vec<u8>,
}

impl Sample {
    fn empty() -> Self {
        let nobody = Endpoint { address: 0, port: 0 };
        Self {
            at: Timestamp(0),
            flow: FlowId {
                transport: Transport::Tcp,
                originator: nobody,
                responder: nobody,
            },
            wire_len: 0,
            weight: (0, false),
            bytes: Vec::with_capacity(SAMPLE_BYTES),
        }
    }

    /// Up to [`SAMPLE_BYTES`] bytes from the payload's beginning.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The end of the packet path. Clones share the buffers.
#[derive(Clone, Debug)]
pub struct SampleSender {
    spare: Receiver<Box<Sample>>,
    out: Sender<Box<Sample>>,
    dropped: Arc<AtomicU64>,
}

impl SampleSender {
    /// Sends the beginning of a payload with the `evidence` that its packet gave; nothing without evidence.
    pub fn send<'e>(
        &self,
        at: Timestamp,
        flow: FlowId,
        evidence: impl Iterator<Item = &'e Evidence>,
        wire_len: u32,
        payload: &[u8],
    ) {
        let weight = |evidence: &Evidence| (evidence.confidence as u8, evidence.class == Class::BitTorrent);
        let Some(weight) = evidence.map(weight).max() else {
            return;
        };
        let Ok(mut sample) = self.spare.try_recv() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        sample.bytes.clear();
        let payload = payload.get(..SAMPLE_BYTES).unwrap_or(payload);
        sample.bytes.extend_from_slice(payload);
        (sample.at, sample.flow, sample.wire_len, sample.weight) = (at, flow, wire_len, weight);
        // There is a place for every buffer; without a receiver nobody wants samples.
        let _ = self.out.try_send(sample);
    }
}

/// Where used samples go back to.
pub type SampleHome = Sender<Box<Sample>>;

/// The judge's end: the weightiest sample of each of the latest flows with evidence.
#[derive(Debug)]
pub struct Samples {
    heard: Receiver<Box<Sample>>,
    home: SampleHome,
    kept: HashMap<FlowId, Box<Sample>>,
    /// Flows of `kept`, oldest first; flows whose sample was taken are skipped when their turn comes.
    order: VecDeque<FlowId>,
    most: usize,
    dropped: Arc<AtomicU64>,
}

/// Both ends with `count` buffers between them, half of which wait for verdicts at most.
pub fn samples(count: usize) -> (SampleSender, Samples) {
    let (home, spare) = crossbeam_channel::bounded(count);
    let (out, heard) = crossbeam_channel::bounded(count);
    for _ in 0..count {
        let _ = home.try_send(Box::new(Sample::empty()));
    }
    let dropped = Arc::<AtomicU64>::default();
    let sender = SampleSender {
        spare,
        out,
        dropped: Arc::clone(&dropped),
    };
    let samples = Samples {
        heard,
        home,
        kept: HashMap::new(),
        order: VecDeque::new(),
        most: count / 2,
        dropped,
    };
    (sender, samples)
}

impl Samples {
    /// Takes in what has arrived.
    pub fn hear(&mut self) {
        while let Ok(sample) = self.heard.try_recv() {
            let flow = sample.flow;
            let lighter = match self.kept.get_mut(&flow) {
                Some(kept) if kept.weight >= sample.weight => Some(sample),
                Some(kept) => Some(std::mem::replace(kept, sample)),
                None => {
                    self.order.push_back(flow);
                    self.kept.insert(flow, sample)
                }
            };
            self.recycle(lighter);
            while self.order.len() > self.most {
                let oldest = self.order.pop_front().and_then(|flow| self.kept.remove(&flow));
                self.recycle(oldest);
            }
        }
    }

    /// The sample of a flow, which goes [home](Self::home) after use.
    pub fn take(&mut self, flow: &FlowId) -> Option<Box<Sample>> {
        self.kept.remove(flow)
    }

    /// Where used samples go back to.
    pub fn home(&self) -> SampleHome {
        self.home.clone()
    }

    /// Samples that were dropped because all buffers were under way.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn recycle(&self, sample: Option<Box<Sample>>) {
        if let Some(sample) = sample {
            let _ = self.home.try_send(sample);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use btblocker_detectors::{Confidence, Side, Technique};

    fn flow(port: u16) -> FlowId {
        let end = |last, port| Endpoint::new([192, 0, 2, last].into(), port);
        FlowId {
            transport: Transport::Tcp,
            originator: end(1, port),
            responder: end(2, 6881),
        }
    }

    fn evidence(confidence: Confidence) -> [Evidence; 1] {
        [Evidence::new(
            Technique::Handshake,
            "test",
            confidence,
            Side::Originator,
        )]
    }

    #[test]
    fn the_weightiest_sample_of_a_flow_is_kept_and_cut() {
        let (sender, mut samples) = samples(8);
        let send = |confidence, payload: &[u8]| {
            sender.send(Timestamp(1), flow(1), evidence(confidence).iter(), 9_000, payload);
        };
        send(Confidence::Weak, b"weak");
        send(Confidence::Conclusive, &[7; 9_000]);
        send(Confidence::Conclusive, b"later");
        sender.send(Timestamp(1), flow(2), [].iter(), 1, b"no evidence");
        samples.hear();
        let sample = samples.take(&flow(1)).unwrap();
        assert_eq!((sample.bytes(), sample.wire_len), (&[7; SAMPLE_BYTES][..], 9_000));
        assert!(samples.take(&flow(1)).is_none() && samples.take(&flow(2)).is_none());
    }

    #[test]
    fn buffers_go_round_and_their_lack_is_counted() {
        let (sender, mut samples) = samples(4);
        let send = |port| {
            sender.send(
                Timestamp(1),
                flow(port),
                evidence(Confidence::Strong).iter(),
                1,
                b"x",
            )
        };
        (1..=6).for_each(send);
        assert_eq!(samples.dropped(), 2);
        samples.hear();
        // The two latest wait for a verdict; the others' buffers are free again.
        assert!(samples.take(&flow(2)).is_none());
        let taken = [samples.take(&flow(3)).unwrap(), samples.take(&flow(4)).unwrap()];
        (7..=8).for_each(send);
        assert_eq!(samples.dropped(), 2);
        taken
            .into_iter()
            .for_each(|sample| samples.home().send(sample).unwrap());
        for port in 0..100 {
            send(port);
            samples.hear();
        }
        assert_eq!(samples.dropped(), 2);
    }
}
