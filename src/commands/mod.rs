//! The commands beside watching: each reads the configuration, does one thing and prints the outcome.

mod bans;
mod check;
mod daemon;
mod merge;
mod replay;
mod shell;

pub use bans::{allow, ban, bans, setup, teardown, unban};
pub use check::check;
pub use daemon::status;
pub use replay::{ReplayOptions, replay};
pub use shell::{completions, man};

use std::io::Write;

use crate::config::Loaded;

/// Prints every key of the effective configuration with its value and source, as TOML.
///
/// # Errors
/// When the output cannot be written.
pub fn config(loaded: &Loaded, out: &mut dyn Write) -> anyhow::Result<()> {
    let values = serde_json::to_value(&loaded.config)?;
    for (key, value) in values.as_object().into_iter().flatten() {
        writeln!(out, "{key} = {value}  # {}", loaded.origin(key))?;
    }
    Ok(())
}
