//! Watching: wires capture, pipeline, judge, ban manager and kernel set together, and alone reads the clock.
//!
//! The calling thread is the judge's: it hears reports, bans, and is the only one that writes to the kernel.
//! Order at the start: configuration, network, kernel set, captures, workers, capture threads; what is missing
//! stops the start before a packet is read. Order at the end: captures stop, queues drain, bans stay (or are
//! lifted when so configured).

mod addresses;
mod capture;
mod notify;
mod tell;

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use btblocker_detectors::Timestamp;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{debug, error, info, warn};

use crate::backend::{self, BackendKind};
use crate::ban::{Manager, Outcome};
use crate::capture::Stop;
use crate::config::Config;
use crate::event::{self, InfoHashes, SampleSender};
use crate::flow::FlowHasher;
use crate::judge::{Judge, Report, Verdict};
use crate::metrics::Board;
use crate::network::{Ingress, Network, Watcher};
use crate::pipeline::{Published, Settings, WorkerExit, Workers};

use addresses::Answerable;
use capture::Captures;
use notify::ServiceManager;
use tell::Tell;

/// Reports that wait for the judge at most; each takes about 250 bytes.
const REPORTS: usize = 16_384;
/// How often the kernel's set is compared with what should be banned.
const RECONCILE: Duration = Duration::from_secs(5);
/// Longest time between two looks at the clock, at signals and at the network.
const TICK: Duration = Duration::from_millis(500);

/// Watches the interfaces until SIGINT or SIGTERM.
///
/// # Errors
/// When the start fails, or a worker or capture thread ends by an error later.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let stop = Stop::new().context("cannot make an event descriptor")?;
    on_signals(stop.clone())?;
    let network = Network::read()?;
    let watcher = Watcher::new()?;
    let interfaces = config.watched(&network);
    anyhow::ensure!(
        !interfaces.is_empty(),
        "interface auto: there is no default route; name the interface with --interface"
    );
    let answerable = Answerable::new(config, &network);
    let (tell, samples) = Tell::start(config, &interfaces)?;
    let mut daemon = Daemon {
        config,
        service_manager: ServiceManager::new(),
        manager: manager(config, &interfaces, &answerable)?,
        answerable,
        judge: Judge::new(config.policy()),
        ingress: Published::new(Ingress::new(&network, &interfaces)),
        interfaces,
        watcher,
        board: Board::default(),
        start: Instant::now(),
        verdicts: Vec::new(),
        info_hashes: InfoHashes::new(config.info_hash),
        refused: false,
        tell,
    };
    let outcome = daemon.watch(&stop, samples);
    daemon.tell.finish();
    outcome
}

/// Everything that lives while the interfaces are watched.
struct Daemon<'a> {
    config: &'a Config,
    service_manager: ServiceManager,
    manager: Manager,
    answerable: Answerable,
    judge: Judge,
    ingress: Published<Ingress>,
    interfaces: Vec<String>,
    watcher: Watcher,
    board: Board,
    start: Instant,
    verdicts: Vec<Verdict>,
    info_hashes: InfoHashes,
    /// Whether the kernel refused the last changes, so that a lasting trouble is logged once.
    refused: bool,
    tell: Tell,
}

