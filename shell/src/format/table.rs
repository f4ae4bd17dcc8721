//! Tables: columns under each other in as many characters as the terminal has.
//!
//! Widths come from the first rows (up to [`HELD_ROWS`]) and only grow afterwards, so a result of
//! any length needs little memory. Where a line would be too long, texts are cut first, then
//! columns at the end are left out; a number is never cut, because a part of it is another number.
//! A text that is the only column is never cut and keeps its line breaks: it is a plan or a statement,
//! to be read.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Layout, cells};
use crate::screen::{visible, visible_lines};

/// Rows that are looked at before the first is written.
const HELD_ROWS: usize = 1000;
/// Between two columns: ` │ `.
const SEPARATOR: usize = 3;
/// A text is not cut to less than this.
const LEAST_TEXT: usize = 8;

struct Column {
    name: String,
    number: bool,
    may_be_cut: bool,
    /// The widest value so far.
    widest: usize,
}

impl Column {
    fn natural(&self) -> usize {
        self.widest.max(self.name.width())
    }

    fn least(&self) -> usize {
        let name = self.name.width().min(LEAST_TEXT);
        match self.may_be_cut {
            true => self.natural().min(LEAST_TEXT),
            false => self.widest.max(name),
        }
    }
}

type Row = Vec<Option<String>>;

/// Writes rows as a table.
pub struct TablePrinter {
    layout: Layout,
    columns: Vec<Column>,
    held: Vec<Row>,
    header_written: bool,
    /// Rows written, which expanded rows are numbered by.
    written: usize,
    /// A value was cut.
    cut: bool,
    /// A column was left out.
    left_out: bool,
}

