//! Commands about bans: they ask the running daemon, and where none answers they work on the kernel's sets
//! directly.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::daemon::{ask, ask_or_none};
use crate::backend;
use crate::ban::{Change, Element, Held, Record, SetBackend, Timeout};
use crate::cli::Format;
use crate::config::Config;
use crate::control::Request;
use crate::event::rfc3339;
use crate::network::Network;
use crate::state::Store;

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

/// Removes sets and drop rules, with all bans, also those that are remembered for the next start.
///
/// # Errors
/// When the kernel refuses, or a daemon is running.
pub fn teardown(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    anyhow::ensure!(
        ask_or_none(config, &Request::Status {})?.is_none(),
        "btblocker is running and would put everything back; stop it first"
    );
    let mut backend = open(config)?;
    backend.teardown()?;
    if let Some(store) = config.store() {
        store.remove()?;
    }
    writeln!(
        out,
        "{}: sets {1} and {1}6 and their drop rules are removed",
        backend.name(),
        config.set_name
    )?;
    Ok(())
}

/// Lists the bans in force: those of the running daemon, otherwise those that the kernel holds, with what is
/// remembered of them.
///
/// # Errors
/// When there is no daemon and the sets are missing.
pub fn bans(config: &Config, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let bans = match ask_or_none(config, &Request::Bans {})? {
        Some((bans, _)) => bans,
        None => held(config)?,
    };
    if format == Format::Table {
        writeln!(
            out,
            "{:<40} {:<20} {:>11} {:>6} {:<16} {:<20} REASON",
            "ADDRESS", "SINCE", "REMAINING", "FLOWS", "TECHNIQUE", "CLIENT"
        )?;
    }
    for ban in &bans {
        match format {
            Format::Json => writeln!(out, "{ban}")?,
            Format::Table => {
                let text = |key: &str| ban.get(key).and_then(Value::as_str).unwrap_or("-");
                let number = |key: &str| ban.get(key).and_then(Value::as_u64);
                let since = text("since").split('.').next().unwrap_or("-");
                let remaining = number("remaining_seconds")
                    .map_or_else(|| "for ever".to_owned(), |secs| format!("{secs} s"));
                let flows = number("flows").map_or_else(|| "-".to_owned(), |flows| flows.to_string());
                writeln!(
                    out,
                    "{:<40} {since:<20} {remaining:>11} {flows:>6} {:<16} {:<20} {}",
                    text("address"),
                    text("technique"),
                    text("client"),
                    text("reason"),
                )?;
            }
        }
    }
    Ok(())
}

/// What the kernel holds, in the daemon's words.
fn held(config: &Config) -> anyhow::Result<Vec<Value>> {
    let mut held = open(config)?.list()?;
    held.sort_by_key(|held| held.element);
    // Bans that ran out by the wall clock are looked up as well: the kernel says what is in force.
    let remembered: HashMap<Element, Record> = config
        .store()
        .map_or_else(Vec::new, |store| store.peek())
        .into_iter()
        .collect();
    let line = |entry: &Held| {
        let mut line = json!({
            "event": "banned",
            "address": entry.element.to_string(),
            "remaining_seconds": entry.remaining.map(|remaining| remaining.as_secs()),
        });
        if let (Some(record), Some(line)) = (remembered.get(&entry.element), line.as_object_mut()) {
            line.insert("since".into(), json!(rfc3339(record.since)));
            line.insert("technique".into(), json!(record.reason.technique));
            line.insert("reason".into(), json!(record.reason.text));
            line.insert("client".into(), json!(record.reason.client));
            line.insert("flows".into(), json!(record.flows));
            line.insert("times".into(), json!(record.times));
        }
        line
    };
    Ok(held.iter().map(line).collect())
}

/// Lifts bans, or all of them.
///
/// # Errors
/// When the daemon refuses, or there is none and the sets are missing.
pub fn unban(config: &Config, addresses: &[Element], all: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let requests: Vec<Request> = if all {
        vec![Request::UnbanAll {}]
    } else {
        addresses
            .iter()
            .map(|address| Request::Unban { address: *address })
            .collect()
    };
    for request in &requests {
        let Some((_, said)) = ask_or_none(config, request)? else {
            return unban_directly(config, addresses, all, out);
        };
        writeln!(out, "{}", said.unwrap_or_default())?;
    }
    Ok(())
}

fn unban_directly(
    config: &Config,
    addresses: &[Element],
    all: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
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
    // Otherwise the next start would put them back.
    if let Some(store) = config.store() {
        forget(&store, wanted, all)?;
    }
    Ok(())
}

fn forget(store: &Store, elements: &[Element], all: bool) -> anyhow::Result<()> {
    if all {
        return Ok(store.remove()?);
    }
    store
        .forget(elements)
        .context("the ban would come back at the next start")
}

/// Bans hosts by hand, for `time` or else the configured time.
///
/// # Errors
/// When an address is never banned, the daemon refuses, or there is none and the sets are missing.
pub fn ban(
    config: &Config,
    addresses: &[Element],
    time: Option<Duration>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let timeout = Timeout::from_duration(time.unwrap_or(config.ban_duration));
    let mut direct = None;
    for address in addresses {
        let request = Request::Ban {
            address: *address,
            seconds: Some(timeout.secs()),
        };
        let said = match ask_or_none(config, &request)? {
            Some((_, said)) => said.unwrap_or_default(),
            None => {
                let backend = match &mut direct {
                    Some(backend) => backend,
                    none => none.insert(open(config)?),
                };
                ban_directly(config, backend.as_mut(), *address, timeout)?
            }
        };
        writeln!(out, "{said}")?;
    }
    Ok(())
}

fn ban_directly(
    config: &Config,
    backend: &mut dyn SetBackend,
    address: Element,
    timeout: Timeout,
) -> anyhow::Result<String> {
    if let Some(why) = config.allowed().of_element(address) {
        anyhow::bail!("{address} is never banned ({})", why.name());
    }
    backend
        .apply(&[Change::Ban(address, timeout)])
        .with_context(|| format!("cannot ban {address}"))?;
    Ok(format!("{address} banned for {} s", timeout.secs()))
}

/// Has the running daemon never ban hosts, until it ends.
///
/// # Errors
/// When no daemon answers.
pub fn allow(config: &Config, addresses: &[Element], out: &mut dyn Write) -> anyhow::Result<()> {
    for address in addresses {
        let (_, said) = ask(config, &Request::Allow { address: *address })?;
        writeln!(out, "{}", said.unwrap_or_default())?;
    }
    Ok(())
}
