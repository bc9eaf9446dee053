//! Frames of one network interface, as long as the program lives.
//!
//! Promise: no allocation, lock or log line per frame; one `poll(2)` per ring block. An interface that is down,
//! deleted or renamed is waited for, and capture goes on when an interface of that name is there again.
//!
//! TPACKET_V3 is used because `immediate_mode` switches libpcap to TPACKET_V2, which costs twenty times the CPU
//! per frame and, at this snap length, holds a fraction of the frames. libpcap's read timeout does not fire on
//! an idle link, hence the own `poll`. Needs Linux 3.2 and CAP_NET_RAW.
//!
//! Deliberately not done: frames are not looked at, and one frame that crosses two watched interfaces (`eth0`
//! and `eth0.5`, a bridge and its port) is delivered twice.

use super::interface;
use super::stop::{Stop, wait};
use super::{
    CaptureError, CaptureStatus, FrameBatch, FrameMeta, FrameSink, KERNEL_FILTER, KernelCounters, LinkType,
    LiveOptions, WaitReason, interface_names, timestamp,
};
use pcap::{Active, Capture};
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the interface is looked at and the kernel's counters are read.
const CHECK: Duration = Duration::from_millis(500);
/// Pause after an event of the socket that brought no frame.
const PAUSE: Duration = Duration::from_millis(5);

/// Capture on one interface.
pub struct LiveCapture {
    name: String,
    number: u16,
    options: LiveOptions,
    device: Option<Device>,
    batch: FrameBatch,
    counters: Arc<KernelCounters>,
    status: Option<CaptureStatus>,
}

/// An open interface.
struct Device {
    capture: Capture<Active>,
    link: LinkType,
    index: u32,
    stats: pcap::Stat,
}

impl LiveCapture {
    /// Opens an interface by name; `any` means all. `number` is what [`super::FrameMeta::interface`] will say. An
    /// interface that is down is waited for.
    ///
    /// # Errors
    /// When it does not exist (unless that is to be waited for), or may not or cannot be captured.
    pub fn open(name: &str, number: u16, options: &LiveOptions) -> Result<Self, CaptureError> {
        if !interface::may_capture() {
            return Err(CaptureError::Permission {
                interface: name.to_owned(),
            });
        }
        let device = match interface::find(name) {
            Some(found) if found.up => Some(Device::open(name, number, found.index, options)?),
            Some(_) => None,
            None if options.wait_for_interface => None,
            None => {
                let existing = interface_names();
                return Err(CaptureError::Unknown {
                    interface: name.to_owned(),
                    existing,
                });
            }
        };
        Ok(Self {
            name: name.to_owned(),
            number,
            options: options.clone(),
            device,
            batch: FrameBatch::new(),
            counters: Arc::default(),
            status: None,
        })
    }

    /// Name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Link type, while the interface is open.
    pub fn link(&self) -> Option<LinkType> {
        self.device.as_ref().map(|device| device.link)
    }
    /// The kernel's counters, to be read while the capture runs.
    pub fn counters(&self) -> Arc<KernelCounters> {
        Arc::clone(&self.counters)
    }

