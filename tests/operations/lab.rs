//! A running daemon on one end of a virtual cable, and captures that are played into the other.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use btblocker::capture::{FileSource, FrameBatch};

use crate::namespace::veth;

/// Longest time that anything may take; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The interface that the daemon watches, and the other end of its cable.
pub(crate) const WATCHED: &str = "watched";
const PEER: &str = "peer";

/// A cable for one daemon.
pub(crate) fn cable() {
    veth(WATCHED, PEER);
}

/// The recorded capture of a case.
pub(crate) fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{name}/input.pcap"))
}

/// Sends the frames of a case into the cable.
pub(crate) fn play(name: &str) {
    play_into(PEER, name);
}

/// Sends frames into the cable.
pub(crate) fn send(frames: impl IntoIterator<Item = Vec<u8>>) {
    let mut wire = pcap::Capture::from_device(PEER).unwrap().open().unwrap();
    for frame in frames {
        wire.sendpacket(frame).unwrap();
    }
}

/// Sends the frames of a case out of an interface.
pub(crate) fn play_into(interface: &str, name: &str) {
    let mut wire = pcap::Capture::from_device(interface).unwrap().open().unwrap();
    let mut source = FileSource::open(&case(name), 0).unwrap();
    let mut batch = FrameBatch::new();
    while source.fill(&mut batch).unwrap() {
        for (_, frame) in batch.frames() {
            wire.sendpacket(frame).unwrap();
        }
    }
}

/// A running daemon that watches [`WATCHED`].
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Daemon {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut daemon = Self::spawn(arguments, &[]);
        daemon.wait_for("ready");
        daemon
    }

    /// Starts it with environment variables.
    pub(crate) fn spawn(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::spawn_on(&[WATCHED], arguments, variables)
    }

    /// The same on these interfaces.
    pub(crate) fn spawn_on(interfaces: &[&str], arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_btblocker"))
            .args(["--interface", &interfaces.join(",")])
            .args(["--control-socket=", "--state-dir="])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a line with this text, behind those that were waited for.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{text:?} was not said, only: {:#?}", self.seen);
                }
            }
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: kill takes no pointer; the process is this test's own child and not yet waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Names of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).unwrap();
        threads.map(|thread| name(thread.unwrap())).collect()
    }

    /// Holds it while something else is done.
    pub(crate) fn hold(&self, work: impl FnOnce()) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        until("the halt", || {
            let text = std::fs::read_to_string(&stat).unwrap();
            text.rsplit_once(") ")?.1.starts_with('T').then_some(())
        });
        work();
        self.signal(libc::SIGCONT);
    }

    /// Stops it; everything that it said, and its exit status.
    pub(crate) fn stop(self) -> (Vec<String>, ExitStatus) {
        self.signal(libc::SIGTERM);
        self.end()
    }

    /// Waits for it to end by itself; everything that it said, and its exit status.
    pub(crate) fn end(mut self) -> (Vec<String>, ExitStatus) {
        let status = self.child.wait().unwrap();
        let mut seen = std::mem::take(&mut self.seen);
        seen.extend(self.lines.iter());
        (seen, status)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats `probe` until it gives something.
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = probe() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not happen");
}
