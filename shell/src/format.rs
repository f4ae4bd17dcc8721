//! Rows as text: a table for eyes, CSV and JSON for programs.
//!
//! CSV and JSON are written by the engine's own encoders, so what the shell writes is what a sink
//! writes and a source reads back.

mod cells;
mod machine;
mod table;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::screen::Style;

use self::machine::MachinePrinter;
pub use self::table::TablePrinter;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns under each other, for eyes
    Table,
    /// RFC 4180 with a header; NULL is nothing, the empty text is ""
    Csv,
    /// One array of objects per statement
    Json,
    /// An object a line
    Ndjson,
}

impl Format {
    /// The format's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
        }
    }

    /// The format of a name.
    pub fn of_name(name: &str) -> Option<Format> {
        [Format::Table, Format::Csv, Format::Json, Format::Ndjson]
            .into_iter()
            .find(|format| format.name() == name)
    }
}

/// How a table is laid out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout {
    /// Columns of the terminal, which lines may not exceed; none: lines are as long as they are.
    pub width: Option<usize>,
    /// Emphasis.
    pub style: Style,
    /// One column a line.
    pub expanded: bool,
    /// The last column is a weight, and is written as a mark before the row: `+` or `-`.
    pub marks: bool,
    /// Every row is one line, also where there is but one column.
    pub one_line: bool,
}

/// Writes the batches of one result.
pub enum Printer {
    /// For eyes.
    Table(TablePrinter),
    /// For programs.
    Machine(MachinePrinter),
}

impl Printer {
    /// A printer of rows of `schema`.
    ///
    /// # Errors
    /// Two columns of one name, where that matters.
    pub fn new(format: Format, schema: &SchemaRef, layout: Layout) -> Result<Printer, String> {
        Ok(match format {
            Format::Table => Printer::Table(TablePrinter::new(schema, layout)),
            _ => Printer::Machine(MachinePrinter::new(format, schema)?),
        })
    }

    /// Takes rows and appends what can be written of them already.
    pub fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Printer::Table(table) => table.rows(batch, out),
            Printer::Machine(machine) => machine.rows(batch, out),
        }
    }

    /// Appends all rows taken so far.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if let Printer::Table(table) = self {
            table.flush(out);
        }
    }

    /// Appends what is left, and the end.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        match self {
            Printer::Table(table) => table.end(out),
            Printer::Machine(machine) => machine.end(out),
        }
    }

    /// What the table could not show, in words.
    pub fn note(&self) -> Option<&'static str> {
        match self {
            Printer::Table(table) => table.note(),
            Printer::Machine(_) => None,
        }
    }
}
