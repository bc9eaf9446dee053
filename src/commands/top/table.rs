//! Tables whose columns give way when there is little room.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Row, Table};

/// A column of a table.
pub(super) struct Column {
    name: &'static str,
    width: Constraint,
    is_number: bool,
    /// Width of the table from which on it is shown.
    from: u16,
}

impl Column {
    pub(super) const fn text(name: &'static str, width: Constraint) -> Self {
        Self {
            name,
            width,
            is_number: false,
            from: 0,
        }
    }
    pub(super) const fn number(name: &'static str, width: u16) -> Self {
        Self {
            is_number: true,
            ..Self::text(name, Constraint::Length(width))
        }
    }
    pub(super) const fn from(self, width: u16) -> Self {
        Self { from: width, ..self }
    }
}

/// A table in a frame, without its first `above` rows. A row has a cell for each column.
pub(super) fn table<'r>(
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

pub(super) fn number(text: String) -> Cell<'static> {
    Cell::new(Line::from(text).right_aligned())
}

/// Room for the longest of some texts, within reason.
pub(super) fn room_for(lengths: impl Iterator<Item = usize>, least: u16, most: u16) -> Constraint {
    let longest = u16::try_from(lengths.max().unwrap_or_default()).unwrap_or(most);
    Constraint::Length(longest.clamp(least, most))
}
