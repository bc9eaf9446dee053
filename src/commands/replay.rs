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
}

/// What came of one file, or of several that were merged.
struct Outcomes {
    flows: Vec<FlowVerdict>,
    bans: Vec<BanVerdict>,
    counters: Counters,
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
    let together = if options.merge { files.len() } else { 1 };
    let mut total = Total {
        files: files.len(),
        ..Total::default()
    };
    for group in files.chunks(together.max(1)) {
        let mut source = Merged::open(group);
        let outcomes = source.is_open().then(|| judge_files(config, group, &mut source));
        if let Some(outcomes) = &outcomes {
            match options.format {
                Format::Json => print_json(group, outcomes, &InfoHashes::new(config.info_hash), out)?,
                Format::Table => print_table(group, outcomes, out)?,
            }
            total.add(outcomes);
        }
        let damage = outcomes.map_or(source.damage, |outcomes| outcomes.damage);
        total.unreadable += damage.len();
        for damage in damage {
            log::error!("{:#}", anyhow::Error::from(damage));
        }
    }
    if total.files > together {
        print_total(&total, options.format, out)?;
    }
    anyhow::ensure!(
        total.unreadable == 0,
        "{} of {} files could not be read to the end",
        total.unreadable,
        total.files
    );
    Ok(total.bittorrent > 0)
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

fn judge_files(config: &Config, files: &[PathBuf], source: &mut Merged) -> Outcomes {
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
    while source.fill(&mut batch) {
        inspection.batch(&batch, &mut |report| {
            if let Report::Sighting(sighting) = &report {
                log::debug!("{}: {sighting}", origin(files, sighting.interface));
            }
            judge.hear(&report, &addresses, &mut verdicts);
        });
        for verdict in verdicts.drain(..) {
            match verdict {
                Verdict::Flow(verdict) => flows.push(verdict),
                Verdict::Ban(verdict) => {
                    let start = *first.get_or_insert(verdict.because.at);
                    let now = Duration::from_micros(verdict.because.at.since(start));
                    if manager.ban(verdict.address, now, verdict.because.at, || {
                        event::reason(&verdict)
                    }) == Outcome::Banned
                    {
                        bans.push(verdict);
                    }
                }
            }
        }
        if let Some(bytes) = source.bytes_read() {
            progress.set_position(bytes);
        }
    }
    progress.finish_and_clear();
    Outcomes {
        flows,
        bans,
        counters: inspection.counters().clone(),
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
