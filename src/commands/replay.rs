//! `btblocker replay`: the live path on capture files. Who would be banned, when and why.
//!
//! Each file, or all of them merged by time, is judged from an empty state, in packet time, so the outcome depends on
//! the files and the configuration only.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::merge::{Merged, expand};
use super::report::{self, Watcher};
use crate::backend::DryRun;
use crate::ban::{Exemptions, Manager, Outcome};
use crate::capture::{FileError, FrameBatch};
use crate::cli::Format;
use crate::config::Config;
use crate::event::{self, InfoHashes};
use crate::flow::FlowHasher;
use crate::judge::{Addresses, BanVerdict, FlowVerdict, Judge, Report, Verdict};
use crate::metrics::Counters;
use crate::network::Ingress;
use crate::overview::{Host, Overview};
use crate::packet::Skip;
use crate::pipeline::{Inspection, Published, Settings};

/// What the judge may know when there are only files: what the operator wrote.
struct Written<'a> {
    config: &'a Config,
    exemptions: &'a Exemptions,
}

impl Addresses for Written<'_> {
    fn is_local(&self, address: IpAddr) -> bool {
        self.config
            .local_networks
            .iter()
            .any(|network| network.contains(address))
    }
    fn may_be_banned(&self, address: IpAddr) -> bool {
        self.exemptions.of(address).is_none()
    }
}

/// What is replayed and how the outcome is printed.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Files, and folders that are searched for capture files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// For people or for programs.
    pub format: Format,
    /// Judge all files together, in the order of time.
    pub merge: bool,
    /// Where a report is written to, too.
    pub html: Option<PathBuf>,
}

/// What came of one file, or of several that were merged.
struct Outcomes {
    flows: Vec<FlowVerdict>,
    bans: Vec<BanVerdict>,
    counters: Counters,
    hosts: Vec<Host>,
    watcher: Watcher,
    /// Why files could not be read to their end.
    damage: Vec<FileError>,
}

/// Sums over everything that was replayed.
#[derive(Default)]
struct Total {
    files: usize,
    unreadable: usize,
    frames: u64,
    bytes: u64,
    flows: u64,
    bittorrent: usize,
    hosts: BTreeSet<IpAddr>,
}

/// Judges files and prints what came of each, or of all when merged, and of all together. What cannot be read is
/// reported, and the others go on. Whether any flow was BitTorrent.
///
/// # Errors
/// When a file could not be read to its end (after all were judged), or the output cannot be written.
pub fn replay(config: &Config, options: &ReplayOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let files = expand(&options.files)?;
    anyhow::ensure!(
        files.len() <= usize::from(u16::MAX),
        "{} files are more than can be replayed at once",
        files.len()
    );
    if let Some(html) = &options.html {
        report::check_place(html)?;
    }
    let mut overviews = Vec::new();
    let together = if options.merge { files.len() } else { 1 };
    let mut total = Total {
        files: files.len(),
        ..Total::default()
    };
    for group in files.chunks(together.max(1)) {
        let mut source = Merged::open(group);
        let outcomes = source
            .is_open()
            .then(|| judge_files(config, group, &mut source, options.html.is_some()));
        if let Some(outcomes) = outcomes.as_ref() {
            match options.format {
                Format::Json => print_json(group, outcomes, &InfoHashes::new(config.info_hash), out)?,
                Format::Table => print_table(group, outcomes, out)?,
            }
            total.add(outcomes);
        }
        let damage = match &outcomes {
            Some(outcomes) => &outcomes.damage,
            None => &source.damage,
        };
        total.unreadable += damage.len();
        let troubles: Vec<String> = damage.iter().map(in_words).collect();
        for trouble in &troubles {
            log::error!("{trouble}");
        }
        if let Some(outcomes) = outcomes.filter(|_| options.html.is_some()) {
            overviews.push(outcomes.overview(label(group), troubles));
        }
    }
    if total.files > together {
        print_total(&total, options.format, out)?;
    }
    if let Some(html) = &options.html {
        report::write(html, &overviews)?;
    }
    anyhow::ensure!(
        total.unreadable == 0,
        "{} of {} files could not be read to the end",
        total.unreadable,
        total.files
    );
    Ok(total.bittorrent > 0)
}

