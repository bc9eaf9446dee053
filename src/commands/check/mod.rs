//! `btblocker check`: what is in place, what is missing, and what to do about it.
//!
//! Nothing of the machine's network or firewall is changed; the proof that a ban drops runs in a network namespace
//! of its own.

mod kernel;
mod running;
mod surroundings;

use std::io::Write;

use serde_json::json;

use crate::cli::Format;
use crate::config::Config;
use crate::network::Network;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// In order.
    Ok,
    /// Worth knowing; nothing is wrong.
    Info,
    /// btblocker works, but not as well as it could.
    Warn,
    /// btblocker would not work.
    Fail,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    level: Level,
    /// What was looked at.
    what: String,
    /// What is wrong, and what to do about it.
    advice: Option<String>,
}

impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            what: what.into(),
            advice: None,
        }
    }
    fn info(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Info,
            what: what.into(),
            advice: Some(advice.into()),
        }
    }
    fn warn(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            ..Self::info(what, advice)
        }
    }
    fn fail(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Fail,
            ..Self::info(what, advice)
        }
    }
}

/// Examines privileges, kernel, interfaces, sets, rules and surroundings, and tries a ban in a scratch network
/// namespace; prints one line for each finding.
///
/// # Errors
/// When anything would keep btblocker from working.
pub fn check(config: &Config, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let network = Network::read()?;
    let mut findings = Vec::new();
    surroundings::privileges(config, &mut findings);
    kernel::facilities(config, &network, &mut findings);
    kernel::early_exit(config, &mut findings);
    surroundings::interfaces(config, &network, &mut findings);
    kernel::xdp(config, &network, &mut findings);
    kernel::sets_and_rules(config, &network, &mut findings);
    kernel::order_of_chains(config, &mut findings);
    kernel::proof(config, &mut findings);
    surroundings::clock(&mut findings);
    surroundings::folders(config, &mut findings);
    running::daemon(config, &mut findings);
    for Finding { level, what, advice } in &findings {
        match (format, advice) {
            (Format::Json, _) => {
                let line =
                    json!({ "event": "finding", "level": level.name(), "what": what, "advice": advice });
                writeln!(out, "{line}")?;
            }
            (Format::Table, None) => writeln!(out, "{:<5} {what}", level.name())?,
            (Format::Table, Some(advice)) => writeln!(out, "{:<5} {what}: {advice}", level.name())?,
        }
    }
    let failed = findings
        .iter()
        .filter(|finding| finding.level == Level::Fail)
        .count();
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed", findings.len());
    Ok(())
}

/// An error with its causes, in one line.
fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
