//! What the program tells shells and packagers of itself.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn btblocker(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_btblocker"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Gives a text to a program.
fn feed(program: &str, arguments: &[&str], text: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn bash_completes_commands_and_options() {
    let script = btblocker(&["completions", "bash"]);
    for (line, word, completed) in [
        ("btblocker rep", "rep", "replay"),
        ("btblocker --ban-dur", "--ban-dur", "--ban-duration"),
    ] {
        let test = format!(
            "{script}\nCOMP_WORDS=({line}); COMP_CWORD=1; COMP_LINE='{line}'\n\
             _btblocker btblocker '{word}' btblocker; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let output = feed("bash", &["--norc"], &test);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.lines().any(|found| found == completed), "{line}: {output:?}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(btblocker(&["completions", shell]).contains("replay"), "{shell}");
    }
}

#[test]
fn the_manual_page_has_options_commands_and_files() {
    let page = btblocker(&["man"]);
    for part in [
        ".TH btblocker 8",
        "ban\\-duration",
        "monitor\\-only",
        "\n.SH COMMANDS\n",
        "\n\\fBunban ADDRESS...\\fR\nLift bans\n.br\n\\-\\-all: Every ban\n",
        "\n.SH FILES\n",
    ] {
        assert!(page.contains(part), "{part} is not in the page");
    }
}

#[test]
fn the_version_names_the_commit_where_there_is_one() {
    let version = btblocker(&["--version"]);
    let (number, commit) = (env!("CARGO_PKG_VERSION"), option_env!("VERSION_WITH_COMMIT"));
    assert!(version.starts_with(&format!("btblocker {number}")), "{version}");
    assert_eq!(version.trim(), format!("btblocker {}", commit.unwrap()));
    let git = |arguments: &[&str]| Command::new("git").args(arguments).output().ok();
    let root = git(&["rev-parse", "--show-toplevel"]).filter(|output| output.status.success());
    if root.is_some_and(|root| String::from_utf8_lossy(&root.stdout).trim() == env!("CARGO_MANIFEST_DIR")) {
        assert!(version.trim().ends_with(')'), "{version}");
    }
}
