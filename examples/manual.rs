//! Writes the manual page and the completions of shells to a folder, under the names that packages give them.
//!
//! Usage: `cargo run --example manual -- FOLDER`

use std::path::PathBuf;
use std::{env, fs};

use anyhow::Context;
use btblocker::cli::Cli;
use btblocker::commands;
use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

fn main() -> anyhow::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.context("usage: manual FOLDER")?;
    fs::create_dir_all(&folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "btblocker", &folder)?;
    }
    commands::man(&mut fs::File::create(folder.join("btblocker.8"))?)
}
