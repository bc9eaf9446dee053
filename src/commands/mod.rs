//! The commands beside watching: each reads the configuration, does one thing and prints the outcome.

mod bans;
mod check;
mod daemon;
mod explain;
mod replay;
mod shell;
mod top;

pub use bans::{allow, ban, bans, setup, teardown, unban};
pub use check::check;
pub use daemon::status;
pub use explain::explain;
pub use replay::{ReplayOptions, replay};
pub use shell::{completions, man};
pub use top::top;

use std::io::Write;

use crate::config::Loaded;

/// Prints every key of the effective configuration with its value and source, as TOML.
///
/// # Errors
/// When the output cannot be written.
pub fn config(loaded: &Loaded, out: &mut dyn Write) -> anyhow::Result<()> {
    let values = serde_json::to_value(&loaded.config)?;
    let sections = loaded.config.interfaces.keys().map(String::as_str);
    for (key, value) in values.as_object().into_iter().flatten() {
        if key != "interfaces" || value.as_object().is_some_and(serde_json::Map::is_empty) {
            writeln!(out, "{key} = {value}  # {}", loaded.origin(key))?;
        }
    }
    for name in sections {
        let section = values.get("interfaces").and_then(|sections| sections.get(name));
        for (key, value) in section
            .and_then(serde_json::Value::as_object)
            .into_iter()
            .flatten()
        {
            let key = format!("interfaces.{name}.{key}");
            writeln!(out, "{key} = {value}  # {}", loaded.origin(&key))?;
        }
    }
    Ok(())
}
