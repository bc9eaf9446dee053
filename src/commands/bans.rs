//! Commands about bans: they ask the running daemon, and where none answers they work on the kernel's sets
//! directly.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::daemon::ask_or_none;
use crate::backend::{self, BackendKind};
use crate::ban::{
    BackendError, Change, Element, Exemption, Exemptions, Held, Reason, Record, SetBackend, Timeout,
};
use crate::cli::Format;
use crate::config::Config;
use crate::control::{Request, unban_words};
use crate::event::rfc3339;
use crate::network::Network;
use crate::state::{Store, wall_clock};

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
    if config.backend == BackendKind::DryRun {
        writeln!(out, "dry-run: there is nothing to set up, bans are on paper only")?;
        return Ok(());
    }
    anyhow::ensure!(
        outlives(config)?,
        "{}: the program would go with this command, since nothing is pinned (xdp_pin); the daemon loads it itself",
        config.backend
    );
    let mut backend = open(config)?;
    backend.ensure()?;
    backend.verify()?;
    writeln!(out, "{} are in place", belongings(config, backend.name()))?;
    Ok(())
}

/// Whether what a command tells the kernel stays there.
fn outlives(config: &Config) -> anyhow::Result<bool> {
    let options = config.backend_options(Vec::new());
    Ok(backend::outlives_process(config.backend, &options)?)
}

/// What a backend has in the kernel.
fn belongings(config: &Config, name: &str) -> String {
    if name == BackendKind::Xdp.name() {
        return format!("{name}: the program and its maps");
    }
    format!("{name}: sets {0} and {0}6 and their drop rules", config.set_name)
}

/// Removes sets and drop rules, those of other backends as well, with all bans, also those that are remembered for the
/// next start. While a daemon is running: only what a backend that it does not use has kept from an earlier run.
///
/// # Errors
/// When the kernel refuses, or a daemon uses the backend.
pub fn teardown(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let running = ask_or_none(config, &Request::Status {})?;
    let used = |status: &Value| status.get("backend") == Some(&json!(config.backend.name()));
    anyhow::ensure!(
        !running
            .as_ref()
            .is_some_and(|(status, _)| status.iter().any(used)),
        "btblocker is running and would put everything back; stop it first"
    );
    let mut backends = vec![open(config)?];
    if running.is_none() {
        let options = config.backend_options(config.watched(&Network::read()?));
        backends.extend(backend::others_in_place(config.backend, &options));
    }
    for mut backend in backends {
        backend.teardown()?;
        if backend.name() != BackendKind::DryRun.name() {
            writeln!(out, "{} are removed", belongings(config, backend.name()))?;
        }
    }
    match config.store().filter(|_| running.is_none()) {
        Some(store) => Ok(store.remove()?),
        None => Ok(()),
    }
}

