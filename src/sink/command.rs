//! Runs a program at each ban and each end of one.
//!
//! Promise: no shell, one program at a time, each at most [`PATIENCE`] long. Its output is not read.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use log::warn;

use super::notice::Notice;

/// How long a program may run before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The programs with their arguments; empty ones are not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// Run at a ban.
    pub on_ban: Vec<String>,
    /// Run at the end of a ban.
    pub on_unban: Vec<String>,
}

impl Programs {
    pub(super) fn run(&self, notice: &Notice) {
        let words = match notice.event {
            "ban" => &self.on_ban,
            "unban" => &self.on_unban,
            // Nobody was banned: a program may ban elsewhere.
            _ => return,
        };
        let Some((program, arguments)) = words.split_first() else {
            return;
        };
        if let Err(trouble) = run(program, arguments, notice) {
            warn!(trouble = "program"; "on_{} {program}: {trouble}", notice.event);
        }
    }
}

fn run(program: &str, arguments: &[String], notice: &Notice) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(arguments.iter().map(|argument| notice.argument(argument)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("failed for {}: {status}", notice.address)),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Ok(None) => {
                // It ends one way or the other; there is nothing to do about a failure.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("killed after {} s", PATIENCE.as_secs()));
            }
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    }
}
