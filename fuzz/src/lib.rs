//! What the targets have in common: inputs that are lists of records, and files with an input in them.
//!
//! A record is a byte of choices, a length of two bytes (big-endian) and as many bytes. A record that is longer
//! than the rest of the input takes the rest, so that any bytes are a list.

use std::fs;
use std::path::PathBuf;

/// A byte of choices and what it is about.
pub type Record<'a> = (u8, &'a [u8]);

/// The records of an input.
pub fn records(mut input: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let ([choices, high, low], rest) = input.split_first_chunk::<3>()?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (body, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        input = rest;
        Some((*choices, body))
    })
}

/// The input whose records these are. A body longer than 65,535 bytes is cut.
pub fn input(records: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (choices, body) in records {
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        bytes.push(*choices);
        bytes.extend(length.to_be_bytes());
        bytes.extend(body.iter().take(usize::from(length)));
    }
    bytes
}

/// A folder of this process under the folder for temporary files.
///
/// # Panics
/// When it cannot be made.
pub fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("btblocker-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A file that holds the input until the next one.
///
/// # Panics
/// When it cannot be written.
pub fn file(input: &[u8]) -> PathBuf {
    let file = folder().join("input");
    fs::write(&file, input).unwrap();
    file
}
