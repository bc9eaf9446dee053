//! The files in `data/`.

use std::fs;
use std::path::Path;

/// Name and content of the file of client names, or of all other files, sorted by name.
pub(crate) fn read(clients: bool) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .filter(|(name, _)| (name == "clients.toml") == clients)
        .collect();
    files.sort();
    files
}
