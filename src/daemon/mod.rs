//! Watching: wires capture, pipeline, judge, ban manager and kernel set together, and alone reads the clock.
//!
//! The calling thread is the judge's: it hears reports, bans, and is the only one that writes to the kernel.
//! Order at the start: configuration, network, early exit, fewer rights, kernel set, captures, workers, capture threads;
//! what is missing stops the start before a packet is read. Order at the end: captures stop, queues drain, bans stay (or
//! are lifted when so configured). What is remembered of them and the control socket are there before the captures.

mod addresses;
mod alone;
mod answer;
mod capture;
mod connections;
mod decided;
mod depended;
mod early_exit;
mod explain;
#[cfg(test)]
mod flood_tests;
mod memory;
mod monitored;
mod notify;
mod reload;
mod seen;
mod serve;
mod tell;
mod web;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, select};
use log::{error, info, warn};

use crate::backend;
use crate::backend::BackendKind;
use crate::ban::{BackendError, Element, Manager, Outcome};
use crate::capture::{Stop, interface_names};
use crate::config::{BanRule, Config, Overrides};
use crate::control::{Asked, ControlError, Requests, Server};
use crate::event;
use crate::flow::FlowHasher;
use crate::judge::{Judge, Report, Verdict};
use crate::metrics::Board;
use crate::network::{Hosts, Ingress, Network, PerInterface, Watcher, unread_ssh_configuration};
use crate::overview::Treatment;
use crate::pipeline::{Published, Settings, Workers};
use crate::sandbox::{self, Confinement};
use crate::state::wall_clock;

use addresses::Answerable;
use alone::Alone;
use capture::Captures;
use connections::Connections;
use decided::{Decided, Decision, Fate};
use depended::Depended;
use early_exit::EarlyExits;
use memory::Memory;
use monitored::Monitored;
use notify::ServiceManager;
use seen::Seen;
use serve::Served;
use tell::{Taps, Tell};
use web::{Token, Web};

/// Reports that wait for the judge at most; each takes about 250 bytes.
const REPORTS: usize = 16_384;
/// How often the kernel's set is compared with what should be banned. With a tick on top, what others took away is
/// back within five seconds, as long as comparing takes less than half a second.
const RECONCILE: Duration = Duration::from_secs(4);
/// Longest time between two looks at the clock, at signals and at the network.
const TICK: Duration = Duration::from_millis(500);

/// Watches the interfaces until SIGINT or SIGTERM. SIGHUP has the configuration read again, with `overrides` as its
/// highest source.
///
/// # Errors
/// When the start fails, or a worker or capture thread ends by an error later.
pub fn run(config: &Config, overrides: &Overrides) -> anyhow::Result<()> {
    // What needs root's view of the machine or rights for a moment comes first, and no thread runs before they are
    // given up.
    let network = Network::read()?;
    let token = Token::configured(config)?;
    let interfaces = config.watched(&network);
    let _alone = Alone::claim(config)?;
    let early_exits = EarlyExits::load(config, interfaces.len());
    tell_surroundings(config, &interfaces);
    let confinement = sandbox::enter(&config.rights(overrides))?;
    for note in &confinement.notes {
        warn!("{note}");
    }
    info!("{confinement}");
    let stop = Stop::new().context("cannot make an event descriptor")?;
    let hangup = Arc::new(AtomicBool::new(false));
    on_signals(stop.clone(), Arc::clone(&hangup))?;
    let watcher = Watcher::new()?;
    anyhow::ensure!(
        !interfaces.is_empty(),
        "interface auto: there is no default route; name the interface with --interface"
    );
    if let Some(name) = config.stray_section(&interfaces) {
        anyhow::bail!(
            "[interfaces.{name}]: {name} is not watched, only {}",
            interfaces.join(", ")
        );
    }
    let answerable = Answerable::new(config, &network, &[]);
    info!("local networks: {} (`local_networks`)", answerable.local());
    let (tell, taps) = Tell::start(config, &interfaces)?;
    let (requests, asked) = Requests::queue();
    let control = control(config, requests.clone())?;
    let start = Instant::now();
    let mut manager = manager(config, &interfaces, &answerable)?;
    let memory = Memory::recall(config, &mut manager, start.elapsed())?;
    let mut daemon = Daemon {
        config: config.clone(),
        confinement,
        early_exits,
        overrides: overrides.clone(),
        tuning: Published::new(config.tuning(&interfaces)),
        service_manager: ServiceManager::new(),
        manager,
        answerable,
        depended: Depended::start()?,
        allowed: Vec::new(),
        memory,
        _control: control,
        _requests: requests.clone(),
        asked,
        seen: Seen::default(),
        connections: Connections::start(config)?,
        judge: Judge::new(config.policies(&interfaces)),
        ban_rules: config.ban_rules(&interfaces),
        monitored: Monitored::new(config.max_bans),
        ingress: Published::new(Ingress::new(&network, &interfaces)),
        network,
        interfaces,
        watcher,
        board: Board::default(),
        start,
        verdicts: Vec::new(),
        decided: Decided::default(),
        refused: None,
        tell,
        storm: false,
    };
    // One ban that the kernel does not take keeps nobody from watching.
    daemon.flush();
    let served = Arc::new(Served {
        board: daemon.board.clone(),
        counts: Arc::clone(daemon.tell.counts()),
        backend: daemon.manager.backend().name(),
        start: daemon.start,
        interfaces: OnceLock::new(),
    });
    serve::start(config, &served, Web::new(requests, token))?;
    let outcome = daemon.watch(&stop, &hangup, taps, &served);
    daemon.tell.finish();
    outcome
}