    /// Captures until `stop`. Frames go to the sink in the calling thread; what the kernel has not handed over
    /// by then is lost.
    ///
    /// # Errors
    /// Only when waiting itself fails; troubles of the interface are a [`CaptureStatus`].
    pub fn run(&mut self, sink: &mut dyn FrameSink, stop: &Stop) -> Result<(), CaptureError> {
        let mut check_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= check_at {
                self.check(sink);
                check_at = now + CHECK;
            }
            let fd = self.device.as_ref().map(|device| device.capture.as_fd());
            let [events, stopped] = self.ready(fd, stop, CHECK)?;
            if stopped {
                break;
            }
            if !events {
                continue;
            }
            match self.dispatch(sink) {
                // Readable, but nothing there: libpcap has swallowed an error of the socket. A pause makes
                // sure that an error which stays cannot become a busy loop.
                Ok(0) => {
                    if self.ready(None, stop, PAUSE)?[1] {
                        break;
                    }
                    check_at = Instant::now();
                }
                Ok(_) => {}
                Err(error) => {
                    log::debug!("{}: {error}", self.name);
                    self.close();
                    check_at = Instant::now();
                }
            }
        }
        self.read_stats();
        Ok(())
    }

    /// Whether the descriptor has events, and whether `stop` was given.
    fn ready(
        &self,
        fd: Option<BorrowedFd<'_>>,
        stop: &Stop,
        most: Duration,
    ) -> Result<[bool; 2], CaptureError> {
        wait([fd, Some(stop.as_fd())], most).map_err(|source| CaptureError::Kernel {
            interface: self.name.clone(),
            action: "poll",
            source,
        })
    }

    /// Hands one ring block to the sink.
    fn dispatch(&mut self, sink: &mut dyn FrameSink) -> Result<usize, pcap::Error> {
        let Some(device) = &mut self.device else {
            return Ok(0);
        };
        let (batch, link, number) = (&mut self.batch, device.link, self.number);
        let result = device.capture.dispatch(None, |packet| {
            let (at, wire_len) = (timestamp(packet.header), packet.header.len);
            let meta = FrameMeta::lone(at, link, number, wire_len, packet.data.len());
            if sink.frame(&meta, packet.data) {
                return;
            }
            if !batch.push(at, link, number, wire_len, packet.data) {
                sink.frames(batch);
                batch.clear();
                // An empty batch takes every frame.
                let _ = batch.push(at, link, number, wire_len, packet.data);
            }
        });
        if !batch.is_empty() {
            sink.frames(batch);
            batch.clear();
        }
        sink.end_of_block();
        result
    }

    /// Compares with what exists under the name, opens or closes, and tells a change.
    fn check(&mut self, sink: &mut dyn FrameSink) {
        self.read_stats();
        let found = interface::find(&self.name);
        // A renamed or re-created interface: the socket still follows the old one.
        if self
            .device
            .as_ref()
            .is_some_and(|device| found.is_none_or(|found| found.index != device.index))
        {
            self.close();
        }
        let status = match found {
            None => CaptureStatus::Waiting {
                reason: WaitReason::Missing,
            },
            Some(found) if !found.up => CaptureStatus::Waiting {
                reason: WaitReason::Down,
            },
            Some(found) => self.open_device(found.index),
        };
        if self.status.as_ref() != Some(&status) {
            sink.status(&status);
            self.status = Some(status);
        }
    }

    fn open_device(&mut self, index: u32) -> CaptureStatus {
        if self.device.is_none() {
            match Device::open(&self.name, self.number, index, &self.options) {
                Ok(device) => self.device = Some(device),
                Err(error) => {
                    let reason = match error.source() {
                        Some(source) => format!("{error}: {source}"),
                        None => error.to_string(),
                    };
                    return CaptureStatus::Waiting {
                        reason: WaitReason::Refused(reason),
                    };
                }
            }
        }
        CaptureStatus::Running
    }

    fn close(&mut self) {
        self.read_stats();
        self.device = None;
    }

    fn read_stats(&mut self) {
        if let Some(early_exit) = self.options.early_exit.get(usize::from(self.number)) {
            self.counters.show(early_exit.left_out());
        }
        let Some(device) = &mut self.device else { return };
        // A deleted interface has no statistics any more.
        if let Ok(now) = device.capture.stats() {
            self.counters.add(&device.stats, &now);
            device.stats = now;
        }
    }
}

impl Device {
    fn open(name: &str, number: u16, index: u32, options: &LiveOptions) -> Result<Self, CaptureError> {
        let refused = |source| CaptureError::Open {
            interface: name.to_owned(),
            source,
        };
        let millis = options.timeout.as_millis().clamp(1, 60_000);
        let mut capture = Capture::from_device(name)
            .map_err(refused)?
            .snaplen(i32::try_from(options.snaplen).unwrap_or(i32::MAX))
            .buffer_size(i32::try_from(options.ring_bytes).unwrap_or(i32::MAX))
            .timeout(i32::try_from(millis).unwrap_or(i32::MAX))
            // A router gets everything it forwards anyway.
            .promisc(false)
            .open()
            .and_then(Capture::setnonblock)
            .map_err(refused)?;
        if let Err(error) = capture.filter(KERNEL_FILTER, true) {
            log::warn!(
                "{name}: capturing without a kernel filter, {KERNEL_FILTER:?} cannot be used: {error}"
            );
        }
        let link = LinkType::from_number(capture.get_datalink().0);
        if let Some(early_exit) = options.early_exit.get(usize::from(number))
            && let Err(error) = early_exit.attach(capture.as_fd(), link)
        {
            log::warn!("{name}: capturing without early exit: {error}");
        }
        if let Some(group) = options.fanout {
            join_fanout(&capture, group).map_err(|source| CaptureError::Kernel {
                interface: name.to_owned(),
                action: "PACKET_FANOUT",
                source,
            })?;
        }
        let stats = pcap::Stat {
            received: 0,
            dropped: 0,
            if_dropped: 0,
        };
        // `if_dropped` counts from the start of the interface, not of the capture.
        let stats = capture.stats().map_or(stats, |now| pcap::Stat {
            if_dropped: now.if_dropped,
            ..stats
        });
        Ok(Self {
            capture,
            link,
            index,
            stats,
        })
    }
}

fn join_fanout(capture: &Capture<Active>, group: u16) -> io::Result<()> {
    let value = u32::from(group) | libc::PACKET_FANOUT_HASH << 16;
    // SAFETY: the pointer and the length are those of a live integer.
    let result = unsafe {
        libc::setsockopt(
            capture.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
