//! What the terminal shows of an overview; no I/O.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

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
enum Scrolled {
    Hosts,
    Bans,
}

/// What happens in a second.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rates {
    packets: f64,
    bits: f64,
    flows: f64,
    /// Packets of each interface, in the overview's order.
    interfaces: Vec<f64>,
}

/// The view: the latest overview, and where the reader is in it.
#[derive(Clone, Debug)]
pub(super) struct View {
    latest: Overview,
    rates: Rates,
    /// Why there is no newer overview.
    trouble: Option<String>,
    scrolled: Scrolled,
    hosts_above: usize,
    bans_above: usize,
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

    fn paint(&self, colour: Color) -> Style {
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
        let [text, keys] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(31)]).areas(area);
        let help = Paragraph::new("q quit  Tab table  ↑↓ scroll").right_aligned();
        if area.width >= 100 {
            frame.render_widget(help, keys);
        }
        let text = if area.width >= 100 { text } else { area };
        frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(second)]), text);
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

    fn interfaces(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = self
            .latest
            .interfaces
            .iter()
            .enumerate()
            .map(|(index, interface)| {
                let rate = self.rates.interfaces.get(index).copied().unwrap_or_default();
                let dropped = interface.dropped + interface.if_dropped;
                let state = if interface.state == "running" {
                    Color::Green
                } else {
                    Color::Red
                };
                vec![
                    Cell::new(interface.name.as_str()),
                    Cell::new(interface.state.as_str()).style(self.paint(state)),
                    number(short(rate)),
                    number(short(interface.received as f64)),
                    number(short(dropped as f64)),
                ]
            });
        let longest = self
            .latest
            .interfaces
            .iter()
            .map(|interface| interface.name.len());
        let columns = [
            Column::text("INTERFACE", room_for(longest, 9, 15)),
            Column::text("STATE", Constraint::Fill(1)),
            Column::number("PACKETS/S", 9),
            Column::number("PACKETS", 9).from(60),
            Column::number("DROPPED", 8),
        ];
        table(frame, area, "Interfaces", &columns, rows, 0);
    }

    fn techniques(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut techniques: Vec<_> = self.latest.techniques.iter().collect();
        techniques.sort_by_key(|technique| std::cmp::Reverse((technique.bans, technique.flows)));
        let rows = techniques.into_iter().map(|technique| {
            let counts = [
                technique.conclusive,
                technique.strong,
                technique.weak,
                technique.flows,
                technique.bans,
            ];
            let counts = counts.into_iter().map(|count| number(short(count as f64)));
            [Cell::new(technique.name.as_str())]
                .into_iter()
                .chain(counts)
                .collect()
        });
        let columns = [
            Column::text("TECHNIQUE", Constraint::Fill(1)),
            Column::number("CONCLUSIVE", 10).from(60),
            Column::number("STRONG", 7).from(60),
            Column::number("WEAK", 7).from(60),
            Column::number("FLOWS", 7),
            Column::number("BANS", 7),
        ];
        table(frame, area, "Techniques", &columns, rows, 0);
    }

    fn hosts(&self, frame: &mut Frame<'_>, area: Rect) {
        let hosts = &self.latest.hosts;
        let rows = hosts.iter().map(|host| {
            let state = if host.state == "banned" {
                self.paint(Color::Yellow)
            } else {
                Style::new()
            };
            vec![
                Cell::new(host.address.as_str()),
                Cell::new(host.state.as_str()).style(state),
                number(short(host.flows as f64)),
                Cell::new(time(&host.last)),
                Cell::new(host.techniques.join(" ")),
                Cell::new(host.clients.join(", ")),
                Cell::new(host.evidence.as_str()),
            ]
        });
        let longest = hosts.iter().map(|host| host.address.len());
        let columns = [
            Column::text("HOST", room_for(longest, 15, 39)),
            Column::text("STATE", Constraint::Length(12)),
            Column::number("FLOWS", 6),
            Column::text("LAST", Constraint::Length(8)),
            Column::text("TECHNIQUES", Constraint::Fill(2)).from(110),
            Column::text("PROGRAM", Constraint::Fill(2)).from(110),
            Column::text("EVIDENCE", Constraint::Fill(4)),
        ];
        let title = self.title("Hosts", hosts.len(), self.latest.hosts_known, Scrolled::Hosts);
        table(frame, area, &title, &columns, rows, self.hosts_above);
    }

    fn bans(&self, frame: &mut Frame<'_>, area: Rect) {
        let bans = &self.latest.bans;
        let rows = bans.iter().map(|ban| {
            vec![
                Cell::new(ban.address.as_str()),
                Cell::new(time(&ban.since)),
                number(span(ban.remaining_seconds)),
                number(short(ban.flows.into())),
                Cell::new(ban.technique.as_str()),
                Cell::new(ban.client.as_deref().unwrap_or_default()),
                Cell::new(ban.reason.as_str()),
            ]
        });
        let longest = bans.iter().map(|ban| ban.address.len());
        let columns = [
            Column::text("BANNED", room_for(longest, 15, 39)),
            Column::text("SINCE", Constraint::Length(8)),
            Column::number("ENDS IN", 11),
            Column::number("FLOWS", 6),
            Column::text("DECIDED BY", Constraint::Length(14)).from(110),
            Column::text("PROGRAM", Constraint::Fill(1)).from(110),
            Column::text("WHY", Constraint::Fill(3)),
        ];
        let title = self.title("Bans", bans.len(), self.latest.active_bans, Scrolled::Bans);
        table(frame, area, &title, &columns, rows, self.bans_above);
    }

    fn title(&self, name: &str, listed: usize, all: u64, which: Scrolled) -> String {
        let mark = if self.scrolled == which { "▸ " } else { "" };
        if listed as u64 == all {
            format!("{mark}{name} ({all})")
        } else {
            format!("{mark}{name} ({listed} of {all})")
        }
    }
}

