//! Tables as kubectl prints them: columns as wide as they must be, three spaces between.

use super::{Paint, Palette};

const GAP: &str = "   ";

/// One place in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    paint: Paint,
}

/// A head and rows below it.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Cell {
    /// A text in a colour; control characters are shown as `�`, line ends as spaces.
    pub fn new(text: impl Into<String>, paint: Paint) -> Self {
        Self {
            text: printable(&text.into()),
            paint,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Paint::Plain)
    }
}

impl Table {
    /// A table with these columns.
    pub fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&name| name.into()).collect()],
        }
    }

    /// A table without a head.
    pub fn bare() -> Self {
        Self { rows: Vec::new() }
    }

    /// One more row, with a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The text, each row a line.
    pub fn text(&self, palette: Palette) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows.iter().map(|row| line(row, &widths, palette) + "\n").collect()
    }
}

/// Nothing stands behind the last cell that has a text.
fn line(row: &[Cell], widths: &[usize], palette: Palette) -> String {
    let last = row.iter().rposition(|cell| !cell.text.is_empty());
    let mut line = String::new();
    let Some(last) = last else { return line };
    for (place, (cell, width)) in row.iter().zip(widths).enumerate().take(last + 1) {
        line.push_str(&palette.paint(cell.paint, &cell.text));
        if place < last {
            let room = width - cell.text.chars().count();
            line.extend(std::iter::repeat_n(' ', room));
            line.push_str(GAP);
        }
    }
    line
}

/// `text` on one line, without what a terminal would obey.
pub fn printable(text: &str) -> String {
    let printable = |c: char| match c {
        '\n' | '\t' | '\r' => ' ',
        // Bidirectional overrides reorder what stands beside them.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "PHASE", "STEP"]);
        table.row(vec!["order".into(), Cell::new("Failed", Paint::Bad), "charge".into()]);
        table.row(vec!["größer".into(), Cell::new("Succeeded", Paint::Good), "".into()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be_and_nothing_trails() {
        assert_eq!(
            table().text(Palette::Plain),
            "NAME     PHASE       STEP\n\
             order    Failed      charge\n\
             größer   Succeeded\n"
        );
    }

    #[test]
    fn colours_do_not_move_columns() {
        let coloured = table().text(Palette::Terminal);
        let bare = coloured
            .replace("\u{1b}[31m", "")
            .replace("\u{1b}[32m", "")
            .replace("\u{1b}[0m", "");
        assert_eq!(bare, table().text(Palette::Plain));
        assert_ne!(bare, coloured);
    }

    #[test]
    fn nothing_that_comes_from_a_run_moves_the_cursor() {
        let mut table = Table::new(&["MESSAGE"]);
        table.row(vec!["a\u{1b}[2Jb\nc\u{202e}d".into()]);
        assert_eq!(table.text(Palette::Plain), "MESSAGE\na\u{fffd}[2Jb c\u{fffd}d\n");
    }
}
