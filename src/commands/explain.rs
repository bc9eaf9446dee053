//! What the running daemon holds of one host, for people.

use std::io::{self, Write};
use std::net::IpAddr;

use anyhow::Context;

use super::daemon::ask;
use crate::cli::Format;
use crate::config::Config;
use crate::control::Request;
use crate::overview::Explanation;

/// Prints what is held of a host, and what a ban of it would still need.
///
/// # Errors
/// When no daemon answers.
pub fn explain(config: &Config, address: IpAddr, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let (lines, _) = ask(config, &Request::Explain { address })?;
    for line in lines {
        match format {
            Format::Json => writeln!(out, "{line}")?,
            Format::Table => {
                let told = serde_json::from_value(line).context("the daemon is of another version")?;
                print(&told, out)?;
            }
        }
    }
    Ok(())
}

fn print(told: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {}", told.address, told.state)?;
    if let Some(ban) = &told.ban {
        writeln!(
            out,
            "  {} since {}, {} s left: {}",
            ban.address, ban.since, ban.remaining_seconds, ban.reason
        )?;
    }
    if let Some(host) = &told.host {
        writeln!(
            out,
            "\nSince the start: flows judged BitTorrent: {}, by {}; first {}, last {}",
            host.flows,
            host.techniques.join(", "),
            host.first,
            host.last,
        )?;
        for (what, names) in [("programs", &host.clients), ("torrents", &host.torrents)] {
            if !names.is_empty() {
                writeln!(out, "  {what}: {}", names.join(", "))?;
            }
        }
    }
    let hidden = told.flows_known.saturating_sub(told.flows.len());
    let more = (hidden > 0).then(|| format!("and {hidden} further flows"));
    let flows: Vec<String> = told.flows.iter().cloned().chain(more).collect();
    for (title, lines) in [
        ("Held", &told.held),
        ("Flows with evidence", &flows),
        ("What a ban still needs", &told.needed),
    ] {
        if !lines.is_empty() {
            writeln!(out, "\n{title}:")?;
        }
        for line in lines {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}
