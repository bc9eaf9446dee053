//! The `btblocker` program: reads what was typed, runs it, and maps the outcome to an exit status.

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use btblocker::cli::{Cli, Command};
use btblocker::commands::ReplayOptions;
use btblocker::config::{self, Loaded, Overrides};
use btblocker::{commands, daemon, logging};

/// Exit status for wrong usage and configuration.
const USAGE: u8 = 2;
/// Exit status of a replay that was asked for one and found BitTorrent.
const FOUND: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let loaded = match config::load(&cli.overrides) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("btblocker: {error}");
            return ExitCode::from(USAGE);
        }
    };
    logging::start(loaded.config.log_level.into(), loaded.config.log_format);
    for note in &loaded.notes {
        log::warn!("{note}");
    }
    match run(cli.command.unwrap_or(Command::Run), &loaded, &cli.overrides) {
        Ok(status) => status,
        // Whoever reads the output has had enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            log::logger().flush();
            eprintln!("btblocker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, loaded: &Loaded, overrides: &Overrides) -> anyhow::Result<ExitCode> {
    let mut found = false;
    let config = &loaded.config;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match command {
        Command::Run => daemon::run(config, overrides)?,
        Command::Replay {
            files,
            format,
            merge,
            html,
            exit_code,
        } => {
            let options = ReplayOptions {
                files,
                format,
                merge,
                html,
            };
            found = commands::replay(config, &options, &mut out)? && exit_code;
        }
        Command::Completions { shell } => commands::completions(shell, &mut out)?,
        Command::Man => commands::man(&mut out)?,
        Command::Setup => commands::setup(config, &mut out)?,
        Command::Teardown => commands::teardown(config, &mut out)?,
        Command::Bans { format } => commands::bans(config, format, &mut out)?,
        Command::Unban { addresses, all } => commands::unban(config, &addresses, all, &mut out)?,
        Command::Ban { addresses, time } => commands::ban(config, &addresses, time, &mut out)?,
        Command::Allow { addresses } => commands::allow(config, &addresses, &mut out)?,
        Command::Explain { address, format } => commands::explain(config, address, format, &mut out)?,
        Command::Status { format } => commands::status(config, format, &mut out)?,
        Command::Top => commands::top(config)?,
        Command::Check { format } => commands::check(config, format, &mut out)?,
        Command::Config => commands::config(loaded, &mut out)?,
    }
    out.flush()?;
    Ok(if found {
        ExitCode::from(FOUND)
    } else {
        ExitCode::SUCCESS
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