impl Outcomes {
    fn overview(self, source: String, troubles: Vec<String>) -> Overview {
        let Self {
            flows,
            bans,
            counters,
            hosts,
            watcher,
            ..
        } = self;
        watcher.overview(source, &counters, &flows, &bans, hosts, troubles)
    }
}

/// A damage with its causes.
fn in_words(damage: &FileError) -> String {
    let causes = std::iter::successors(std::error::Error::source(damage), |cause| cause.source());
    causes.fold(damage.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl Total {
    fn add(&mut self, outcomes: &Outcomes) {
        self.frames += outcomes.counters.frames;
        self.bytes += outcomes.counters.bytes;
        self.flows += outcomes.counters.flows_created;
        self.bittorrent += outcomes.flows.len();
        self.hosts.extend(outcomes.bans.iter().map(|ban| ban.address));
    }
}

fn print_total(total: &Total, format: Format, out: &mut dyn Write) -> std::io::Result<()> {
    match format {
        Format::Json => {
            let line = json!({
                "event": "total",
                "files": total.files,
                "unreadable": total.unreadable,
                "frames": total.frames,
                "bytes": total.bytes,
                "flows": total.flows,
                "bittorrent_flows": total.bittorrent,
                "hosts": total.hosts.len(),
            });
            writeln!(out, "{line}")
        }
        Format::Table => writeln!(
            out,
            "{} files: {} frames, {} flows, {} of them BitTorrent, {} different hosts would be banned",
            total.files,
            total.frames,
            total.flows,
            total.bittorrent,
            total.hosts.len()
        ),
    }
}

/// What a group of files is called.
fn label(files: &[PathBuf]) -> String {
    match files {
        [file] => file.display().to_string(),
        files => format!("{} files, merged", files.len()),
    }
}

/// Name of the file that an interface number stands for.
fn origin(files: &[PathBuf], number: u16) -> String {
    files
        .get(usize::from(number))
        .map_or_else(String::new, |file| file.display().to_string())
}

fn judge_files(config: &Config, files: &[PathBuf], source: &mut Merged, for_report: bool) -> Outcomes {
    let exemptions = config.allowed();
    let mut manager = Manager::new(
        Box::new(DryRun::default()),
        exemptions.clone(),
        config.ban_policy(),
    );
    let addresses = Written {
        config,
        exemptions: &exemptions,
    };
    let mut judge = Judge::new(config.policy());
    let settings = Settings {
        options: config.inspector_options(),
        hasher: FlowHasher::seeded(0),
        ..Settings::new(config.flows_per_worker(1))
    };
    // A file does not say which addresses belong where, so every source is plausible.
    let anywhere = Published::new(Ingress::default());
    let mut inspection = Inspection::new(&settings, anywhere.reader());
    let mut batch = FrameBatch::new();
    let progress = progress_bar(&label(files), source.bytes_total());
    let (mut flows, mut bans, mut verdicts, mut first) = (Vec::new(), Vec::new(), Vec::new(), None);
    let mut watcher = Watcher::new(for_report);
    while source.fill(&mut batch) {
        inspection.batch(&batch, &mut |report| {
            if let Report::Sighting(sighting) = &report {
                log::debug!("{}: {sighting}", origin(files, sighting.interface));
            }
            judge.hear(&report, &addresses, &mut verdicts);
        });
        for verdict in verdicts.drain(..) {
            match verdict {
                Verdict::Flow(verdict) => {
                    watcher.flow(&verdict);
                    flows.push(verdict);
                }
                Verdict::Ban(verdict) => {
                    let start = *first.get_or_insert(verdict.because.at);
                    let now = Duration::from_micros(verdict.because.at.since(start));
                    let reason = || event::reason(&verdict);
                    let outcome = manager.ban(verdict.address, now, verdict.because.at, reason);
                    watcher.ban(&verdict, outcome, &manager, now);
                    if outcome == Outcome::Banned {
                        bans.push(verdict);
                    }
                }
            }
        }
        watcher.frames(&batch);
        if let Some(bytes) = source.bytes_read() {
            progress.set_position(bytes);
        }
    }
    progress.finish_and_clear();
    Outcomes {
        flows,
        bans,
        counters: inspection.counters().clone(),
        hosts: watcher.hosts(
            &InfoHashes::new(config.info_hash),
            |number| origin(files, number),
            &manager,
        ),
        watcher,
        damage: std::mem::take(&mut source.damage),
    }
}

/// A bar on a terminal, for files whose size is known; otherwise nothing.
fn progress_bar(label: &str, total: Option<u64>) -> ProgressBar {
    let Some(total) = total.filter(|_| std::io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(label.to_owned());
    bar
}

fn print_json(
    files: &[PathBuf],
    outcomes: &Outcomes,
    info_hashes: &InfoHashes,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    for verdict in outcomes.flows.iter().filter(|flow| flow.reported) {
        writeln!(
            out,
            "{}",
            event::flow(("file", &origin(files, verdict.interface)), verdict, info_hashes)
        )?;
    }
    for verdict in &outcomes.bans {
        writeln!(
            out,
            "{}",
            event::ban(("file", &origin(files, verdict.because.interface)), verdict)
        )?;
    }
    let counters = &outcomes.counters;
    let skipped: BTreeMap<&str, u64> = skipped(counters).filter(|(_, count)| *count > 0).collect();
    let summary = json!({
        "event": "summary",
        "file": label(files),
        "frames": counters.frames,
        "bytes": counters.bytes,
        "skipped": skipped,
        "flows": counters.flows_created,
        "bittorrent_flows": outcomes.flows.len(),
        "bans": outcomes.bans.len(),
        "complete": outcomes.damage.is_empty(),
    });
    writeln!(out, "{summary}")
}

fn print_table(files: &[PathBuf], outcomes: &Outcomes, out: &mut dyn Write) -> std::io::Result<()> {
    let counters = &outcomes.counters;
    writeln!(
        out,
        "{}: {} frames, {} flows, {} of them BitTorrent, {} {} would be banned",
        label(files),
        counters.frames,
        counters.flows_created,
        outcomes.flows.len(),
        outcomes.bans.len(),
        if outcomes.bans.len() == 1 { "host" } else { "hosts" },
    )?;
    for (reason, count) in skipped(counters).filter(|(_, count)| *count > 0) {
        writeln!(out, "  skipped {count} frames: {reason}")?;
    }
    if !outcomes.bans.is_empty() {
        writeln!(out, "  {:<28} {:<39} {:<13} WHY", "TIME", "ADDRESS", "TECHNIQUE")?;
    }
    for verdict in &outcomes.bans {
        let FlowVerdict { at, evidence, .. } = verdict.because;
        let client =
            event::client_name(&evidence.client).map_or_else(String::new, |name| format!(" [{name}]"));
        writeln!(
            out,
            "  {:<28} {:<39} {:<13} {}{client}",
            event::rfc3339(at),
            verdict.address.to_string(),
            evidence.technique.name(),
            verdict.reason()
        )?;
    }
    print_hosts(&outcomes.hosts, out)
}

/// Who spoke BitTorrent, how, with what, and what about.
fn print_hosts(hosts: &[Host], out: &mut dyn Write) -> std::io::Result<()> {
    let or_none = |names: &[String]| match names {
        [] => "-".to_owned(),
        names => names.join(", "),
    };
    if !hosts.is_empty() {
        writeln!(
            out,
            "  {:<39} {:>6} {:<28} {:<28} TORRENTS",
            "HOST", "FLOWS", "TECHNIQUES", "PROGRAMS"
        )?;
    }
    for host in hosts {
        writeln!(
            out,
            "  {:<39} {:>6} {:<28} {:<28} {}",
            host.address,
            host.flows,
            or_none(&host.techniques),
            or_none(&host.clients),
            or_none(&host.torrents)
        )?;
    }
    Ok(())
}

/// How many frames were skipped for each reason.
fn skipped(counters: &Counters) -> impl Iterator<Item = (&'static str, u64)> {
    Skip::ALL.iter().map(|reason| {
        (
            reason.name(),
            counters.skipped.get(reason.index()).copied().unwrap_or(0),
        )
    })
}
