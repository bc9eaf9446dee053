//! What the terminal shows of an overview; no I/O.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline};

use super::rates::Rates;
use super::text::{bits, short, span};
use crate::overview::{Overview, Sample, Totals};

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many rows up in the table that is scrolled.
    Up(usize),
    /// So many rows down.
    Down(usize),
    /// The keys scroll the other table.
    OtherTable,
}

/// The tables that can be scrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scrolled {
    Hosts,
    Bans,
}

/// The view: the latest overview, and where the reader is in it.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) latest: Overview,
    pub(super) rates: Rates,
    /// Why there is no newer overview.
    trouble: Option<String>,
    scrolled: Scrolled,
    pub(super) hosts_above: usize,
    pub(super) bans_above: usize,
    has_colours: bool,
}

impl View {
    pub(super) fn new(overview: Overview, has_colours: bool) -> Self {
        Self {
            latest: overview,
            rates: Rates::default(),
            trouble: None,
            scrolled: Scrolled::Hosts,
            hosts_above: 0,
            bans_above: 0,
            has_colours,
        }
    }

    /// Takes a newer overview.
    pub(super) fn update(&mut self, overview: Overview) {
        self.trouble = None;
        if let Some(rates) = Rates::between(&self.latest, &overview) {
            self.rates = rates;
        }
        self.latest = overview;
        self.step(Step::Up(0));
    }

    /// There is no newer one.
    pub(super) fn fail(&mut self, why: String) {
        self.trouble = Some(why);
        self.rates = Rates::default();
    }

    pub(super) fn step(&mut self, step: Step) {
        let (above, rows) = match self.scrolled {
            Scrolled::Hosts => (&mut self.hosts_above, self.latest.hosts.len()),
            Scrolled::Bans => (&mut self.bans_above, self.latest.bans.len()),
        };
        match step {
            Step::Up(rows) => *above = above.saturating_sub(rows),
            Step::Down(rows) => *above += rows,
            Step::OtherTable => {
                self.scrolled = match self.scrolled {
                    Scrolled::Hosts => Scrolled::Bans,
                    Scrolled::Bans => Scrolled::Hosts,
                };
                return;
            }
        }
        *above = (*above).min(rows.saturating_sub(1));
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let whole = frame.area();
        let small = self.latest.interfaces.len().max(self.latest.techniques.len());
        let small = u16::try_from(small).unwrap_or(u16::MAX).clamp(1, 6) + 3;
        // What matters least gives way first when there is little room.
        let graphs = if whole.height >= 34 { 6 } else { 0 };
        let small = if whole.height >= 20 { small } else { 0 };
        let [head, graph, middle, hosts, bans] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(graphs),
            Constraint::Length(small),
            Constraint::Fill(1),
            Constraint::Fill(1),
        ])
        .areas(whole);
        self.head(frame, head);
        if graphs > 0 {
            self.graphs(frame, graph);
        }
        if small > 0 {
            let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(middle);
            self.interfaces(frame, left);
            self.techniques(frame, right);
        }
        self.hosts(frame, hosts);
        self.bans(frame, bans);
    }

    pub(super) fn paint(&self, colour: Color) -> Style {
        if self.has_colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn head(&self, frame: &mut Frame<'_>, area: Rect) {
        let Overview {
            source,
            version,
            backend,
            seconds,
            totals,
            active_bans,
            ..
        } = &self.latest;
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut first = vec![
            Span::styled(format!("btblocker {version}"), bold),
            Span::raw(format!("  {source}  up {}  {backend}", span(*seconds))),
        ];
        let trouble = self.trouble.iter().chain(&self.latest.troubles).next();
        if let Some(trouble) = trouble {
            first = vec![Span::styled(
                trouble.as_str(),
                self.paint(Color::Red).add_modifier(Modifier::BOLD),
            )];
        }
        let rates = &self.rates;
        let second = vec![
            Span::styled(
                format!("{active_bans} bans"),
                self.paint(Color::Yellow).add_modifier(Modifier::BOLD),
            ),
            Span::raw(format!(
                "  {} BitTorrent flows  {} packets/s  {}  {} flows/s  ",
                short(totals.bittorrent as f64),
                short(rates.packets),
                bits(rates.bits),
                short(rates.flows),
            )),
            Span::styled(
                format!("{} lost", short(totals.lost as f64)),
                if totals.lost > 0 {
                    self.paint(Color::Red)
                } else {
                    Style::new()
                },
            ),
        ];
        let (help, width) = match area.width {
            100.. => ("q quit  Tab table  ↑↓ scroll", 31),
            70.. => ("q quit", 8),
            _ => ("", 0),
        };
        let [text, keys] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(area);
        frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(second)]), text);
        frame.render_widget(Paragraph::new(help).right_aligned(), keys);
    }

    fn graphs(&self, frame: &mut Frame<'_>, area: Rect) {
        let [left, middle, right] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
        self.graph(frame, left, "Traffic", Color::Cyan, |added| added.bytes);
        self.graph(frame, middle, "BitTorrent flows", Color::Blue, |added| {
            added.bittorrent
        });
        self.graph(frame, right, "New bans", Color::Yellow, |added| added.bans);
    }

    fn graph(&self, frame: &mut Frame<'_>, area: Rect, title: &str, colour: Color, of: fn(&Totals) -> u64) {
        let Overview {
            history, step, at, ..
        } = &self.latest;
        let width = usize::from(area.width.saturating_sub(2));
        let minutes = step * width as u64 / 60_000;
        let graph = Sparkline::default()
            .data(columns(history, *step, *at, width, of))
            .style(self.paint(colour))
            .block(Block::bordered().title(format!(" {title}, {minutes} min ")));
        frame.render_widget(graph, area);
    }

    pub(super) fn title(&self, name: &str, listed: usize, all: u64, which: Scrolled) -> String {
        let mark = if self.scrolled == which { "▸ " } else { "" };
        if listed as u64 == all {
            format!("{mark}{name} ({all})")
        } else {
            format!("{mark}{name} ({listed} of {all})")
        }
    }
}

/// One value for each of the last `width` steps.
fn columns(history: &[Sample], step: u64, now: u64, width: usize, of: fn(&Totals) -> u64) -> Vec<u64> {
    let mut values = vec![0; width];
    for sample in history.iter().rev().take(width) {
        let back = (now / step.max(1)).saturating_sub(sample.at / step.max(1));
        let index = usize::try_from(back)
            .ok()
            .and_then(|back| width.checked_sub(back + 1));
        if let Some(value) = index.and_then(|index| values.get_mut(index)) {
            *value = of(&sample.added);
        }
    }
    values
}