/// Everything that lives while the interfaces are watched.
struct Daemon {
    config: Config,
    confinement: Confinement,
    early_exits: EarlyExits,
    /// What was typed: it stays in force when the configuration is read again.
    overrides: Overrides,
    tuning: Published<PerInterface<btblocker_detectors::Options>>,
    ban_rules: PerInterface<BanRule>,
    service_manager: ServiceManager,
    manager: Manager,
    monitored: Monitored,
    answerable: Answerable,
    network: Network,
    depended: Depended,
    /// Whom a command exempted until the end of this run.
    allowed: Vec<Element>,
    memory: Memory,
    /// The socket is there as long as this is.
    _control: Option<Server>,
    /// Keeps the queue open where there is neither socket nor web page: a closed one is always ready to be heard.
    _requests: Requests,
    /// Requests from the socket and the web page.
    asked: Receiver<Asked>,
    seen: Seen,
    connections: Connections,
    judge: Judge,
    ingress: Published<Ingress>,
    interfaces: Vec<String>,
    watcher: Watcher,
    board: Board,
    start: Instant,
    verdicts: Vec<Verdict>,
    /// What is told when the kernel has taken it.
    decided: Decided,
    /// Why the kernel refused the last changes, if it did: a lasting trouble is logged once.
    refused: Option<String>,
    tell: Tell,
    /// Whether the storm brake holds, so that it is said once.
    storm: bool,
}

