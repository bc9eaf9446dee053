//! Commands that work on the kernel's sets directly, with or without a running daemon.

use std::io::Write;
use std::net::IpAddr;

use anyhow::Context;

use crate::backend;
use crate::ban::{Change, Element, Exemption, Exemptions, SetBackend, Timeout};
use crate::cli::Format;
use crate::config::Config;
use crate::network::Network;

fn open(config: &Config) -> anyhow::Result<Box<dyn SetBackend>> {
    // Only XDP is bound to interfaces.
    let interfaces = config.watched(&Network::read()?);
    Ok(backend::open(
        config.backend,
        &config.backend_options(interfaces),
    )?)
}

/// Creates sets and drop rules.
///
/// # Errors
/// When the kernel refuses.
pub fn setup(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut backend = open(config)?;
    backend.ensure()?;
    backend.verify()?;
    writeln!(
        out,
        "{}: sets {1} and {1}6 and their drop rules are in place",
        backend.name(),
        config.set_name
    )?;
    Ok(())
}

/// Removes sets and drop rules, with all bans.
///
/// # Errors
/// When the kernel refuses.
pub fn teardown(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut backend = open(config)?;
    backend.teardown()?;
    writeln!(
        out,
        "{}: sets {1} and {1}6 and their drop rules are removed",
        backend.name(),
        config.set_name
    )?;
    Ok(())
}

/// Lists the bans that the kernel holds.
///
/// # Errors
/// When the sets are missing.
pub fn bans(config: &Config, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut held = open(config)?.list()?;
    held.sort_by_key(|held| held.element);
    if format == Format::Table {
        writeln!(out, "{:<40} REMAINING", "ADDRESS")?;
    }
    for entry in &held {
        let secs = entry.remaining.map(|remaining| remaining.as_secs());
        match format {
            Format::Json => {
                let line = serde_json::json!({
                    "event": "banned", "address": entry.element.to_string(), "remaining_seconds": secs,
                });
                writeln!(out, "{line}")?;
            }
            Format::Table => {
                let remaining = secs.map_or_else(|| "for ever".to_owned(), |secs| format!("{secs} s"));
                writeln!(out, "{:<40} {remaining}", entry.element.to_string())?;
            }
        }
    }
    Ok(())
}

/// Lifts bans, or all of them.
///
/// # Errors
/// When the sets are missing.
pub fn unban(config: &Config, addresses: &[Element], all: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut backend = open(config)?;
    let held: Vec<Element> = backend.list()?.into_iter().map(|held| held.element).collect();
    let wanted = if all { &held[..] } else { addresses };
    for element in wanted {
        backend
            .apply(&[Change::Unban(*element)])
            .with_context(|| format!("cannot unban {element}"))?;
        let said = if held.contains(element) {
            "unbanned"
        } else {
            "was not banned"
        };
        writeln!(out, "{element} {said}")?;
    }
    if all && held.is_empty() {
        writeln!(out, "nobody is banned")?;
    }
    Ok(())
}

/// Bans hosts by hand for the configured time.
///
/// # Errors
/// When an address is on the allow list or can never be banned, or the sets are missing.
pub fn ban(config: &Config, addresses: &[IpAddr], out: &mut dyn Write) -> anyhow::Result<()> {
    let mut exemptions = Exemptions::default();
    for element in &config.allow {
        exemptions.add(*element, Exemption::Allowed);
    }
    let mut backend = open(config)?;
    let timeout = Timeout::from_duration(config.ban_duration);
    for address in addresses {
        if let Some(why) = exemptions.of(*address) {
            anyhow::bail!("{address} is never banned ({})", why.name());
        }
        let ban = [Change::Ban(Element::host(*address), timeout)];
        backend
            .apply(&ban)
            .with_context(|| format!("cannot ban {address}"))?;
        writeln!(out, "{address} banned for {} s", timeout.secs())?;
    }
    Ok(())
}