impl TablePrinter {
    /// A table of rows of `schema`.
    pub fn new(schema: &SchemaRef, layout: Layout) -> TablePrinter {
        let column = |name: &str, data_type: &DataType| Column {
            name: visible(name),
            number: cells::is_number(data_type),
            may_be_cut: cells::may_be_cut(data_type),
            widest: 0,
        };
        let mut columns: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| column(field.name(), field.data_type()))
            .collect();
        if layout.marks {
            columns.pop();
            columns.insert(0, column("", &DataType::Null));
        }
        TablePrinter {
            layout,
            columns,
            held: Vec::new(),
            header_written: false,
            written: 0,
            cut: false,
            left_out: false,
        }
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
        self.hold(batch)?;
        if self.held.len() >= HELD_ROWS {
            self.flush(out);
        }
        Ok(())
    }

    /// Writes the header and these rows, as if nothing had been written before, except that columns
    /// stay as wide as they have been: a table drawn again and again does not jump.
    pub fn frame(&mut self, batch: &RecordBatch, width: usize, out: &mut Vec<u8>) -> Result<(), String> {
        self.layout.width = Some(width);
        self.header_written = false;
        (self.cut, self.left_out) = (false, false);
        self.hold(batch)?;
        self.end(out);
        Ok(())
    }

    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let rows = std::mem::take(&mut self.held);
        if self.is_expanded() {
            for row in rows {
                self.written += 1;
                self.push_expanded(&row, out);
            }
            return;
        }
        let widths = self.fit();
        if !self.header_written {
            self.push_header(&widths, out);
            self.header_written = true;
        }
        self.written += rows.len();
        for row in rows {
            self.push_row(&row, &widths, out);
        }
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        if !self.held.is_empty() || !self.header_written {
            self.flush(out);
        }
    }

    pub(super) fn note(&self) -> Option<&'static str> {
        match (self.cut, self.left_out) {
            (_, true) => Some("some columns don't fit: \\x shows all"),
            (true, false) => Some("some values are cut: \\x shows all"),
            (false, false) => None,
        }
    }

    /// A text alone is written whole, unless the table must have a known number of lines.
    fn is_text(&self) -> bool {
        matches!(&self.columns[..], [column] if column.may_be_cut) && !self.layout.one_line
    }

    /// With one column there is nothing to put one below the other.
    fn is_expanded(&self) -> bool {
        self.layout.expanded && self.columns.len() > 1
    }

    fn hold(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let mut columns = batch
            .columns()
            .iter()
            .map(cells::texts)
            .collect::<Result<Vec<_>, _>>()?;
        if self.layout.marks
            && let Some(weights) = batch.columns().last()
        {
            columns.pop();
            columns.insert(0, marks(weights.as_primitive::<Int64Type>().values()));
        }
        let whole = self.is_text() || self.is_expanded();
        let null = null_text(self.layout).width();
        for (texts, column) in columns.iter_mut().zip(&mut self.columns) {
            for text in texts {
                let width = match text {
                    None => null,
                    Some(text) => {
                        *text = if whole { visible_lines(text) } else { visible(text) };
                        text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
                    }
                };
                column.widest = column.widest.max(width);
            }
        }
        for row in 0..batch.num_rows() {
            self.held
                .push(columns.iter_mut().map(|texts| texts[row].take()).collect());
        }
        Ok(())
    }

    /// Widths of the columns that are shown: all of them, or the first few.
    fn fit(&mut self) -> Vec<usize> {
        let natural: Vec<usize> = self.columns.iter().map(Column::natural).collect();
        let Some(limit) = self.layout.width.filter(|_| !self.is_text()) else {
            return natural;
        };
        let mut widths: Vec<usize> = self.columns.iter().map(Column::least).collect();
        if line_width(&natural) <= limit {
            return natural;
        }
        // Where columns are left out, `…` stands for them.
        while widths.len() > 1 && line_width(&widths) + self.gap(widths.len()) > limit {
            widths.pop();
        }
        self.left_out |= widths.len() < self.columns.len();
        if widths.len() == 1 {
            widths[0] = widths[0].min(limit.saturating_sub(1 + self.gap(1))).max(1);
        }
        let mut room = limit.saturating_sub(line_width(&widths) + self.gap(widths.len()));
        // What room there is goes to the narrowest first, so that as many as possible are whole.
        while room > 0 {
            let short = (0..widths.len()).filter(|&at| widths[at] < natural[at]);
            let Some(at) = short.min_by_key(|&at| widths[at]) else {
                break;
            };
            widths[at] += 1;
            room -= 1;
        }
        widths
    }

    fn gap(&self, shown: usize) -> usize {
        if shown < self.columns.len() { SEPARATOR + 1 } else { 0 }
    }

    fn push_header(&mut self, widths: &[usize], out: &mut Vec<u8>) {
        let style = self.layout.style;
        let names = self.columns.iter().zip(widths);
        let mut cells: Vec<String> = names
            .enumerate()
            .map(|(at, (column, &width))| {
                let name = cut(&column.name, width);
                let last = at + 1 == self.columns.len();
                pad(&style.bold(&name), name.width(), width, column.number, last)
            })
            .collect();
        let mut rules: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        if widths.len() < self.columns.len() {
            cells.push("…".to_owned());
            rules.push("─".to_owned());
        }
        let line = format!(" {}\n", cells.join(&style.dim(" │ ")));
        out.extend_from_slice(line.as_bytes());
        let rule = format!("─{}─", rules.join("─┼─"));
        // The last `─` is the only character beyond the values.
        let fits = self.layout.width.is_none_or(|limit| rule.width() <= limit);
        let rule = if fits {
            &rule
        } else {
            rule.strip_suffix('─').unwrap_or(&rule)
        };
        out.extend_from_slice(style.dim(rule).as_bytes());
        out.push(b'\n');
    }

    fn push_row(&mut self, row: &Row, widths: &[usize], out: &mut Vec<u8>) {
        let style = self.layout.style;
        if self.is_text() {
            let text = row[0].as_deref().unwrap_or(null_text(self.layout));
            let text = if row[0].is_none() {
                style.dim(text)
            } else {
                text.to_owned()
            };
            for line in text.split('\n') {
                out.extend_from_slice(format!(" {line}").trim_end().as_bytes());
                out.push(b'\n');
            }
            return;
        }
        let mut cells = Vec::with_capacity(row.len());
        for (at, ((value, column), &width)) in row.iter().zip(&self.columns).zip(widths).enumerate() {
            let text = cut(value.as_deref().unwrap_or(null_text(self.layout)), width);
            self.cut |= value.as_ref().is_some_and(|value| *value != text);
            let shown = if value.is_none() {
                style.dim(&text)
            } else {
                text.clone()
            };
            let last = at + 1 == self.columns.len();
            cells.push(pad(&shown, text.width(), width, column.number, last));
        }
        if widths.len() < self.columns.len() {
            cells.push(style.dim("…"));
        }
        out.extend_from_slice(format!(" {}\n", cells.join(&style.dim(" │ "))).as_bytes());
    }

    fn push_expanded(&self, row: &Row, out: &mut Vec<u8>) {
        let style = self.layout.style;
        let names = self.columns.iter().map(|column| column.name.width()).max().unwrap_or(0);
        let title = format!("─[ row {} ]", self.written);
        let rule = "─".repeat(
            (names + 20)
                .min(self.layout.width.unwrap_or(usize::MAX))
                .saturating_sub(title.width()),
        );
        out.extend_from_slice(style.dim(&format!("{title}{rule}")).as_bytes());
        out.push(b'\n');
        for (value, column) in row.iter().zip(&self.columns) {
            let text = match value {
                Some(text) => text.clone(),
                None => style.dim(null_text(self.layout)),
            };
            let mut name = pad(&style.bold(&column.name), column.name.width(), names, false, false);
            for line in text.split('\n') {
                let line = format!(" {name}{}{line}", style.dim(" │ "));
                out.extend_from_slice(line.trim_end().as_bytes());
                out.push(b'\n');
                name = " ".repeat(names);
            }
        }
    }
}

/// A mark for each weight.
fn marks(weights: &[i64]) -> Vec<Option<String>> {
    weights
        .iter()
        .map(|&weight| {
            Some(match weight {
                1 => "+".to_owned(),
                -1 => "-".to_owned(),
                weight => format!("{weight:+}"),
            })
        })
        .collect()
}

/// What stands for NULL. Without emphasis it needs brackets, to be no text.
fn null_text(layout: Layout) -> &'static str {
    if layout.style.colors() { "NULL" } else { "[NULL]" }
}

fn line_width(widths: &[usize]) -> usize {
    1 + widths.iter().sum::<usize>() + SEPARATOR * widths.len().saturating_sub(1)
}

/// The beginning of `text` in at most `width` columns, with `…` where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut used = 1;
    for ch in text.chars() {
        used += ch.width().unwrap_or(0);
        if used > width {
            break;
        }
        shown.push(ch);
    }
    shown.push('…');
    shown
}

/// `shown`, whose text takes `taken` columns, in `width` columns. The last column of a line needs
/// no spaces behind it.
fn pad(shown: &str, taken: usize, width: usize, right: bool, last: bool) -> String {
    let spaces = " ".repeat(width.saturating_sub(taken));
    match (right, last) {
        (true, _) => format!("{spaces}{shown}"),
        (false, false) => format!("{shown}{spaces}"),
        (false, true) => shown.to_owned(),
    }
}

#[cfg(test)]
mod tests;