impl Daemon {
    fn watch(&mut self, stop: &Stop, hangup: &AtomicBool, taps: Taps, served: &Served) -> anyhow::Result<()> {
        let (reports, heard) = crossbeam_channel::bounded(REPORTS);
        let config = &self.config;
        let settings = Settings {
            tuning: Some(self.tuning.clone()),
            hasher: FlowHasher::random(),
            samples: taps.samples,
            packets: taps.packets,
            early_exit: self.early_exits.loaded.clone(),
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
        // At a prompt a lone interface that is missing is a typing error; when a machine boots, or beside others
        // that are there, it is one that comes later.
        let existing = interface_names();
        let patient =
            self.service_manager.is_there() || self.interfaces.iter().any(|name| existing.contains(name));
        let early_exit = &self.early_exits.loaded;
        let captures = Captures::start(config, &self.interfaces, early_exit, &workers, stop, patient)?;
        // Set once: nobody else sets it.
        let _ = served.interfaces.set(captures.counters());
        info!(
            "ready: watching {}; bans are held by {}",
            self.interfaces.join(", "),
            self.manager.backend().name()
        );
        let outcome = self.hear(&heard, &workers, &captures, stop, hangup);
        self.service_manager.stopping();
        stop.stop();
        let captured = captures.finish();
        let finished = workers.finish();
        while let Ok(report) = heard.try_recv() {
            self.judge(&report);
        }
        self.flush();
        self.end();
        outcome.and(captured).and(finished.map_err(Into::into))
    }

    /// Hears reports until the stop signal.
    fn hear(
        &mut self,
        heard: &Receiver<Report>,
        workers: &Workers,
        captures: &Captures,
        stop: &Stop,
        hangup: &AtomicBool,
    ) -> anyhow::Result<()> {
        let mut reconcile_at = Instant::now() + RECONCILE;
        let mut swept_at = Instant::now();
        // The first tick is at once: it tells the service manager that the watch has begun.
        let mut tick_at = Instant::now();
        let (asked, found) = (self.asked.clone(), self.depended.found().clone());
        loop {
            select! {
                recv(heard) -> report => {
                    let Ok(report) = report else { return Ok(()) };
                    self.judge(&report);
                    // What else is there already is written to the kernel in the same batch.
                    for report in heard.try_iter().take(1_024) {
                        self.judge(&report);
                    }
                    if self.decided.any() {
                        self.depended.banned();
                    }
                    self.flush();
                    self.depended.tick(false);
                }
                recv(asked) -> asked => {
                    if let Ok(Asked { request, reply }) = asked {
                        // A client that has left does not take its answer.
                        let _ = reply.try_send(self.answer(request, captures));
                    }
                }
                recv(found) -> hosts => {
                    self.follow_hosts(hosts.context("the thread that looks for SSH sessions has ended")?);
                }
                default(self.leisure(tick_at)) => {}
            }
            if self.manager.is_comparing() {
                self.reconcile();
            }
            let now = Instant::now();
            if now < tick_at {
                continue;
            }
            tick_at = now + TICK;
            self.show(heard.len(), workers.waiting());
            self.record(captures);
            if stop.is_stopped() {
                return Ok(());
            }
            if hangup.swap(false, Ordering::Relaxed) {
                self.reload();
            }
            workers.check()?;
            captures.check()?;
            let (captured, awaited) = captures.interfaces();
            self.service_manager.tick(&captured, &awaited, self.in_force());
            if self.watcher.changed() && self.follow_network() {
                reconcile_at = now;
            }
            let anybody = self.manager.active().len() > 0;
            self.depended.tick(anybody);
            self.manager.expire(self.start.elapsed());
            self.settle();
            self.watch_storm();
            self.memory.keep(&mut self.manager, self.start.elapsed());
            if now >= swept_at + self.config.cleanup_interval {
                swept_at = now;
                self.sweep();
            }
            if now >= reconcile_at {
                reconcile_at = now + RECONCILE;
                self.reconcile();
            }
        }
    }

    /// How long to wait for something to happen: not at all while many bans are compared with the kernel.
    fn leisure(&self, tick_at: Instant) -> Duration {
        match self.manager.is_comparing() {
            true => Duration::ZERO,
            false => tick_at.saturating_duration_since(Instant::now()),
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
                    self.seen.hosts.flow(&flow);
                    for end in [flow.flow.originator, flow.flow.responder] {
                        self.manager.count_flow(end.ip());
                    }
                }
                Verdict::Ban(ban) => {
                    let rule = *self.ban_rules.of(ban.because.interface);
                    let element = self.manager.element_for(ban.address);
                    if rule.monitored {
                        self.seen.hosts.ban(&ban, Treatment::Monitored);
                        if self.monitored.is_news(element, rule.duration, now) {
                            self.tell.monitored(&ban, element);
                        }
                        continue;
                    }
                    let reason = || event::reason(&ban);
                    let outcome =
                        self.manager
                            .ban_for(ban.address, rule.duration, now, ban.because.at, reason);
                    if outcome == Outcome::Banned {
                        self.decided.add(element, Decision::Ban(Box::new(ban)));
                    }
                    self.tell.asked(&ban, element, &outcome);
                    self.seen.hosts.ban(&ban, Treatment::Asked(outcome));
                }
            }
        }
    }

    /// Shows what is counted nowhere else.
    fn show(&mut self, reports_waiting: usize, batches_waiting: usize) {
        let active = self.in_force();
        // What cannot be read now is read at the next turn.
        let packets = self.manager.backend().packets().ok().flatten();
        let counts = self.tell.turn();
        let now = self.start.elapsed();
        let tally = self.manager.tally();
        counts.active.set(active as u64);
        counts.waiting.set(self.manager.waiting() as u64);
        counts.renewed.set(tally.renewed);
        counts.exempt.set(tally.exempt);
        counts.full.set(tally.full + tally.kernel_full);
        counts.storm.set(tally.storm);
        counts.lifted.set(tally.unbanned);
        counts.expired.set(tally.expired);
        counts.restored.set(tally.restored);
        counts.swept.set(tally.swept);
        let displaced = self.judge.displaced();
        counts.hosts_displaced.set(displaced.hosts);
        counts.flows_displaced.set(displaced.flows);
        counts.learned_displaced.set(displaced.learned);
        counts.reports_waiting.set(reports_waiting as u64);
        counts.batches_waiting.set(batches_waiting as u64);
        if let Some(packets) = packets {
            counts.xdp_passed.set(packets.passed);
            counts.xdp_dropped_v4.set(packets.dropped_v4);
            counts.xdp_dropped_v6.set(packets.dropped_v6);
            counts.xdp_dropped_bytes.set(packets.dropped_bytes);
        }
        counts.heartbeat.set(now.as_secs());
    }

    /// Bans that the kernel has taken.
    fn in_force(&self) -> usize {
        self.manager.active().len() - self.manager.waiting()
    }

    /// Writes to the kernel, and tells what it has taken. What it refuses stays waiting and is tried again by the
    /// reconciliation.
    fn flush(&mut self) {
        let outcome = self.manager.flush(self.start.elapsed());
        self.hear_kernel(outcome);
    }

    fn reconcile(&mut self) {
        let outcome = self.manager.reconcile(self.start.elapsed());
        if let Ok(missing @ 1..) = outcome {
            warn!("{missing} bans were missing in the kernel and are back");
        }
        self.hear_kernel(outcome.map(drop));
    }

    fn sweep(&mut self) {
        if let Err(error) = self.manager.sweep() {
            warn!(
                "bans that have run out stay in the kernel's maps: {:#}",
                anyhow::Error::from(error)
            );
        }
    }

    /// What the kernel says to changes: a lasting trouble is one line.
    fn hear_kernel(&mut self, outcome: Result<(), BackendError>) {
        match outcome {
            Ok(()) if self.manager.is_any_waiting() => {}
            Ok(()) => self.refused = None,
            Err(error) => {
                self.tell.counts().kernel_errors.count();
                let error = format!("{:#}", anyhow::Error::from(error));
                if self.refused.is_none() {
                    error!("{error}; trying again every {} s", RECONCILE.as_secs());
                }
                self.refused = Some(error);
            }
        }
        self.settle();
    }

    /// Tells what is certain: bans that ran out, and decisions that the kernel has taken or refused.
    fn settle(&mut self) {
        for element in self.manager.take_ended() {
            let anew = self.manager.is_banned(element);
            if anew || !self.decided.withdraw(element) {
                self.tell.expired(element);
            }
        }
        for element in self.manager.take_put_back() {
            self.connections.cut(element);
        }
        for (element, decision, fate) in self.decided.settle(&self.manager) {
            if fate == Fate::Taken && decision.bans() {
                self.connections.cut(element);
            }
            self.tell.settled(element, &decision, fate);
        }
    }

    /// Addresses, routes or interfaces have changed. Whether the kernel's set is to be looked at, because a watched
    /// interface came, went or was made again: an XDP program goes with its interface.
    fn follow_network(&mut self) -> bool {
        let network = match Network::read() {
            Ok(network) => network,
            Err(error) => {
                warn!(
                    "{:#}; the former view of the network is kept",
                    anyhow::Error::from(error)
                );
                return false;
            }
        };
        let before = std::mem::replace(&mut self.network, network);
        self.exempt();
        self.ingress
            .publish(Ingress::new(&self.network, &self.interfaces));
        indexes(&before, &self.interfaces) != indexes(&self.network, &self.interfaces)
    }

    /// Who has logged in is not banned, and no more if somebody is.
    fn follow_hosts(&mut self, hosts: Hosts) {
        if self.network.follow(hosts) {
            self.exempt();
        }
    }

    /// Takes over who is never banned, and lifts bans accordingly.
    fn exempt(&mut self) {
        self.answerable = Answerable::new(&self.config, &self.network, &self.allowed);
        for lifted in self.manager.exempt(self.answerable.exemptions().clone()) {
            self.decided.add(lifted, Decision::Exempt);
        }
        self.flush();
    }

    /// Says when the storm brake begins and ceases to hold.
    fn watch_storm(&mut self) {
        let storm = self.manager.is_storm(self.start.elapsed());
        if storm && !self.storm {
            error!(
                "more than {} hosts were to be banned within a minute (max_bans_per_minute): further hosts are only \
                 reported until fewer are",
                self.config.max_bans_per_minute
            );
        } else if self.storm && !storm {
            warn!(
                "hosts are banned again; {} requests were only reported",
                self.manager.tally().storm
            );
        }
        self.storm = storm;
    }

    /// Lifts all bans at the end (`cleanup_on_stop`), and tells those whose end the kernel has taken.
    fn lift_all(&mut self) {
        let all: Vec<Element> = self.manager.active().map(|(element, _)| element).collect();
        for element in &all {
            self.manager.unban(*element);
            self.decided.add(*element, Decision::Stop);
        }
        match self.manager.flush(self.start.elapsed()) {
            Ok(()) => info!("{} bans lifted (cleanup_on_stop)", all.len()),
            Err(error) => error!("bans cannot be lifted: {:#}", anyhow::Error::from(error)),
        }
        for (element, decision, fate) in self.decided.settle(&self.manager) {
            if fate == Fate::Taken {
                self.tell.settled(element, &decision, fate);
            }
        }
    }

    fn end(&mut self) {
        let total = self.board.total();
        info!(
            "stopped: {} frames, {} flows, {} reports dropped, {} frames dropped in own queues",
            total.frames,
            total.flows_created,
            total.reports_dropped,
            total.queue_dropped_frames + total.batch_missing_frames
        );
        if self.config.cleanup_on_stop {
            self.lift_all();
            // A program that is pinned would look at every packet for nobody.
            if self.config.holder() == BackendKind::Xdp
                && let Err(error) = self.manager.backend().teardown()
            {
                error!("the XDP program stays: {:#}", anyhow::Error::from(error));
            }
        }
        self.memory
            .end(&self.manager, self.start.elapsed(), self.config.cleanup_on_stop);
    }
}

