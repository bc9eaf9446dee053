//! `btblocker replay`: the live path on capture files. Who would be banned, when and why.
//!
//! Each file, or all of them merged by time, is judged from an empty state, in packet time, so the outcome depends on
//! the files and the configuration only.

mod judge;
mod merge;
mod print;
mod report;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::capture::FileError;
use crate::cli::Format;
use crate::config::Config;
use crate::event::InfoHashes;
use judge::{Outcomes, judge_files};
use merge::{Merged, expand};
use print::{print_json, print_table, print_total};

/// What is replayed and how the outcome is printed.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// Files, and folders that are searched for capture files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// For people or for programs.
    pub format: Format,
    /// Judge all files together, in the order of time.
    pub merge: bool,
    /// Where a report is written to, too.
    pub html: Option<PathBuf>,
}

/// Sums over everything that was replayed.
#[derive(Default)]
struct Total {
    files: usize,
    unreadable: usize,
    frames: u64,
    bytes: u64,
    flows: u64,
    bittorrent: usize,
    hosts: BTreeSet<IpAddr>,
}

/// Judges files and prints what came of each, or of all when merged, and of all together. What cannot be read is
/// reported, and the others go on. Whether any flow was BitTorrent.
///
/// # Errors
/// When a file could not be read to its end (after all were judged), or the output cannot be written.
pub fn replay(config: &Config, options: &ReplayOptions, out: &mut dyn Write) -> anyhow::Result<bool> {
    let files = expand(&options.files)?;
    anyhow::ensure!(
        files.len() <= usize::from(u16::MAX),
        "{} files are more than can be replayed at once",
        files.len()
    );
    if let Some(html) = &options.html {
        report::check_place(html)?;
    }
    let mut overviews = Vec::new();
    let together = if options.merge { files.len() } else { 1 };
    let mut total = Total {
        files: files.len(),
        ..Total::default()
    };
    for group in files.chunks(together.max(1)) {
        let mut source = Merged::open(group);
        let outcomes = source
            .is_open()
            .then(|| judge_files(config, group, &mut source, options.html.is_some()));
        if let Some(outcomes) = outcomes.as_ref() {
            match options.format {
                Format::Json => print_json(group, outcomes, &InfoHashes::new(config.info_hash), out)?,
                Format::Table => print_table(group, outcomes, out)?,
            }
            total.add(outcomes);
        }
        let damage = match &outcomes {
            Some(outcomes) => &outcomes.damage,
            None => &source.damage,
        };
        total.unreadable += damage.len();
        let troubles: Vec<String> = damage.iter().map(in_words).collect();
        for trouble in &troubles {
            log::error!("{trouble}");
        }
        if let Some(outcomes) = outcomes.filter(|_| options.html.is_some()) {
            overviews.push(outcomes.overview(label(group), troubles));
        }
    }
    if total.files > together {
        print_total(&total, options.format, out)?;
    }
    if let Some(html) = &options.html {
        report::write(html, &overviews)?;
    }
    anyhow::ensure!(
        total.unreadable == 0,
        "{} of {} files could not be read to the end",
        total.unreadable,
        total.files
    );
    Ok(total.bittorrent > 0)
}

/// A damage with its causes.
fn in_words(damage: &FileError) -> String {
    let causes = std::iter::successors(std::error::Error::source(damage), |cause| cause.source());
    causes.fold(damage.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl Total {
    fn add(&mut self, outcomes: &Outcomes) {
        self.frames += outcomes.counters.frames;
        self.bytes += outcomes.counters.bytes;
        self.flows += outcomes.counters.flows_created;
        self.bittorrent += outcomes.flows.len();
        self.hosts.extend(outcomes.bans.iter().map(|ban| ban.address));
    }
}

/// What a group of files is called.
fn label(files: &[PathBuf]) -> String {
    match files {
        [file] => file.display().to_string(),
        files => format!("{} files, merged", files.len()),
    }
}

/// Name of the file that an interface number stands for.
fn origin(files: &[PathBuf], number: u16) -> String {
    files
        .get(usize::from(number))
        .map_or_else(String::new, |file| file.display().to_string())
}
