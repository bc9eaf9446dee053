//! `btblocker replay`: the live path on capture files. Who would be banned, when and why.
//!
//! Each file is judged from an empty state, in packet time, so the outcome depends on the file and the
//! configuration only.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::backend::DryRun;
use crate::ban::{Exemption, Exemptions, Manager, Outcome};
use crate::capture::{FileError, FileSource, FrameBatch};
use crate::cli::Format;
use crate::config::Config;
use crate::event::{self, InfoHashes};
use crate::flow::FlowHasher;
use crate::judge::{Addresses, BanVerdict, FlowVerdict, Judge, Report, Verdict};
use crate::metrics::Counters;
use crate::network::{Ingress, Network};
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

/// What came of one file.
struct Outcomes {
    flows: Vec<FlowVerdict>,
    bans: Vec<BanVerdict>,
    counters: Counters,
    /// Why the file could not be read to its end.
    damage: Option<FileError>,
}

/// Judges files one after the other and prints what came of each. A file that cannot be read is reported,
/// and the others go on.
///
/// # Errors
/// When a file could not be read to its end (after all were judged), or the output cannot be written.
pub fn replay(config: &Config, files: &[PathBuf], format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut unreadable = 0;
    for path in files {
        match judge_file(config, path) {
            Ok(outcomes) => {
                match format {
                    Format::Json => print_json(path, &outcomes, &InfoHashes::new(config.info_hash), out)?,
                    Format::Table => print_table(path, &outcomes, out)?,
                }
                if let Some(damage) = outcomes.damage {
                    log::error!("{:#}", anyhow::Error::from(damage));
                    unreadable += 1;
                }
            }
            Err(error) => {
                log::error!("{:#}", anyhow::Error::from(error));
                unreadable += 1;
            }
        }
    }
    anyhow::ensure!(
        unreadable == 0,
        "{unreadable} of {} files could not be read to the end",
        files.len()
    );
    Ok(())
}

fn judge_file(config: &Config, path: &Path) -> Result<Outcomes, FileError> {
    let mut source = FileSource::open(path, 0)?;
    let mut exemptions = Exemptions::default();
    for element in &config.allow {
        exemptions.add(*element, Exemption::Allowed);
    }
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
    let anywhere = Published::new(Ingress::new(&Network::default(), &[] as &[&str]));
    let mut inspection = Inspection::new(&settings, anywhere.reader());
    let mut batch = FrameBatch::new();
    let progress = progress_bar(path, source.bytes_total());
    let (mut flows, mut bans, mut verdicts, mut first) = (Vec::new(), Vec::new(), Vec::new(), None);
    let damage = loop {
        match source.fill(&mut batch) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error) => break Some(error),
        }
        inspection.batch(&batch, &mut |report| {
            if let Report::Sighting(sighting) = &report {
                log::debug!("{}: {sighting}", path.display());
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
    };
    progress.finish_and_clear();
    Ok(Outcomes {
        flows,
        bans,
        counters: inspection.counters().clone(),
        damage,
    })
}

/// A bar on a terminal, for files whose size is known; otherwise nothing.
fn progress_bar(path: &Path, total: Option<u64>) -> ProgressBar {
    let Some(total) = total.filter(|_| std::io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(path.display().to_string());
    bar
}

fn print_json(
    path: &Path,
    outcomes: &Outcomes,
    info_hashes: &InfoHashes,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let file = path.display().to_string();
    let origin = ("file", file.as_str());
    for verdict in &outcomes.flows {
        writeln!(out, "{}", event::flow(origin, verdict, info_hashes))?;
    }
    for verdict in &outcomes.bans {
        writeln!(out, "{}", event::ban(origin, verdict))?;
    }
    let counters = &outcomes.counters;
    let skipped: BTreeMap<&str, u64> = skipped(counters).filter(|(_, count)| *count > 0).collect();
    let summary = json!({
        "event": "summary",
        "file": file,
        "frames": counters.frames,
        "bytes": counters.bytes,
        "skipped": skipped,
        "flows": counters.flows_created,
        "bittorrent_flows": outcomes.flows.len(),
        "bans": outcomes.bans.len(),
        "complete": outcomes.damage.is_none(),
    });
    writeln!(out, "{summary}")
}

fn print_table(path: &Path, outcomes: &Outcomes, out: &mut dyn Write) -> std::io::Result<()> {
    let counters = &outcomes.counters;
    writeln!(
        out,
        "{}: {} frames, {} flows, {} of them BitTorrent, {} {} would be banned",
        path.display(),
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