/// Lists the bans in force: those of the running daemon, otherwise those that the kernel holds, with what is
/// remembered of them.
///
/// # Errors
/// When there is no daemon and the sets are missing.
pub fn bans(config: &Config, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let bans = match ask_or_none(config, &Request::Bans {})? {
        Some((bans, _)) => bans,
        None => {
            held(config).context("no btblocker is running, and what the kernel holds cannot be listed")?
        }
    };
    if format == Format::Table && bans.is_empty() {
        writeln!(out, "nobody is banned")?;
    } else if format == Format::Table {
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
                // Whole seconds of UTC.
                let since = text("since")
                    .split_once('.')
                    .map_or_else(|| "-".to_owned(), |(secs, _)| format!("{secs}Z"));
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
/// When the daemon refuses, or there is none and the kernel refuses.
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
    let held: HashSet<Element> = banned(config, backend.as_mut(), out)?.into_iter().collect();
    let holding = |element: &Element| {
        if held.contains(element) || !element.is_host() {
            return *element;
        }
        let around = element.smallest_around(held.iter().copied());
        around.unwrap_or(*element)
    };
    let wanted: Vec<Element> = if all {
        held.iter().copied().collect()
    } else {
        addresses.iter().map(holding).collect()
    };
    lift(backend.as_mut(), &wanted)?;
    let stays = |held: &&Element| !all && !held.is_host() && !wanted.contains(*held);
    let left: Vec<Element> = held.iter().filter(stays).copied().collect();
    for element in &wanted {
        let around = element.smallest_around(left.iter().copied());
        writeln!(out, "{}", unban_words(*element, held.contains(element), around))?;
    }
    if all && held.is_empty() {
        writeln!(out, "nobody is banned")?;
    }
    match config.store() {
        Some(store) if all => Ok(store.remove()?),
        store => forget(store, &wanted),
    }
}

/// Whom the kernel holds, or where its sets are missing, whom the next start would ban anew.
fn banned(
    config: &Config,
    backend: &mut dyn SetBackend,
    out: &mut dyn Write,
) -> anyhow::Result<Vec<Element>> {
    match backend.list() {
        Ok(held) => Ok(held.into_iter().map(|held| held.element).collect()),
        Err(BackendError::Missing { object, .. }) => {
            writeln!(
                out,
                "{object} does not exist: bans that the next start would put back are lifted"
            )?;
            let remembered = config.store().map_or_else(Vec::new, |store| store.peek());
            Ok(remembered.into_iter().map(|(element, _)| element).collect())
        }
        Err(error) => Err(error.into()),
    }
}

fn lift(backend: &mut dyn SetBackend, elements: &[Element]) -> anyhow::Result<()> {
    elements
        .iter()
        .try_for_each(|element| match backend.apply(&[Change::Unban(*element)]) {
            // Of two sets, the other one may be there.
            Err(BackendError::Missing { .. }) => Ok(()),
            outcome => outcome.with_context(|| format!("cannot unban {element}")),
        })
}

/// Otherwise the next start would put them back.
fn forget(store: Option<Store>, elements: &[Element]) -> anyhow::Result<()> {
    store.map_or(Ok(()), |store| {
        store
            .forget(elements)
            .context("the ban would come back at the next start")
    })
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
    for address in addresses {
        let request = Request::Ban {
            address: *address,
            seconds: Some(timeout.secs()),
        };
        let Some((_, said)) = ask_or_none(config, &request)? else {
            return ban_directly(config, addresses, timeout, out);
        };
        writeln!(out, "{}", said.unwrap_or_default())?;
    }
    Ok(())
}

fn ban_directly(
    config: &Config,
    addresses: &[Element],
    timeout: Timeout,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        outlives(config)?,
        "no btblocker is running, and {} bans nobody without one",
        config.backend
    );
    let exemptions = config.exemptions(&Network::read()?);
    let mut backend = open(config)?;
    let mut banned = Vec::new();
    let outcome = addresses.iter().try_for_each(|address| {
        if let Some(why) = exemptions.of_element(*address) {
            anyhow::bail!("{address} is never banned ({})", why.name());
        }
        backend
            .apply(&[Change::Ban(*address, timeout)])
            .with_context(|| format!("cannot ban {address}"))?;
        banned.push(*address);
        Ok(writeln!(out, "{address} banned for {} s", timeout.secs())?)
    });
    outcome.and(remember(config, &banned, timeout))
}

/// Otherwise the bans would end with the next reboot.
fn remember(config: &Config, banned: &[Element], timeout: Timeout) -> anyhow::Result<()> {
    let Some(store) = config.store().filter(|_| !banned.is_empty()) else {
        return Ok(());
    };
    let now = wall_clock();
    let duration = Duration::from_secs(timeout.secs().into());
    let record = Record {
        reason: Arc::new(Reason::by_hand()),
        since: now,
        deadline: duration,
        duration,
        flows: 0,
        times: 0,
    };
    store
        .remember(banned, &record, now)
        .context("banned, but not after a reboot")
}

/// Has the running daemon never ban hosts, until it ends, and lifts their bans. Without a daemon only that.
///
/// # Errors
/// When the daemon refuses, or there is none and the kernel refuses.
pub fn allow(config: &Config, addresses: &[Element], out: &mut dyn Write) -> anyhow::Result<()> {
    for address in addresses {
        let said = match ask_or_none(config, &Request::Allow { address: *address })? {
            Some((_, said)) => said.unwrap_or_default(),
            None => allow_directly(config, *address, out)?,
        };
        writeln!(out, "{said}")?;
    }
    Ok(())
}

fn allow_directly(config: &Config, address: Element, out: &mut dyn Write) -> anyhow::Result<String> {
    let mut allowed = Exemptions::default();
    allowed.add(address, Exemption::Allowed);
    let mut backend = open(config)?;
    let mut lifted = banned(config, backend.as_mut(), out)?;
    lifted.retain(|element| allowed.of_element(*element).is_some());
    lift(backend.as_mut(), &lifted)?;
    forget(config.store(), &lifted)?;
    let bans = if lifted.len() == 1 { "ban" } else { "bans" };
    Ok(format!(
        "no btblocker is running: {} {bans} lifted; add {address} to `allow` in the configuration to keep it so",
        lifted.len()
    ))
}
