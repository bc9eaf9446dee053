//! What a shell needs to know of the program: completions and the manual page.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Prints the script that completes commands and options in a shell.
///
/// # Errors
/// When the output cannot be written.
pub fn completions(shell: Shell, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "btblocker", &mut script);
    out.write_all(&script)?;
    Ok(())
}

/// Prints the manual page of section 8, commands included, for `man -l -`.
///
/// # Errors
/// When the output cannot be written.
pub fn man(mut out: &mut dyn Write) -> anyhow::Result<()> {
    let page = clap_mangen::Man::new(Cli::command()).section("8");
    page.render(&mut out)?;
    Ok(())
}
