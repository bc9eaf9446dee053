//! One thread per interface, each with its dispatcher.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use log::{info, warn};

use crate::capture::{
    CaptureError, CaptureStatus, FrameBatch, FrameSink, KernelCounters, LiveCapture, LiveOptions, Stop,
};
use crate::config::Config;
use crate::pipeline::{Dispatcher, Workers};

/// The capture threads.
pub(super) struct Captures {
    threads: Vec<(String, JoinHandle<Result<(), CaptureError>>)>,
    counters: Vec<(String, Arc<KernelCounters>)>,
    /// Whether the interface is captured now.
    running: Vec<(String, Arc<AtomicBool>)>,
}

/// Takes an interface's frames and news.
struct Sink {
    interface: String,
    dispatcher: Dispatcher,
    running: Arc<AtomicBool>,
    /// Dropped when the state of the interface is known.
    begun: Option<Sender<()>>,
}

impl FrameSink for Sink {
    fn frames(&mut self, batch: &mut FrameBatch) {
        self.dispatcher.dispatch(batch);
    }
    fn status(&mut self, status: &CaptureStatus) {
        self.running
            .store(*status == CaptureStatus::Running, Ordering::Relaxed);
        self.begun = None;
        match status {
            CaptureStatus::Running => info!("{}: capturing on {0}", self.interface),
            CaptureStatus::Waiting { reason } => {
                warn!("{}: not capturing: {reason}; waiting for it", self.interface);
            }
        }
    }
}

impl Captures {
    /// Opens all interfaces, then starts a thread for each; returns when every one captures or waits. With
    /// `patient`, interfaces that do not exist yet are waited for, too.
    pub(super) fn start(
        config: &Config,
        interfaces: &[String],
        workers: &Workers,
        stop: &Stop,
        patient: bool,
    ) -> anyhow::Result<Self> {
        let options = LiveOptions {
            ring_bytes: config.buffer_size,
            snaplen: config.snaplen,
            timeout: config.capture_delay,
            wait_for_interface: patient,
            ..LiveOptions::default()
        };
        let mut opened = Vec::new();
        for (number, name) in (0_u16..).zip(interfaces) {
            opened.push(LiveCapture::open(name, number, &options)?);
        }
        let (begun, all_begun) = crossbeam_channel::bounded(0);
        let mut captures = Self {
            threads: Vec::new(),
            counters: Vec::new(),
            running: Vec::new(),
        };
        for mut capture in opened {
            let interface = capture.name().to_owned();
            captures.counters.push((interface.clone(), capture.counters()));
            let running = Arc::new(AtomicBool::new(false));
            captures.running.push((interface.clone(), Arc::clone(&running)));
            let mut sink = Sink {
                interface: interface.clone(),
                dispatcher: workers.dispatcher(),
                running,
                begun: Some(begun.clone()),
            };
            let stop = stop.clone();
            let thread = std::thread::Builder::new()
                .name(format!("capture-{interface}"))
                .spawn(move || capture.run(&mut sink, &stop))?;
            captures.threads.push((interface, thread));
        }
        drop(begun);
        // Nothing is ever sent: the channel closes when the last thread has told the state of its interface.
        let _ = all_begun.recv();
        Ok(captures)
    }

    /// Whether every thread still runs.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for (interface, thread) in &self.threads {
            anyhow::ensure!(!thread.is_finished(), "{interface}: the capture thread has ended");
        }
        Ok(())
    }

    /// Names of the interfaces that are captured now, and of those that are waited for.
    pub(super) fn interfaces(&self) -> (Vec<&str>, Vec<&str>) {
        let names = |captured: bool| {
            self.running
                .iter()
                .filter(|(_, running)| running.load(Ordering::Relaxed) == captured)
                .map(|(name, _)| name.as_str())
                .collect()
        };
        (names(true), names(false))
    }

    /// Waits for the threads, after the stop signal.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for (interface, thread) in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => outcome = Err(error.into()),
                Err(_) => outcome = Err(anyhow::anyhow!("{interface}: the capture thread panicked")),
            }
        }
        for (interface, counters) in self.counters {
            let stats = counters.stats();
            info!(
                "{interface}: {} frames received, {} dropped by the kernel, {} by the interface",
                stats.received, stats.dropped, stats.if_dropped
            );
        }
        outcome
    }
}
