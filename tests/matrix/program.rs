//! The real program with the options of one backend.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::lab::{Link, lines_of};

/// What holds the bans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    pub(crate) options: &'static [&'static str],
    /// Takes the drop rule away and leaves the sets as they are.
    pub(crate) disarm: &'static str,
    /// Links on which it cannot work, with what is said there.
    pub(crate) impossible: &'static [(Link, &'static str)],
}

/// The program, to be run in the calling thread's namespaces.
pub(crate) struct Program {
    backend: Backend,
    interfaces: String,
}

impl Program {
    pub(crate) fn new(backend: Backend, interfaces: &[&str]) -> Self {
        Self {
            backend,
            interfaces: interfaces.join(","),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_btblocker"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .args(words)
            .args(self.backend.options)
            .args(["--interface", &self.interfaces])
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; what it printed, or its complaint when it fails.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command(words).output().unwrap();
        let [said, wrong] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        if output.status.success() {
            Ok(said)
        } else {
            Err(wrong)
        }
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) fn say(&self, words: &[&str]) -> String {
        self.run(words)
            .unwrap_or_else(|wrong| panic!("{words:?}: {wrong}"))
    }

    /// Starts watching; every interface is captured when this returns.
    pub(crate) fn watch(&self, words: &[&str]) -> Daemon {
        let mut child = self.command(words).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stderr.take().unwrap());
        let daemon = Daemon { child, lines };
        for _ in self.interfaces.split(',') {
            daemon.wait_for("capturing on");
        }
        daemon
    }
}

/// A running daemon; it is killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    /// Waits for the next line with this text.
    pub(crate) fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(left()) {
            if line.contains(text) {
                return;
            }
            seen.push(line);
        }
        panic!("{text:?} was not said, only: {seen:#?}");
    }

    /// As by `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
