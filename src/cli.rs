//! What is typed on the command line; no I/O.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::ban::Element;
use crate::config::{Overrides, parse_ban_time};

/// Recognises BitTorrent on network interfaces and bans the hosts that speak it in the kernel.
///
/// Without a command it watches the interfaces until it is stopped. It listens passively: traffic is never
/// delayed, and bans run out in the kernel by themselves.
#[derive(Debug, Parser)]
#[command(
    name = "btblocker",
    version = env!("VERSION_WITH_COMMIT"),
    args_conflicts_with_subcommands = false,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
        btblocker --interface eth0,wg0              watch two interfaces, ban for five hours\n  \
        btblocker --interface wg0 --monitor-only    report, but ban nobody\n  \
        btblocker replay capture.pcapng             who would be banned, when and why\n  \
        btblocker unban 10.8.0.7                    lift a ban\n\n\
        Exit status: 0 stopped or done, 1 failed, 2 wrong usage or configuration, 3 BitTorrent was found (replay --exit-code)."
)]
pub struct Cli {
    /// Values that override the configuration.
    #[command(flatten)]
    pub overrides: Overrides,
    /// What to do; watch interfaces when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the interfaces and ban (the same as no command)
    Run,
    /// Judge capture files: who would be banned, when and why
    Replay {
        /// pcap or pcapng files, and folders to search for them; "-" is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// How to print: a table for people, or JSON Lines
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
        /// Judge all files together, in the order of time
        #[arg(long)]
        merge: bool,
        /// Write a report with plots, hosts and bans as one HTML file, too
        #[arg(long, value_name = "REPORT")]
        html: Option<PathBuf>,
        /// End with status 3 when BitTorrent was found
        #[arg(long)]
        exit_code: bool,
    },
    /// Create the kernel's sets and drop rules
    Setup,
    /// Remove the kernel's sets and drop rules, those of all backends, with all bans
    Teardown,
    /// List the bans in force: the running daemon's, or without one those in the kernel's sets
    Bans {
        /// How to print: a table for people, or JSON Lines
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Lift bans
    Unban {
        /// Addresses or networks
        #[arg(required_unless_present = "all", value_name = "ADDRESS")]
        addresses: Vec<Element>,
        /// Every ban
        #[arg(long, conflicts_with = "addresses")]
        all: bool,
    },
    /// Ban hosts by hand
    Ban {
        /// Addresses or networks
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<Element>,
        /// For how long: seconds, or with a unit such as 30m or 5h; ban_duration when absent
        #[arg(long = "for", value_name = "TIME", value_parser = parse_ban_time)]
        time: Option<Duration>,
    },
    /// Have the running daemon never ban hosts until it ends, and lift their bans
    Allow {
        /// Addresses or networks
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<Element>,
    },
    /// Say what the running daemon holds of a host, and what a ban of it would still need
    Explain {
        /// The host
        address: IpAddr,
        /// How to print: a text for people, or JSON Lines
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Show how the running daemon is: interfaces, counters, bans
    Status {
        /// How to print: a table for people, or JSON Lines
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Watch the running daemon in the terminal: interfaces, rates, techniques, hosts, bans; "q" quits
    Top,
    /// Check privileges, kernel, interfaces, sets and rules, and prove that a ban drops packets
    Check {
        /// How to print: a table for people, or JSON Lines
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Print a script that completes btblocker's commands in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
    /// Print the effective configuration, with the source of each value
    Config,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people.
    Table,
    /// One JSON object per line.
    Json,
}
