//! Every command that README and docs show in a block is run, as it stands, in a network namespace that has the interfaces
//! they name. `make` targets are run by `tests/fresh-debian.sh` and `make test-packaging`; here they must exist.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

mod namespace;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use namespace::{in_namespace, veth};

/// Longest time that a start may take; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// Programs of others, which a block may show beside ours.
const NOT_OURS: [&str; 2] = ["install", "timeout"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap();
    pages.extend(docs.map(|entry| entry.unwrap().path()));
    pages.sort();
    pages
}

/// The commands of a page's indented blocks, without `sudo` and comments, and without settings of the configuration.
fn commands(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("    "))
        .map(|line| line.split(" # ").next().unwrap().trim())
        .filter(|line| !line.is_empty() && !line.contains(" = "))
        .map(|line| line.strip_prefix("sudo ").unwrap_or(line).to_owned())
        .collect()
}

/// Where commands run: a folder with the files that they name, and places of its own for what the daemon writes.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(root().join("contrib"), folder.path().join("contrib")).unwrap();
        Self { folder }
    }

    fn command(&self, line: &str) -> Command {
        for name in line.split_whitespace().filter(|word| word.ends_with(".pcapng")) {
            let capture = root().join("tests/cases/bt-libtorrent-plain-v4/input.pcap");
            fs::copy(capture, self.folder.path().join(name)).unwrap();
        }
        let mut words = line.split_whitespace();
        let program = match words.next().unwrap() {
            "btblocker" => PathBuf::from(env!("CARGO_BIN_EXE_btblocker")),
            script => self.folder.path().join(script),
        };
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("BTBLOCKER_STATE_DIR", self.folder.path().join("state"))
            .env(
                "BTBLOCKER_CONTROL_SOCKET",
                self.folder.path().join("control.sock"),
            );
        command
    }

    fn run(&self, line: &str) {
        let output = self
            .command(line)
            .output()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {}\n{said}", output.status);
    }

    /// Starts the daemon and returns when it is ready.
    fn start(&self, line: &str) -> Child {
        let mut daemon = self.command(line).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(daemon.stderr.take().unwrap());
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Somebody has to read what it says when nobody listens any more, too.
            for text in stderr.lines().map_while(Result::ok) {
                let _ = send.send(text);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while let Ok(text) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            let ready = text.contains("ready: ");
            said.push(text);
            if ready {
                return daemon;
            }
        }
        let _ = daemon.kill();
        let status = daemon.wait().unwrap();
        panic!("{line}: {status}, not ready: {said:#?}");
    }
}

fn stop(line: &str, mut daemon: Child) {
    // SAFETY: kill takes no pointer; the process is this test's own child and not yet waited for.
    assert_eq!(unsafe { libc::kill(daemon.id() as i32, libc::SIGTERM) }, 0);
    let status = daemon.wait().unwrap();
    assert!(status.success(), "{line}: {status}");
}

#[test]
fn every_shown_command_does_what_it_says() {
    in_namespace(|| {
        veth("eth0", "eth0-peer");
        veth("wg0", "wg0-peer");
        let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
        let mut run = 0;
        for page in pages() {
            for line in commands(&page) {
                let mut words = line.split_whitespace();
                let desk = Desk::new();
                match (words.next().unwrap(), words.next()) {
                    ("make", Some(target)) => {
                        assert!(
                            makefile.contains(&format!("\n{target}:")),
                            "{line}: no such target"
                        );
                    }
                    ("btblocker", None) => panic!("{}: {line} names no interface", page.display()),
                    ("btblocker", Some(option)) if option.starts_with("--") => {
                        let daemon = desk.start(&line);
                        stop(&line, daemon);
                    }
                    ("btblocker", Some(_)) => {
                        let daemon = desk.start("btblocker --interface eth0");
                        desk.run(&line);
                        stop(&line, daemon);
                    }
                    (program, _) if program.starts_with("contrib/") => desk.run(&line),
                    (program, _) => assert!(
                        NOT_OURS.contains(&program),
                        "{}: {line} is run by no test",
                        page.display()
                    ),
                }
                run += 1;
            }
        }
        assert!(run >= 12, "only {run} commands were found");
    });
}
