//! Writes the man page and the completions of shells, made from the command line's own definition, to a folder.
//!
//! Usage: `cargo run --example manual -- FOLDER`

use std::path::PathBuf;
use std::{env, fs, io};

use btblocker::cli::Cli;
use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

fn main() -> io::Result<()> {
    let folder = env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other("usage: manual FOLDER"))?;
    fs::create_dir_all(&folder)?;
    let mut command = Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, "btblocker", &folder)?;
    }
    // One page for all commands.
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone())
        .section("8")
        .manual("System administration");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    write_commands(&command, &mut page)?;
    man.render_options_section(&mut page)?;
    man.render_extra_section(&mut page)?;
    write_files(&mut page)?;
    fs::write(folder.join("btblocker.8"), page)
}

/// Text without what troff would take for requests and escapes.
fn plain(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn write_commands(command: &clap::Command, page: &mut dyn io::Write) -> io::Result<()> {
    writeln!(page, ".SH COMMANDS")?;
    for sub in command.get_subcommands() {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let mut usage = sub.get_name().to_owned();
        for argument in sub.get_positionals() {
            let names = argument.get_value_names().map(<[_]>::concat).unwrap_or_default();
            usage.push_str(&format!(" {names}..."));
        }
        writeln!(page, ".TP\n\\fB{}\\fR\n{}", plain(&usage), plain(&about))?;
        let own = sub.get_arguments().filter(|argument| {
            argument.get_long().is_some_and(|long| long != "help") && !argument.is_global_set()
        });
        for argument in own {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let long = argument.get_long().unwrap_or_default();
            writeln!(page, ".br\n{}: {}", plain(&format!("--{long}")), plain(&help))?;
        }
    }
    Ok(())
}

fn write_files(page: &mut dyn io::Write) -> io::Result<()> {
    writeln!(
        page,
        ".SH FILES\n.TP\n/etc/btblocker/btblocker.toml\nConfiguration."
    )?;
    writeln!(
        page,
        ".TP\n/etc/default/btblocker\nEnvironment of the service: BTBLOCKER_ and a key in capitals."
    )
}
