//! Speaking to the running daemon.

use std::io::Write;

use anyhow::Context;
use serde_json::Value;

use crate::cli::Format;
use crate::config::Config;
use crate::control::{AskError, Request, ask as ask_socket};

/// Lines of an answer, and its message.
pub(super) type Answer = (Vec<Value>, Option<String>);

/// Asks the daemon.
pub(super) fn ask(config: &Config, request: &Request) -> anyhow::Result<Answer> {
    let path = config.control_path();
    let path = path.context("control_socket is empty: a running btblocker cannot be asked")?;
    Ok(ask_socket(&path, request)?)
}

/// Asks the daemon; `None` when none answers.
pub(super) fn ask_or_none(config: &Config, request: &Request) -> anyhow::Result<Option<Answer>> {
    let Some(path) = config.control_path() else {
        return Ok(None);
    };
    match ask_socket(&path, request) {
        Ok(answer) => Ok(Some(answer)),
        Err(AskError::NoDaemon(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Prints how the running daemon is.
///
/// # Errors
/// When no daemon answers.
pub fn status(config: &Config, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let (lines, _) = ask(config, &Request::Status {})?;
    for status in &lines {
        match format {
            Format::Json => writeln!(out, "{status}")?,
            Format::Table => print(status, out)?,
        }
    }
    Ok(())
}

fn print(status: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let show = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => {
            let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            texts.join(", ")
        }
        Some(other) => other.to_string(),
        None => "-".to_owned(),
    };
    for key in [
        "version",
        "pid",
        "uptime_seconds",
        "backend",
        "kernel_accepts",
        "storm",
        "active_bans",
        "waiting_bans",
        "allowed_by_command",
        "user",
        "capabilities",
        "system_calls",
        "files",
        "early_exit",
    ] {
        writeln!(out, "{key:<24} {}", show(status.get(key)))?;
    }
    for interface in status
        .get("interfaces")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        writeln!(
            out,
            "interface {:<14} {}, {} frames, {} dropped by the kernel, {} by the interface, {} ended early",
            show(interface.get("name")),
            show(interface.get("state")),
            show(interface.get("received")),
            show(interface.get("dropped")),
            show(interface.get("if_dropped")),
            show(interface.get("left_out")),
        )?;
    }
    for group in ["bans", "lost", "xdp", "counters"] {
        for (key, value) in status.get(group).and_then(Value::as_object).into_iter().flatten() {
            writeln!(out, "{:<24} {value}", format!("{group}.{key}"))?;
        }
    }
    Ok(())
}