impl Daemon<'_> {
    fn watch(&mut self, stop: &Stop, samples: Option<SampleSender>) -> anyhow::Result<()> {
        let (reports, heard) = crossbeam_channel::bounded(REPORTS);
        let config = self.config;
        let settings = Settings {
            options: config.inspector_options(),
            hasher: FlowHasher::random(),
            samples,
            ..Settings::new(config.flows_per_worker(self.interfaces.len()))
        };
        let (ingress, board) = (self.ingress.clone(), self.board.clone());
        let workers = Workers::start(
            config.workers,
            config.queue_length(),
            settings,
            ingress,
            reports,
            board,
        )?;
        // At a prompt a missing interface is a typing error; when a machine boots it is one that comes later.
        let patient = self.service_manager.is_there();
        let captures = Captures::start(config, &self.interfaces, &workers, stop, patient)?;
        info!(
            "ready: {} bans are held by {}",
            self.interfaces.join(", "),
            self.manager.backend().name()
        );
        let outcome = self.hear(&heard, workers.exits(), &captures, stop);
        self.service_manager.stopping();
        stop.stop();
        let captured = captures.finish();
        let finished = workers.finish();
        while let Ok(report) = heard.try_recv() {
            self.judge(&report);
        }
        self.flush();
        self.say_goodbye();
        outcome.and(captured).and(finished.map_err(Into::into))
    }

    /// Hears reports until the stop signal.
    fn hear(
        &mut self,
        heard: &Receiver<Report>,
        exits: &Receiver<WorkerExit>,
        captures: &Captures,
        stop: &Stop,
    ) -> anyhow::Result<()> {
        let mut reconcile_at = Instant::now() + RECONCILE;
        // The first tick is at once: it tells the service manager that the watch has begun.
        let mut tick_at = Instant::now();
        loop {
            match heard.recv_deadline(tick_at) {
                Ok(report) => {
                    self.judge(&report);
                    // What else is there already is written to the kernel in the same batch.
                    for report in heard.try_iter().take(1_024) {
                        self.judge(&report);
                    }
                    self.flush();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let now = Instant::now();
            if now < tick_at {
                continue;
            }
            tick_at = now + TICK;
            if stop.is_stopped() {
                return Ok(());
            }
            if let Ok(WorkerExit { worker, panic }) = exits.try_recv() {
                anyhow::bail!(
                    "worker {worker} ended: {}",
                    panic.unwrap_or_else(|| "without a reason".to_owned())
                );
            }
            captures.check()?;
            let (captured, awaited) = captures.interfaces();
            let bans = self.manager.active(self.start.elapsed()).len();
            self.service_manager.tick(&captured, &awaited, bans);
            if self.watcher.changed() {
                self.follow_network();
            }
            for element in self.manager.expire(self.start.elapsed()) {
                info!("unbanned {element}: the time is over");
            }
            if now >= reconcile_at {
                reconcile_at = now + RECONCILE;
                self.reconcile();
            }
        }
    }

    fn judge(&mut self, report: &Report) {
        self.tell.before_report();
        self.judge.hear(report, &self.answerable, &mut self.verdicts);
        let now = self.start.elapsed();
        for verdict in self.verdicts.drain(..) {
            match verdict {
                Verdict::Flow(flow) => {
                    self.tell.flow(&flow);
                    let origin = self
                        .interfaces
                        .get(usize::from(flow.interface))
                        .map_or("?", String::as_str);
                    debug!("{}", event::flow(("interface", origin), &flow, &self.info_hashes));
                }
                Verdict::Ban(ban) => {
                    let because = &ban.because;
                    let origin = self
                        .interfaces
                        .get(usize::from(because.interface))
                        .map_or("?", String::as_str);
                    let client = event::client_name(&because.evidence.client);
                    let client = client.map_or_else(String::new, |name| format!(" [{name}]"));
                    match self.manager.ban(ban.address, now) {
                        Outcome::Banned => {
                            let delay = age(because.at);
                            info!(
                                "{origin}: banned {}: {}{client}, {delay} after the packet",
                                ban.address,
                                ban.reason()
                            );
                        }
                        Outcome::Renewed => debug!("{origin}: renewed {}: {}", ban.address, ban.reason()),
                        Outcome::Cached => {}
                        Outcome::Exempt(why) => {
                            debug!("{origin}: {} is exempt ({})", ban.address, why.name())
                        }
                        Outcome::Full => warn!(
                            "{origin}: cannot ban {}: {} hosts are banned already (max_bans)",
                            ban.address, self.config.max_bans
                        ),
                    }
                }
            }
        }
    }

    /// Writes to the kernel. What it refuses stays waiting and is tried again by the reconciliation.
    fn flush(&mut self) {
        match self.manager.flush() {
            Ok(()) => self.refused = false,
            Err(error) if !self.refused => {
                self.refused = true;
                error!(
                    "{:#}; trying again every {} s",
                    anyhow::Error::from(error),
                    RECONCILE.as_secs()
                );
            }
            Err(_) => {}
        }
    }

    fn reconcile(&mut self) {
        match self.manager.reconcile(self.start.elapsed()) {
            Ok(missing) => {
                self.refused = false;
                if missing > 0 {
                    warn!("{missing} bans were missing in the kernel and are back");
                }
            }
            Err(error) if !self.refused => {
                self.refused = true;
                error!(
                    "{:#}; trying again every {} s",
                    anyhow::Error::from(error),
                    RECONCILE.as_secs()
                );
            }
            Err(_) => {}
        }
    }

    /// Addresses, routes or interfaces have changed.
    fn follow_network(&mut self) {
        let network = match Network::read() {
            Ok(network) => network,
            Err(error) => {
                warn!(
                    "{:#}; the former view of the network is kept",
                    anyhow::Error::from(error)
                );
                return;
            }
        };
        self.answerable = Answerable::new(self.config, &network);
        for lifted in self.manager.exempt(self.answerable.exemptions().clone()) {
            info!("unbanned {lifted}: it is never banned any more");
        }
        self.flush();
        self.ingress.publish(Ingress::new(&network, &self.interfaces));
    }

    fn say_goodbye(&mut self) {
        let total = self.board.total();
        info!(
            "stopped: {} frames, {} flows, {} reports dropped, {} frames dropped in own queues",
            total.frames,
            total.flows_created,
            total.reports_dropped,
            total.queue_dropped_frames + total.batch_missing_frames
        );
        if self.config.cleanup_on_stop {
            match self.manager.clear() {
                Ok(lifted) => info!("{lifted} bans lifted (cleanup_on_stop)"),
                Err(error) => error!("bans cannot be lifted: {:#}", anyhow::Error::from(error)),
            }
        }
    }
}

/// Time since a packet was captured, for the log.
fn age(at: Timestamp) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    format!("{:.1} ms", Timestamp(micros).since(at) as f64 / 1_000.0)
}

/// The ban manager on its kernel set, with sets and rules in place.
fn manager(config: &Config, interfaces: &[String], answerable: &Answerable) -> anyhow::Result<Manager> {
    let kind = if config.monitor_only {
        BackendKind::DryRun
    } else {
        config.backend
    };
    let mut backend = backend::open(kind, &config.backend_options(interfaces.to_vec()))?;
    if config.setup {
        backend.ensure()?;
    }
    backend.verify()?;
    let mut manager = Manager::new(backend, answerable.exemptions().clone(), config.ban_policy());
    let adopted = manager.adopt(Duration::ZERO)?;
    if adopted > 0 {
        info!("{adopted} bans of an earlier run are in force");
    }
    manager.exempt(answerable.exemptions().clone());
    manager.flush()?;
    Ok(manager)
}

/// Has SIGINT and SIGTERM give the stop signal.
fn on_signals(stop: Stop) -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGINT, libc::SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                stop.stop();
            }
        })?;
    Ok(())
}
