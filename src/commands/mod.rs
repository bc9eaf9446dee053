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
            let origin = loaded.origin(&format!("interfaces.{name}.{key}"));
            writeln!(out, "interfaces.{}.{key} = {value}  # {origin}", toml_key(name))?;
        }
    }
    Ok(())
}

/// A name as a part of a key in TOML: in quotation marks when it has a dot, as that of a VLAN has.
fn toml_key(name: &str) -> String {
    let is_bare = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_bare && !name.is_empty() {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, load};

    #[test]
    fn the_effective_configuration_is_toml_and_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let overrides = Overrides {
            config: Some(folder.path().join("btblocker.toml")),
            ..Overrides::default()
        };
        let file = overrides.config.as_ref().unwrap();
        let written = "interface = \"eth0.7,wg0\"\non_ban = [\"/bin/say\", \"a \\\"b\\\"\"]\nentropy_threshold = 5.7\n\
                       [interfaces.\"eth0.7\"]\nban_duration = \"1h\"\n[interfaces.wg0]\nmonitor_only = true\n";
        std::fs::write(file, written).unwrap();
        let first = load(&overrides).unwrap();
        let mut printed = Vec::new();
        config(&first, &mut printed).unwrap();
        let text = String::from_utf8(printed).unwrap();
        assert!(
            text.contains("interfaces.wg0.monitor_only = true  # file "),
            "{text}"
        );
        assert!(text.contains("\nentropy_threshold = 5.7  # file "), "{text}");
        std::fs::write(file, &text).unwrap();
        assert_eq!(load(&overrides).unwrap().config, first.config, "{text}");
    }
}