/// A column of a table.
struct Column {
    name: &'static str,
    width: Constraint,
    is_number: bool,
    /// Width of the table from which on it is shown.
    from: u16,
}

impl Column {
    const fn text(name: &'static str, width: Constraint) -> Self {
        Self {
            name,
            width,
            is_number: false,
            from: 0,
        }
    }
    const fn number(name: &'static str, width: u16) -> Self {
        Self {
            is_number: true,
            ..Self::text(name, Constraint::Length(width))
        }
    }
    const fn from(self, width: u16) -> Self {
        Self { from: width, ..self }
    }
}

/// A table in a frame, without its first `above` rows. A row has a cell for each column.
fn table<'r>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    columns: &[Column],
    rows: impl Iterator<Item = Vec<Cell<'r>>>,
    above: usize,
) {
    let is_shown = |column: &Column| area.width >= column.from;
    let shown = || columns.iter().filter(|column| is_shown(column));
    let names = shown().map(|column| match column.is_number {
        true => number(column.name.to_owned()),
        false => Cell::new(column.name),
    });
    let head = Row::new(names).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows.skip(above).map(|cells| {
        let cells = cells
            .into_iter()
            .zip(columns)
            .filter(|(_, column)| is_shown(column));
        Row::new(cells.map(|(cell, _)| cell))
    });
    let table = Table::new(rows, shown().map(|column| column.width))
        .header(head)
        .block(Block::bordered().title(format!(" {title} ")));
    frame.render_widget(table, area);
}

impl Rates {
    /// `None` when no time lies between the two, or they are not of one run.
    fn between(earlier: &Overview, later: &Overview) -> Option<Self> {
        let seconds = later.at.checked_sub(earlier.at).filter(|millis| *millis > 0)? as f64 / 1_000.0;
        let rate = |earlier: u64, later: u64| Some(later.checked_sub(earlier)? as f64 / seconds);
        let before = |name: &str| earlier.interfaces.iter().find(|interface| interface.name == name);
        Some(Self {
            packets: rate(earlier.totals.packets, later.totals.packets)?,
            bits: rate(earlier.totals.bytes, later.totals.bytes)? * 8.0,
            flows: rate(earlier.totals.flows, later.totals.flows)?,
            interfaces: later
                .interfaces
                .iter()
                .map(|now| rate(before(&now.name)?.received, now.received))
                .map(Option::unwrap_or_default)
                .collect(),
        })
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

fn number(text: String) -> Cell<'static> {
    Cell::new(Line::from(text).right_aligned())
}

/// Room for the longest of some texts, within reason.
fn room_for(lengths: impl Iterator<Item = usize>, least: u16, most: u16) -> Constraint {
    let longest = u16::try_from(lengths.max().unwrap_or_default()).unwrap_or(most);
    Constraint::Length(longest.clamp(least, most))
}

/// The time of day of an RFC 3339 time.
fn time(rfc3339: &str) -> &str {
    rfc3339.get(11..19).unwrap_or(rfc3339)
}

/// A number in at most six characters.
fn short(number: f64) -> String {
    for (size, unit) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if number >= size {
            let scaled = number / if size < 1e5 { 1e3 } else { size };
            return if scaled < 10.0 {
                format!("{scaled:.1}{unit}")
            } else {
                format!("{scaled:.0}{unit}")
            };
        }
    }
    format!("{number:.0}")
}

/// Bits in a second.
fn bits(number: f64) -> String {
    for (size, unit) in [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")] {
        if number >= size {
            return format!("{:.1} {unit}", number / size);
        }
    }
    format!("{number:.0} bit/s")
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
