//! What came of capture files, as tables for people and as JSON Lines for programs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::judge::Outcomes;
use super::{Total, label, origin};
use crate::cli::Format;
use crate::event::{self, InfoHashes};
use crate::judge::FlowVerdict;
use crate::metrics::Counters;
use crate::overview::Host;
use crate::packet::Skip;

/// JSON Lines: flows, bans, a summary.
pub(super) fn print_json(
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

/// Who would be banned, when and why, and who spoke BitTorrent.
pub(super) fn print_table(
    files: &[PathBuf],
    outcomes: &Outcomes,
    out: &mut dyn Write,
) -> std::io::Result<()> {
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
            event::client_name(&verdict.client()).map_or_else(String::new, |name| format!(" [{name}]"));
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

/// Sums over all that was replayed.
pub(super) fn print_total(total: &Total, format: Format, out: &mut dyn Write) -> std::io::Result<()> {
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