/// The kernel's numbers of interfaces: one that is made again has a new one.
fn indexes(network: &Network, interfaces: &[String]) -> Vec<Option<u32>> {
    let index = |name: &String| network.interface(name).map(|found| found.index);
    interfaces.iter().map(index).collect()
}

/// The ban manager on its kernel set, with sets and rules in place.
fn manager(config: &Config, interfaces: &[String], answerable: &Answerable) -> anyhow::Result<Manager> {
    let mut backend = backend::open(config.holder(), &config.backend_options(interfaces.to_vec()))?;
    if config.setup {
        backend.ensure()?;
    }
    backend.verify()?;
    let mut manager = Manager::new(backend, answerable.exemptions().clone(), config.ban_policy());
    let adopted = manager.adopt(Duration::ZERO, wall_clock())?;
    if adopted > 0 {
        info!("{adopted} bans of an earlier run are in force");
    }
    manager.exempt(answerable.exemptions().clone());
    Ok(manager)
}

/// Warns of what the operator would not expect: bans that go on although this run does not know of them, and SSH
/// sessions that are not seen as such.
fn tell_surroundings(config: &Config, interfaces: &[String]) {
    for mut other in backend::others_in_place(config.holder(), &config.backend_options(interfaces.to_vec())) {
        let held = other.list().map_or(0, |held| held.len());
        if held > 0 {
            warn!(
                "{0} still drops for {held} bans of an earlier run, which commands to this one do not lift: \
                 `btblocker teardown --backend {0}` ends them",
                other.name()
            );
        }
    }
    if let Some(trouble) = unread_ssh_configuration() {
        warn!(
            "{trouble}: SSH sessions to other ports than 22 are not known and not exempt; let the daemon's user read \
             it, or put where you log in from into `allow`"
        );
    }
}

/// The control socket, if it is wanted and can be made. That another daemon is alive is an error; that there is no
/// place for the socket costs commands only.
fn control(config: &Config, requests: Requests) -> anyhow::Result<Option<Server>> {
    let Some(path) = config.control_path() else {
        return Ok(None);
    };
    match Server::listen(&path, requests) {
        Ok(server) => Ok(Some(server)),
        Err(error @ ControlError::Alive(_)) => Err(error.into()),
        Err(error) => {
            warn!(
                "commands cannot reach this daemon: {:#}; choose another control_socket, or none",
                anyhow::Error::from(error)
            );
            Ok(None)
        }
    }
}

/// Has SIGINT and SIGTERM give the stop signal, and SIGHUP ask for the configuration to be read again.
fn on_signals(stop: Stop, hangup: Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                match signal {
                    libc::SIGHUP => hangup.store(true, Ordering::Relaxed),
                    _ => stop.stop(),
                }
            }
        })?;
    Ok(())
}
