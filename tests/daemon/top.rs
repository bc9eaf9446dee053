//! `btblocker top` in a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::namespace::in_namespace;
use crate::program::{Lab, wait_for};

/// A program in a terminal of its own, and everything that it wrote there.
struct Terminal {
    child: Child,
    master: File,
    written: Arc<Mutex<Vec<u8>>>,
}

const fn size(rows: u16, columns: u16) -> libc::winsize {
    libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        let (mut master, mut slave) = (0, 0);
        let size = size(40, 140);
        // SAFETY: the descriptors are written to two own integers; the size is an own structure; no name is asked for.
        let result = unsafe {
            libc::openpty(
                &mut master,
                &mut slave,
                std::ptr::null_mut(),
                std::ptr::null(),
                &size,
            )
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the descriptor was just opened, and nobody else owns it.
        let master = unsafe { File::from_raw_fd(master) };
        // SAFETY: the same.
        let slave = unsafe { OwnedFd::from_raw_fd(slave) };
        command
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave))
            .env("TERM", "xterm-256color");
        // SAFETY: the closure makes two system calls and touches no memory.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        // The other end is closed with the program.
        drop(command);
        let (written, mut screen) = (Arc::new(Mutex::new(Vec::new())), master.try_clone().unwrap());
        let all = Arc::clone(&written);
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                all.lock().unwrap().extend(&bytes[..length]);
            }
        });
        Self {
            child,
            master,
            written,
        }
    }

    fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Waits for a text, behind the first `after` bytes.
    fn wait_for(&self, text: &str, after: usize) {
        wait_for(text, || {
            self.written()
                .get(after..)
                .is_some_and(|shown| shown.contains(text))
        });
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = size(rows, columns);
        // SAFETY: the descriptor is open, and the size is an own structure that outlives the call.
        let result = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }

    fn end(mut self, keys: &[u8]) -> (ExitStatus, String) {
        self.master.write_all(keys).unwrap();
        let status = self.child.wait().unwrap();
        wait_for("the end of the view", || self.written().contains(LEAVE));
        (status, self.written())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Leaves the alternate screen (xterm's control sequences, DECRST 1049).
const LEAVE: &str = "\x1b[?1049l";

/// Whether any sequence chooses a colour (ECMA-48 section 8.3.117): 30 to 49, but for 39 and 49, the defaults.
fn is_coloured(written: &str) -> bool {
    written.split("\x1b[").skip(1).any(|sequence| {
        let end = sequence.find(|byte: char| byte.is_ascii_alphabetic());
        let (numbers, rest) = sequence.split_at(end.unwrap_or(sequence.len()));
        let mut numbers = numbers.split(';').filter_map(|number| number.parse().ok());
        rest.starts_with('m') && numbers.any(|number: u8| matches!(number, 30..=38 | 40..=48))
    })
}

#[test]
fn the_view_follows_the_daemon_and_the_size_of_the_terminal() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let daemon = lab.start(&[]);
        let view = Terminal::start(lab.command(&["top"]));
        // Only words are looked for: between them the cursor moves.
        view.wait_for("Hosts", 0);
        lab.replay("bt-libtorrent-plain-v4");
        daemon.wait_line(": banned ");
        let banned = lab.bans()[0]["address"].as_str().unwrap().to_owned();
        view.wait_for(&banned, 0);
        assert!(is_coloured(&view.written()));
        // Everything is drawn anew in a smaller terminal, with less in it.
        let before = view.written().len();
        view.resize(14, 70);
        view.wait_for(&banned, before);
        let small = view.written()[before..].to_owned();
        assert!(!small.contains("Techniques"), "{small}");
        // A daemon that is gone is no reason to end.
        daemon.terminate();
        view.wait_for("answers", before);
        let (status, _) = view.end(b"q");
        assert!(status.success());
    });
}

#[test]
fn no_colour_is_shown_to_those_who_want_none_and_control_c_ends() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let _daemon = lab.start(&[]);
        lab.replay("bt-libtorrent-plain-v4");
        wait_for("a ban", || !lab.bans().is_empty());
        let mut command = lab.command(&["top"]);
        command.env("NO_COLOR", "1");
        let view = Terminal::start(command);
        view.wait_for("banned", 0);
        let (status, written) = view.end(b"\x03");
        assert!(status.success());
        assert!(!is_coloured(&written), "{written:?}");
    });
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_so() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let output = lab.run(&["top"]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("top needs a terminal; `btblocker status --format json`"),
            "{said}"
        );
        let mut view = Terminal::start(lab.command(&["top"]));
        assert_eq!(view.child.wait().unwrap().code(), Some(1));
        view.wait_for("no btblocker answers on", 0);
        assert!(
            !view.written().contains("\x1b[?1049h"),
            "the screen is left alone"
        );
    });
}
