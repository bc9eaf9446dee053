//! A watched interface with an inspection, and the place where packets are put onto it.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use btblocker::capture::{
    CaptureStatus, EarlyExit, FrameBatch, FrameSink, KernelCounters, LiveCapture, LiveOptions, Stop,
};
use btblocker::judge::{Report, Sighting};
use btblocker::network::Ingress;
use btblocker::packet::{TransportView, parse};
use btblocker::pipeline::{Inspection, Published, Settings};

use crate::namespace::{ip, veth};
use crate::packets::{End, JUNK, ethernet, udp};
use crate::tun::tun;

/// Longer than anything here takes on a loaded machine.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// Where packets go that say how far a capture is.
const MARK: u16 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Ethernet,
    Tun,
}

/// Puts packets onto the watched interface.
pub(crate) struct Wire {
    place: Place,
    marks: u16,
}

enum Place {
    Peer(pcap::Capture<pcap::Active>),
    Device(File),
}

impl Wire {
    /// Makes the interface `watched`.
    pub(crate) fn new(link: Link) -> Self {
        let place = match link {
            Link::Ethernet => {
                veth("watched", "peer");
                // Recorded frames can be longer than those of the line.
                ip("link set watched mtu 65535");
                ip("link set peer mtu 65535");
                let peer = pcap::Capture::from_device("peer").unwrap();
                Place::Peer(peer.open().unwrap())
            }
            Link::Tun => Place::Device(tun("watched")),
        };
        Self { place, marks: 0 }
    }
    pub(crate) fn send(&mut self, packet: &[u8]) {
        match &mut self.place {
            Place::Peer(_) => self.send_frame(&ethernet(packet)),
            Place::Device(device) => device.write_all(packet).unwrap(),
        }
    }
    pub(crate) fn send_frame(&mut self, frame: &[u8]) {
        match &mut self.place {
            Place::Peer(peer) => peer.sendpacket(frame).unwrap(),
            Place::Device(_) => panic!("a tun device takes no frames"),
        }
    }
    /// Sends a packet, of a new flow each time, that says how far a capture is.
    pub(crate) fn mark(&mut self) -> u16 {
        self.marks += 1;
        let [from, to] = ["192.0.2.250", "192.0.2.251"].map(|address| address.parse().unwrap());
        self.send(&udp(End(from, self.marks), End(to, MARK), b""));
        self.marks
    }
}

/// What was seen of a frame that holds TCP or UDP.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) ports: [u16; 2],
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
    /// What it shows, with those before.
    pub(crate) sightings: Vec<Sighting>,
}

struct Sink {
    inspection: Inspection,
    arrived: Sender<Arrived>,
    /// Microseconds that packet time is ahead.
    ahead: Arc<AtomicU64>,
}

impl FrameSink for Sink {
    fn frames(&mut self, batch: &mut FrameBatch) {
        for (meta, bytes) in batch.frames() {
            let mut meta = *meta;
            meta.at.0 += self.ahead.load(Ordering::Relaxed);
            let mut sightings = Vec::new();
            self.inspection.frame(&meta, bytes, &mut |report| {
                if let Report::Sighting(sighting) = report {
                    sightings.push(sighting);
                }
            });
            if let Ok(view) = parse(meta.link, bytes, meta.wire_len) {
                let (flags, payload) = match view.transport {
                    TransportView::Tcp(segment) => (segment.flags, segment.payload),
                    TransportView::Udp(datagram) => (0, datagram.payload),
                };
                let _ = self.arrived.send(Arrived {
                    ports: [view.source.port, view.destination.port],
                    flags,
                    payload: payload.to_vec(),
                    sightings,
                });
            }
        }
        self.inspection.rest();
    }
    fn status(&mut self, _status: &CaptureStatus) {}
}

/// A capture of the interface `watched` with an inspection, until it is dropped.
pub(crate) struct Watched {
    arrived: Receiver<Arrived>,
    pub(crate) early_exit: Option<EarlyExit>,
    pub(crate) counters: Arc<KernelCounters>,
    ahead: Arc<AtomicU64>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    /// With or without early exit.
    pub(crate) fn start(with: bool) -> Self {
        let options = LiveOptions::default();
        let early_exit = with.then(|| EarlyExit::load(options.snaplen).expect("the filter is loaded"));
        let options = LiveOptions {
            early_exit: early_exit.iter().cloned().collect(),
            ..options
        };
        let settings = Settings {
            early_exit: early_exit.iter().cloned().collect(),
            ..Settings::new(4_096.try_into().unwrap())
        };
        let inspection = Inspection::new(&settings, Published::new(Ingress::default()).reader());
        let mut capture = LiveCapture::open("watched", 0, &options).unwrap();
        let (sender, arrived) = mpsc::channel();
        let (counters, ahead, stop) = (
            capture.counters(),
            Arc::<AtomicU64>::default(),
            Stop::new().unwrap(),
        );
        let (signal, shift) = (stop.clone(), Arc::clone(&ahead));
        let thread = thread::spawn(move || {
            let mut sink = Sink {
                inspection,
                arrived: sender,
                ahead: shift,
            };
            capture.run(&mut sink, &signal).expect("capture runs");
        });
        Self {
            arrived,
            early_exit,
            counters,
            ahead,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn left_out(&self) -> u64 {
        self.early_exit
            .as_ref()
            .map_or(0, |early_exit| early_exit.left_out().frames)
    }

    /// Packet time goes on by so much.
    pub(crate) fn skip(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap();
        self.ahead.fetch_add(micros, Ordering::Relaxed);
    }

    /// What arrives until everything that was sent before has done so.
    pub(crate) fn all(&self, wire: &mut Wire) -> Vec<Arrived> {
        self.until(wire.mark())
    }

    /// What arrives until this mark.
    pub(crate) fn until(&self, mark: u16) -> Vec<Arrived> {
        let mut found = Vec::new();
        loop {
            let arrived = self.arrived.recv_timeout(BOUND).expect("the mark arrives");
            if arrived.ports == [mark, MARK] {
                return found;
            }
            found.push(arrived);
        }
    }

    /// Sends packets until they end early.
    pub(crate) fn settle(&self, wire: &mut Wire, mut packet: impl FnMut(u32) -> Vec<u8>) {
        let (before, start) = (self.left_out(), Instant::now());
        let mut number = 0;
        while self.left_out() == before {
            assert!(start.elapsed() < BOUND, "nothing is left out");
            wire.send(&packet(number));
            number += 1;
            thread::yield_now();
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.stop();
        let result = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(result, Some(Ok(()))));
    }
}

/// A datagram of no interest.
pub(crate) fn junk(from: End, to: End) -> Vec<u8> {
    udp(from, to, JUNK)
}
