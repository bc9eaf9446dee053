//! What a shell needs to know of the program: completions and the manual page.

use std::io::{self, Write};

use clap::{ArgAction, Command, CommandFactory};
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

/// Prints the manual page of section 8, for `man -l -`. All commands are in one page.
///
/// # Errors
/// When the output cannot be written.
pub fn man(out: &mut dyn Write) -> anyhow::Result<()> {
    let command = Cli::command();
    let page = clap_mangen::Man::new(command.clone())
        .section("8")
        .manual("System administration");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    write_commands(&command, out)?;
    page.render_options_section(out)?;
    page.render_extra_section(out)?;
    write_files(out)?;
    Ok(())
}

/// Text without what troff would take for requests and escapes.
fn plain(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn write_commands(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, ".SH COMMANDS")?;
    for sub in command.get_subcommands() {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let mut usage = sub.get_name().to_owned();
        for argument in sub.get_positionals() {
            let names = argument.get_value_names().map(<[_]>::concat).unwrap_or_default();
            let several = matches!(argument.get_action(), ArgAction::Append);
            usage.push_str(&format!(" {names}{}", if several { "..." } else { "" }));
        }
        writeln!(out, ".TP\n\\fB{}\\fR\n{}", plain(&usage), plain(&about))?;
        let own = sub.get_arguments().filter(|argument| {
            argument.get_long().is_some_and(|long| long != "help") && !argument.is_global_set()
        });
        for argument in own {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let long = argument.get_long().unwrap_or_default();
            writeln!(out, ".br\n{}: {}", plain(&format!("--{long}")), plain(&help))?;
        }
    }
    Ok(())
}

fn write_files(out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        ".SH FILES\n.TP\n/etc/btblocker/btblocker.toml\nConfiguration."
    )
}
