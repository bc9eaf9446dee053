//! The tables of the view: interfaces, techniques, hosts, bans.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style};
use ratatui::widgets::Cell;

use super::table::{Column, number, room_for, table};
use super::text::{short, span, time};
use super::view::{Scrolled, View};

impl View {
    pub(super) fn interfaces(&self, frame: &mut Frame<'_>, area: Rect) {
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

    pub(super) fn techniques(&self, frame: &mut Frame<'_>, area: Rect) {
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

    pub(super) fn hosts(&self, frame: &mut Frame<'_>, area: Rect) {
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

    pub(super) fn bans(&self, frame: &mut Frame<'_>, area: Rect) {
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
}
