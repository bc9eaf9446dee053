//! One thread per interface, each with its dispatcher.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use log::{info, warn};

use crate::capture::{
    CaptureError, CaptureStatus, EarlyExit, FrameBatch, FrameMeta, FrameSink, KernelCounters, KernelStats,
    LiveCapture, LiveOptions, Stop,
};
use crate::config::Config;
use crate::pipeline::{Dispatcher, Workers};

/// The capture threads.
pub(super) struct Captures {
    threads: Vec<(String, JoinHandle<Result<(), CaptureError>>)>,
    counters: Vec<(String, Arc<KernelCounters>)>,
    states: Vec<State>,
}

/// State of an interface that is captured.
const RUNNING: &str = "running";

/// What an interface's capture last said of itself.
type State = Arc<Mutex<String>>;

/// One interface as it is.
pub(super) struct InterfaceState {
    pub(super) name: String,
    /// `running`, or why it is not.
    pub(super) state: String,
    pub(super) stats: KernelStats,
}

/// Takes an interface's frames and news.
struct Sink {
    interface: String,
    dispatcher: Dispatcher,
    /// Dropped when the state of the interface is known.
    begun: Option<Sender<()>>,
    state: State,
}

impl FrameSink for Sink {
    fn frames(&mut self, batch: &mut FrameBatch) {
        self.dispatcher.dispatch(batch);
    }
    fn frame(&mut self, meta: &FrameMeta, bytes: &[u8]) -> bool {
        self.dispatcher.frame(meta, bytes)
    }
    fn end_of_block(&mut self) {
        self.dispatcher.rest();
    }
    fn status(&mut self, status: &CaptureStatus) {
        let state = match status {
            CaptureStatus::Running => RUNNING.to_owned(),
            CaptureStatus::Waiting { reason } => format!("waiting: {reason}"),
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        match status {
            CaptureStatus::Running => info!(interface = self.interface; "capturing on {}", self.interface),
            CaptureStatus::Waiting { reason } => {
                warn!(interface = self.interface; "not capturing: {reason}; waiting for it");
            }
        }
        self.begun = None;
    }
}

impl Captures {
    /// Opens all interfaces, then starts a thread for each; returns when every one captures or waits. With
    /// `patient`, interfaces that do not exist yet are waited for, too.
    pub(super) fn start(
        config: &Config,
        interfaces: &[String],
        early_exit: &[EarlyExit],
        workers: &Workers,
        stop: &Stop,
        patient: bool,
    ) -> anyhow::Result<Self> {
        let options = LiveOptions {
            ring_bytes: config.buffer_size,
            snaplen: config.snaplen,
            timeout: config.capture_delay,
            wait_for_interface: patient,
            early_exit: early_exit.to_vec(),
            ..LiveOptions::default()
        };
        let opened = open_all(interfaces, &options)?;
        let (begun, all_begun) = crossbeam_channel::bounded(0);
        let mut captures = Self {
            threads: Vec::new(),
            counters: Vec::new(),
            states: Vec::new(),
        };
        for mut capture in opened {
            let interface = capture.name().to_owned();
            captures.counters.push((interface.clone(), capture.counters()));
            let state = State::default();
            captures.states.push(Arc::clone(&state));
            let mut sink = Sink {
                interface: interface.clone(),
                dispatcher: workers.dispatcher(),
                begun: Some(begun.clone()),
                state,
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

    /// The kernel's counters by interface.
    pub(super) fn counters(&self) -> Vec<(String, Arc<KernelCounters>)> {
        self.counters.clone()
    }

    /// Whether every thread still runs.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for (interface, thread) in &self.threads {
            anyhow::ensure!(!thread.is_finished(), "{interface}: the capture thread has ended");
        }
        Ok(())
    }

    /// Every interface as it is.
    pub(super) fn states(&self) -> impl Iterator<Item = InterfaceState> {
        self.counters
            .iter()
            .zip(&self.states)
            .map(|((name, counters), state)| InterfaceState {
                name: name.clone(),
                state: state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                stats: counters.stats(),
            })
    }

    /// Names of the interfaces that are captured now, and of those that are waited for.
    pub(super) fn interfaces(&self) -> (Vec<String>, Vec<String>) {
        let (running, waiting): (Vec<_>, Vec<_>) =
            self.states().partition(|interface| interface.state == RUNNING);
        let name = |interface: InterfaceState| interface.name;
        (
            running.into_iter().map(name).collect(),
            waiting.into_iter().map(name).collect(),
        )
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
            info!(interface;
                "{} frames received, {} dropped by the kernel, {} by the interface, {} ended early",
                stats.received, stats.dropped, stats.if_dropped, stats.left_out
            );
        }
        outcome
    }
}

/// Opens all at once: the kernel lets each wait until no processor uses the old state of its socket (an RCU grace
/// period), and one period serves all.
fn open_all(interfaces: &[String], options: &LiveOptions) -> Result<Vec<LiveCapture>, CaptureError> {
    std::thread::scope(|scope| {
        let opening: Vec<_> = (0_u16..)
            .zip(interfaces)
            .map(|(number, name)| scope.spawn(move || LiveCapture::open(name, number, options)))
            .collect();
        opening
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}
