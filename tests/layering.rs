//! Imports point down only: the order of the modules in `LAYERS` is a rule of the house.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `src/`, lowest layer first. A module may import from lower layers only; modules of one layer
/// do not know each other, but for those that `ALLOWED` names.
const LAYERS: &[&[&str]] = &[
    &["packet", "network", "sandbox"],
    &["flow", "capture"],
    &["judge", "metrics"],
    &["ban"],
    &["event"],
    &["backend", "overview", "pipeline", "sink"],
    &["state", "control"],
    &["config", "logging"],
    &["cli"],
    &["commands", "daemon"],
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Names behind `crate::` in the code part of a file (comments and doc links do not bind); empty where several are taken
/// at once.
fn imports(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut found = Vec::new();
    for line in code {
        for (index, _) in line.match_indices("crate::") {
            let rest = &line[index + "crate::".len()..];
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.push(name);
        }
    }
    found
}

#[test]
fn imports_point_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&root) {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some(own) = layer_of(module) else {
            wrong.push(format!("src/{module} has no place in LAYERS"));
            continue;
        };
        for name in imports(&fs::read_to_string(&file).unwrap()) {
            match layer_of(&name) {
                Some(other) if other > own => {
                    wrong.push(format!("{} imports {name}, a higher layer", inside.display()))
                }
                Some(other) if other == own && name != module => {
                    wrong.push(format!("{} imports {name}, its sibling", inside.display()));
                }
                None if name.is_empty() => {
                    wrong.push(format!(
                        "{} imports several modules at once; a line for each is read here",
                        inside.display()
                    ));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn detectors_and_signatures_are_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for member in ["detectors", "signatures"] {
        let text = fs::read_to_string(root.join(member).join("src/lib.rs")).unwrap();
        for needed in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            assert!(text.contains(needed), "{member} lacks {needed}");
        }
        for file in rust_files(&root.join(member).join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            assert!(
                !code.contains("extern crate std"),
                "{} uses std outside tests",
                file.display()
            );
        }
    }
}
