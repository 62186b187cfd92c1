//! Tables without lines, as shells like them.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, TableStyle, Width};
use jiff::Timestamp;

/// How a cell is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
    Dim,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) String, pub(crate) Tone);

impl<T: ToString> From<T> for Line {
    fn from(text: T) -> Self {
        Self(text.to_string(), Tone::Plain)
    }
}

impl Line {
    /// A text that is absent is shown as `-`.
    pub(crate) fn or_dash(text: Option<impl ToString>) -> Self {
        text.map_or_else(|| Self("-".to_owned(), Tone::Dim), Self::from)
    }
}

/// One column of a table of `T`.
pub(crate) struct Column<T: 'static> {
    pub(crate) title: &'static str,
    /// Only with `-o wide`.
    pub(crate) wide: bool,
    /// Numbers stand right.
    pub(crate) right: bool,
    pub(crate) show: fn(&T, Timestamp) -> Line,
}

impl<T> Column<T> {
    pub(crate) const fn text(title: &'static str, show: fn(&T, Timestamp) -> Line) -> Self {
        Self { title, wide: false, right: false, show }
    }

    pub(crate) const fn number(title: &'static str, show: fn(&T, Timestamp) -> Line) -> Self {
        Self { title, wide: false, right: true, show }
    }

    pub(crate) const fn wide(title: &'static str, show: fn(&T, Timestamp) -> Line) -> Self {
        Self { title, wide: true, right: false, show }
    }
}

/// A table that may grow: rows printed later stand under those printed before.
pub(crate) struct Table<T: 'static> {
    columns: Vec<&'static Column<T>>,
    widths: Vec<u16>,
}

impl<T> Table<T> {
    pub(crate) fn new(columns: &'static [Column<T>], wide: bool) -> Self {
        let columns: Vec<_> = columns.iter().filter(|c| wide || !c.wide).collect();
        let widths = vec![0; columns.len()];
        Self { columns, widths }
    }

    /// The rows as text, one line each; columns are never narrower than before.
    pub(crate) fn render(&mut self, items: &[T], headers: bool, now: Timestamp) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(TableStyle::new()).enforce_styling().style_text_only();
        if headers {
            table.set_header(self.columns.iter().map(|c| cell(c.title.into(), c.right)));
        }
        for item in items {
            table.add_row(self.columns.iter().map(|c| cell((c.show)(item, now), c.right)));
        }
        let widths = table.column_max_content_widths();
        for (at, width) in self.widths.iter_mut().enumerate() {
            *width = widths.get(at).copied().unwrap_or_default().max(*width);
            if let Some(column) = table.column_mut(at) {
                // Two blanks between columns, none before the first.
                column.set_padding((0, 2));
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width + 2)));
            }
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

fn cell(Line(text, tone): Line, right: bool) -> Cell {
    let cell = Cell::new(super::plain(&text));
    let cell = if right { cell.set_alignment(CellAlignment::Right) } else { cell };
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Warn => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Dim => cell.add_attribute(Attribute::Dim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column<(&'static str, u32)>] = &[
        Column::text("NAME", |row, _| row.0.into()),
        Column::number("N", |row, _| row.1.into()),
        Column::wide("MORE", |_, _| Line::or_dash(None::<u32>)),
    ];

    fn render(
        table: &mut Table<(&'static str, u32)>,
        rows: &[(&'static str, u32)],
        headers: bool,
    ) -> String {
        table.render(rows, headers, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn rows_that_come_later_stand_under_the_first_ones() {
        let mut table = Table::new(COLUMNS, false);
        let first = render(&mut table, &[("long-name", 7), ("b", 12)], true);
        assert_eq!(first, "NAME        N\nlong-name   7\nb          12\n");
        assert_eq!(render(&mut table, &[("c", 3)], false), "c           3\n");
    }

    #[test]
    fn an_empty_table_has_its_header_only() {
        assert_eq!(render(&mut Table::new(COLUMNS, false), &[], true), "NAME  N\n");
        assert_eq!(render(&mut Table::new(COLUMNS, false), &[], false), "");
    }
}
