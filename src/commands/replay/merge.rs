//! Several capture files as one, in the order of their times.

use std::path::{Path, PathBuf};

use crate::capture::{FileError, FileSource, FrameBatch};

/// Names of capture files in a folder.
const ENDINGS: [&str; 3] = ["pcap", "pcapng", "cap"];

/// One file and what was read ahead of it.
struct Lane {
    source: FileSource,
    ahead: FrameBatch,
    /// Frames of `ahead` that were given out.
    taken: usize,
    over: bool,
}

impl Lane {
    /// Time of the next frame, if there is one.
    fn next_time(&mut self, damage: &mut Vec<FileError>) -> Option<u64> {
        if self.taken == self.ahead.len() && !self.over {
            self.taken = 0;
            match self.source.fill(&mut self.ahead) {
                Ok(more) => self.over = !more,
                Err(error) => {
                    damage.push(error);
                    self.over = true;
                    self.ahead.clear();
                }
            }
        }
        self.ahead.frame(self.taken).map(|(meta, _)| meta.at.0)
    }
}

/// Files that are read together. Each keeps its own order; between files the earlier frame comes first.
pub(super) struct Merged {
    lanes: Vec<Lane>,
    /// Why files could not be read to their end.
    pub(super) damage: Vec<FileError>,
}

impl Merged {
    /// Opens all files; their frames bear their position as number of the interface. Those that cannot be opened
    /// are left out and named in `damage`.
    pub(super) fn open(files: &[PathBuf]) -> Self {
        let (mut lanes, mut damage) = (Vec::new(), Vec::new());
        for (number, path) in (0_u16..=u16::MAX).zip(files) {
            match FileSource::open(path, number) {
                Ok(source) => lanes.push(Lane {
                    source,
                    ahead: FrameBatch::new(),
                    taken: 0,
                    over: false,
                }),
                Err(error) => damage.push(error),
            }
        }
        Self { lanes, damage }
    }

    /// Whether any file could be opened.
    pub(super) fn is_open(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// Clears the batch and fills it with the next frames. `false`: all files have ended.
    pub(super) fn fill(&mut self, batch: &mut FrameBatch) -> bool {
        // Nothing to sort: the frames need not be copied.
        if let [lane] = &mut self.lanes[..] {
            return lane.source.fill(batch).unwrap_or_else(|error| {
                self.damage.push(error);
                false
            });
        }
        batch.clear();
        loop {
            let damage = &mut self.damage;
            let earliest = self
                .lanes
                .iter_mut()
                .enumerate()
                .filter_map(|(number, lane)| Some((lane.next_time(damage)?, number)))
                .min();
            let Some(lane) = earliest.and_then(|(_, number)| self.lanes.get_mut(number)) else {
                return !batch.is_empty();
            };
            let Some((meta, bytes)) = lane.ahead.frame(lane.taken) else {
                return !batch.is_empty();
            };
            if !batch.push(meta.at, meta.link, meta.interface, meta.wire_len, bytes) {
                return true;
            }
            lane.taken += 1;
        }
    }

    /// Bytes of all files, when all are known.
    pub(super) fn bytes_total(&self) -> Option<u64> {
        self.lanes.iter().map(|lane| lane.source.bytes_total()).sum()
    }

    /// Bytes read so far, when all are known.
    pub(super) fn bytes_read(&mut self) -> Option<u64> {
        self.lanes.iter_mut().map(|lane| lane.source.bytes_read()).sum()
    }
}

/// The files of the command line, folders replaced by the capture files below them in the order of their names.
///
/// # Errors
/// When a folder cannot be read.
pub(super) fn expand(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = files.len();
            below(path, &mut files)?;
            anyhow::ensure!(
                files.len() > before,
                "{}: no capture file is in this directory",
                path.display()
            );
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let failed = |error| anyhow::Error::from(error).context(format!("cannot read {}", folder.display()));
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        entries.push(entry.map_err(failed)?);
    }
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // A link to a folder is not followed: it may lead back.
        if entry.file_type().map_err(failed)?.is_dir() {
            below(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}
