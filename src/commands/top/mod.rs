//! `btblocker top`: the running daemon as a view in the terminal, once a second anew.

mod rates;
mod table;
mod tables;
mod text;
mod view;
#[cfg(test)]
mod view_tests;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::config::Config;
use crate::control::{Request, ask};
use crate::overview::Overview;
use view::{Step, View};

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How soon an answer of the daemon or a signal is seen; keys are seen at once.
const GLANCE: Duration = Duration::from_millis(100);

/// Shows the running daemon until `q` is pressed.
///
/// # Errors
/// When there is no terminal, or no daemon answers at the start. One that ceases to answer later is shown as such.
pub fn top(config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        "top needs a terminal; `btblocker status --format json` is for programs"
    );
    let path = config.control_path();
    let path = path.context("control_socket is empty: a running btblocker cannot be asked")?;
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut view = View::new(overview(&path)?, has_colours);
    let ended = Arc::new(AtomicBool::new(false));
    // SIGHUP ends the program as it stands: its terminal is gone, and reading from that would never return.
    for signal in [libc::SIGINT, libc::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let (send, answers) = crossbeam_channel::bounded(1);
    std::thread::Builder::new()
        .name("ask".to_owned())
        .spawn(move || keep_asking(&path, &send))?;
    let mut terminal = ratatui::try_init().context("cannot take over the terminal")?;
    let outcome = show(&mut terminal, &mut view, &answers, &ended);
    ratatui::restore();
    outcome
}

fn overview(path: &Path) -> anyhow::Result<Overview> {
    let (lines, _) = ask(path, &Request::Overview {})?;
    let line = lines.into_iter().next().context("the daemon's answer is empty")?;
    serde_json::from_value(line).context("the daemon is of another version")
}

/// Asks until nobody listens.
fn keep_asking(path: &Path, send: &Sender<anyhow::Result<Overview>>) {
    while send.send(overview(path)).is_ok() {
        std::thread::sleep(EVERY);
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    view: &mut View,
    answers: &Receiver<anyhow::Result<Overview>>,
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    while !ended.load(Ordering::Relaxed) {
        terminal.draw(|frame| view.draw(frame))?;
        if event::poll(GLANCE)? {
            // A change of the size is drawn in any case.
            if let Event::Key(key) = event::read()? {
                match step(&key) {
                    Some(step) => view.step(step),
                    None if is_end(&key) => return Ok(()),
                    None => {}
                }
            }
        }
        match answers.try_recv() {
            Ok(Ok(overview)) => view.update(overview),
            Ok(Err(error)) => view.fail(format!("{error:#}")),
            Err(_) => {}
        }
    }
    Ok(())
}

fn is_end(key: &KeyEvent) -> bool {
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn step(key: &KeyEvent) -> Option<Step> {
    Some(match key.code {
        KeyCode::Up => Step::Up(1),
        KeyCode::Down => Step::Down(1),
        KeyCode::PageUp => Step::Up(10),
        KeyCode::PageDown => Step::Down(10),
        KeyCode::Tab => Step::OtherTable,
        _ => return None,
    })
}
