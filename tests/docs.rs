//! README and code agree.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::fs;
use std::path::Path;

use btblocker::config::{Config, changes_at_runtime};
use btblocker_detectors::Technique;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// A value as the README writes it: lists with commas, nothing as `(empty)`.
fn written(value: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = match value {
        serde_json::Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(","),
        other => text(other),
    };
    if text.is_empty() {
        "(empty)".to_owned()
    } else {
        format!("`{text}`")
    }
}

#[test]
fn every_key_stands_in_the_readme_with_its_default() {
    let (readme, values) = (readme(), serde_json::to_value(Config::default()).unwrap());
    for (key, value) in values.as_object().unwrap() {
        let row = format!("| `{key}` | {} |", written(value));
        assert!(readme.contains(&row), "README.md lacks the row {row}");
    }
}

#[test]
fn the_techniques_that_can_be_switched_off_are_named() {
    let readme = readme();
    let row = readme
        .lines()
        .find(|line| line.starts_with("| `disable` |"))
        .unwrap();
    let named: Vec<&str> = row.split('`').skip(3).step_by(2).collect();
    let known: Vec<&str> = Technique::ALL.iter().map(|technique| technique.name()).collect();
    assert_eq!(named, known);
}

#[test]
fn the_keys_that_need_a_restart_are_named() {
    let (readme, values) = (readme(), serde_json::to_value(Config::default()).unwrap());
    let paragraph = readme
        .split("\n\n")
        .find(|paragraph| paragraph.starts_with("A restart is needed for changes of"));
    let named: Vec<&str> = paragraph.unwrap().split('`').skip(1).step_by(2).collect();
    let keys = values.as_object().unwrap().keys().map(String::as_str);
    let needed: Vec<&str> = keys.filter(|key| !changes_at_runtime(key)).collect();
    assert_eq!(named, needed);
}

#[test]
fn every_flag_names_a_key_and_its_default() {
    let values = serde_json::to_value(Config::default()).unwrap();
    let command = <btblocker::cli::Cli as clap::CommandFactory>::command();
    for argument in command
        .get_arguments()
        .filter(|argument| !matches!(argument.get_id().as_str(), "config"))
    {
        let key = argument.get_id().as_str().trim_start_matches("no_");
        let value = values
            .get(key)
            .unwrap_or_else(|| panic!("--{key} is no key of the configuration"));
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        if let Some((_, default)) = help.split_once("[default: ") {
            let default = default.trim_end_matches(']');
            let real = written(value);
            let empty = real == "(empty)" && default.starts_with("found");
            assert!(
                empty || real == format!("`{default}`"),
                "--{key}: help says {default}, it is {real}"
            );
        }
    }
}

#[test]
fn the_commented_configuration_equals_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/btblocker.toml");
    let text = fs::read_to_string(path).unwrap();
    let is_key = |line: &&str| line.split(" = ").next().is_some_and(|key| !key.contains(' '));
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(is_key)
        .filter(|line| line.contains(" = "))
        .collect();
    let values = serde_json::to_value(Config::default()).unwrap();
    let mut keys: Vec<&str> = lines.iter().filter_map(|line| line.split(" = ").next()).collect();
    keys.sort_unstable();
    let mut known: Vec<&String> = values.as_object().unwrap().keys().collect();
    // Sections have no line of their own, but an example.
    known.retain(|key| *key != "interfaces");
    assert_eq!(keys, known);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.toml");
    fs::write(&file, lines.join("\n")).unwrap();
    let overrides = btblocker::config::Overrides {
        config: Some(file),
        ..Default::default()
    };
    let loaded = btblocker::config::load(&overrides).unwrap();
    assert_eq!(loaded.config, Config::default());
    let example: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .collect();
    fs::write(overrides.config.as_ref().unwrap(), example.join("\n")).unwrap();
    let loaded = btblocker::config::load(&overrides).unwrap();
    let section = serde_json::to_value(&loaded.config.interfaces["wg0"]).unwrap();
    assert_eq!(section.as_object().unwrap().len(), 5, "{section}");
    for line in text.lines() {
        assert!(line.is_empty() || line.starts_with('#'), "{line:?} is in force");
    }
}

/// Files under a folder whose code, test modules aside, has one of the words.
fn files_with(words: &[&str], folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(words, &path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        if words.iter().any(|word| code.contains(word)) {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn unsafe_code_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, table) = text.split_once("## Unsafe code").unwrap();
    let listed: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut found = Vec::new();
    for member in ["src", "detectors/src", "signatures/src"] {
        let words = ["unsafe {", "unsafe impl", "unsafe fn", "unsafe trait"];
        files_with(&words, &root.join(member), &mut found);
    }
    let prefix = format!("{}/", root.display());
    let mut found: Vec<&str> = found
        .iter()
        .map(|path| path.strip_prefix(&prefix).unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(
        found, listed,
        "SECURITY.md lists the files with unsafe code, in this order"
    );
}
