//! Log lines: text for a terminal, for journald or for a file, or JSON Lines for programs.
//!
//! Keys of a record: `interface` stands in front of the text; `host` bounds how often an alike line is written when it
//! is no event (see [`Repeats`]), and `trouble` does so for all hosts together. On a journal every line begins with its
//! priority, `<4>`. Colours are for terminals only, and not where `NO_COLOR` is set.

#![forbid(unsafe_code)]

mod line;
mod repeats;

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use env_logger::fmt::Formatter;
use log::{LevelFilter, Record};

use crate::sink::LineFormat;
use line::Line;
pub use repeats::Repeats;

/// Starts writing log lines to standard error, those of libbpf among them. [`log::set_max_level`] changes the level
/// later.
pub fn start(level: LevelFilter, format: LineFormat) {
    let journal = is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref());
    let repeats = Mutex::new(Repeats::default());
    env_logger::Builder::new()
        .filter_level(LevelFilter::Trace)
        .format(move |out, record| write(out, record, format, journal, &repeats))
        .init();
    log::set_max_level(level);
    #[cfg(any(feature = "xdp", feature = "early-exit"))]
    libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Warn, |_, text| {
        log::debug!("libbpf: {}", text.trim_end());
    })));
}

fn write(
    out: &mut Formatter,
    record: &Record<'_>,
    format: LineFormat,
    journal: bool,
    repeats: &Mutex<Repeats>,
) -> io::Result<()> {
    let line = Line::of(record);
    let mut held_back = 0;
    if let Some(host) = line.repeatable(record) {
        let mut repeats = repeats.lock().unwrap_or_else(PoisonError::into_inner);
        match repeats.admit(host, record.line().unwrap_or(0), Instant::now()) {
            Some(before) => held_back = before,
            None => return Ok(()),
        }
    }
    if journal {
        write!(out, "<{}>", line::priority(record.level()))?;
    }
    match format {
        LineFormat::Json => line.json(out, record, held_back, SystemTime::now()),
        LineFormat::Text if journal => line.text(out, record, held_back),
        LineFormat::Text => {
            let style = out.default_level_style(record.level());
            let time = out.timestamp();
            write!(out, "[{time} {style}{:<5}{style:#}] ", record.level())?;
            line.text(out, record, held_back)
        }
    }
}

/// Whether standard error is the stream that `JOURNAL_STREAM` names as `device:inode`.
fn is_journal(stream: Option<&str>) -> bool {
    let own = std::fs::metadata("/proc/self/fd/2");
    let own = own.map(|file| format!("{}:{}", file.dev(), file.ino()));
    matches!((own, stream), (Ok(own), Some(stream)) if own == stream)
}
