//! Push queries: rows that keep coming, until Ctrl-C, a LIMIT or the end of their inputs.
//!
//! Where rows are only added they are appended. Where they change, a terminal shows the table as it
//! is now, drawn again in its place, and anything else gets the changes themselves.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::StreamExt;

use super::wait::StatusLine;
use super::{Shell, grouped, rows_text, time};
use crate::client::{ClientError, PushKind, RowStream};
use crate::failure::Failure;
use crate::format::{Format, Layout, Printer, TablePrinter};
use crate::screen::Screen;
use crate::watch::Watch;

/// Time between two drawings: what is quicker nobody sees.
const FRAME: Duration = Duration::from_millis(100);

/// What came next.
enum Next {
    Rows(RecordBatch),
    Failed(ClientError),
    Ended,
    Cancelled,
    Tick,
}

impl Shell {
    /// Writes rows as they come.
    pub(super) async fn push(&mut self, rows: RowStream, kind: PushKind, started: Instant) -> Result<(), Failure> {
        let table = self.settings.format == Format::Table;
        if kind == PushKind::Updating
            && table
            && !self.settings.expanded
            && self.screen.redraws
            && let Some(watch) = Watch::new(&rows.schema)
        {
            return self.watch(rows, watch, started).await;
        }
        let layout = Layout {
            marks: table && kind == PushKind::Updating,
            ..self.layout()
        };
        let printer = Printer::new(self.settings.format, &rows.schema, layout)?;
        self.append(rows, printer, kind, started).await
    }

    async fn append(
        &mut self,
        mut rows: RowStream,
        mut printer: Printer,
        kind: PushKind,
        started: Instant,
    ) -> Result<(), Failure> {
        let mut status = StatusLine::new(self.screen);
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut count = 0;
        let mut out = Vec::new();
        let last = loop {
            match self.next(&mut rows, &mut ticks).await {
                Next::Rows(batch) => {
                    status.clear();
                    count += batch.num_rows();
                    printer.rows(&batch, &mut out)?;
                    printer.flush(&mut out);
                    self.screen.write(&out)?;
                    out.clear();
                }
                Next::Tick if count == 0 && started.elapsed() > Duration::from_secs(1) => {
                    status.show("no rows yet; Ctrl-C ends the query");
                }
                Next::Tick => {}
                last => break last,
            }
        };
        status.clear();
        if !matches!(last, Next::Failed(_)) {
            printer.end(&mut out);
            self.screen.write(&out)?;
            let what = match kind {
                PushKind::Append => rows_text(count),
                PushKind::Updating | PushKind::Subscription => changes_text(count as u64),
            };
            self.footer(&what, started.elapsed(), printer.note())?;
        }
        self.end(last)
    }

    /// Draws the table that the changes have come to.
    async fn watch(&mut self, mut rows: RowStream, mut watch: Watch, started: Instant) -> Result<(), Failure> {
        let mut picture = Picture::new(self.screen, &watch, self.layout());
        let mut ticks = tokio::time::interval(FRAME);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let last = loop {
            match self.next(&mut rows, &mut ticks).await {
                Next::Rows(batch) => watch.apply(&batch)?,
                Next::Tick => picture.draw(&watch, None)?,
                last => break last,
            }
        };
        picture.draw(&watch, Some(started.elapsed()))?;
        self.end(last)
    }

    /// The next rows, or the next tick. Ticks go first: rows that never pause must not hide them.
    async fn next(&mut self, rows: &mut RowStream, ticks: &mut tokio::time::Interval) -> Next {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Next::Cancelled,
            _ = ticks.tick() => Next::Tick,
            batch = rows.stream.next() => match batch {
                Some(Ok(batch)) => Next::Rows(batch),
                Some(Err(error)) => Next::Failed(error),
                None => Next::Ended,
            },
        }
    }

    /// For a person who watches, Ctrl-C is how a push query ends.
    fn end(&self, last: Next) -> Result<(), Failure> {
        match last {
            Next::Failed(error) => Err(Failure::Message(error.to_string())),
            Next::Cancelled if !self.interactive => Err(Failure::Cancelled),
            _ => Ok(()),
        }
    }
}

/// `1 change`, `12,345 changes`.
fn changes_text(count: u64) -> String {
    match count {
        1 => "1 change".to_owned(),
        count => format!("{} changes", grouped(count)),
    }
}

/// A table on the terminal, drawn again over itself.
struct Picture {
    screen: Screen,
    table: TablePrinter,
    /// Lines between the cursor and the picture's first line.
    lines: usize,
    /// Size of the terminal when it was drawn.
    size: (usize, usize),
    /// Changes that are in the picture.
    drawn: Option<u64>,
    rate: Rate,
}

impl Picture {
    fn new(screen: Screen, watch: &Watch, layout: Layout) -> Picture {
        let layout = Layout {
            one_line: true,
            ..layout
        };
        Picture {
            screen,
            table: TablePrinter::new(watch.schema(), layout),
            lines: 0,
            size: (0, 0),
            drawn: None,
            rate: Rate::begin(),
        }
    }

    /// Draws what has changed: the rows, or only the rate. It is for the last time when it has
    /// `taken` its time.
    fn draw(&mut self, watch: &Watch, taken: Option<Duration>) -> Result<(), Failure> {
        let size = self.screen.size().unwrap_or((80, 24));
        let rate_changed = self.rate.measure(watch.changes(), Instant::now());
        if self.drawn == Some(watch.changes()) && size == self.size && !rate_changed && taken.is_none() {
            return Ok(());
        }
        let (width, height) = size;
        // Header, rule, status, and the line where the cursor waits.
        let room = height.saturating_sub(4).max(1);
        let mut text = Vec::new();
        // In the last column some terminals would clear the line's last character, not what is behind it.
        let width = width.saturating_sub(1).max(1);
        self.table.frame(&watch.first(room)?, width, &mut text)?;
        let status = self.status(watch, room, taken);
        let status: String = status.chars().take(width).collect();
        text.extend_from_slice(self.screen.style.dim(&status).as_bytes());
        text.push(b'\n');
        self.screen.write(&self.over(&text, size))?;
        self.lines = text.iter().filter(|byte| **byte == b'\n').count();
        self.size = size;
        self.drawn = Some(watch.changes());
        Ok(())
    }

    fn status(&self, watch: &Watch, room: usize, taken: Option<Duration>) -> String {
        let count = watch.count().max(0) as usize;
        let rows = match count > room {
            true => format!("first {} of {}", grouped(room as u64), rows_text(count)),
            false => rows_text(count),
        };
        let changes = changes_text(watch.changes());
        match taken {
            Some(taken) => format!("({rows}; {changes} in {})", time(taken)),
            None => match self.rate.per_second {
                Some(rate) => format!("{rows} · {changes} · {}/s · Ctrl-C ends", grouped(rate)),
                None => format!("{rows} · {changes} · Ctrl-C ends"),
            },
        }
    }

    /// Bytes that put `text` where the picture is. Each line is overwritten and its old rest
    /// cleared, which flickers less than clearing everything first.
    fn over(&self, text: &[u8], size: (usize, usize)) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(text.len() + 256);
        if self.lines > 0 && size != self.size {
            // Lines of another width have wrapped: nobody knows where the picture begins.
            bytes.extend_from_slice(b"\x1b[2J\x1b[H");
        } else if self.lines > 0 {
            bytes.extend_from_slice(format!("\r\x1b[{}A", self.lines).as_bytes());
        }
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            bytes.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            bytes.extend_from_slice(b"\x1b[K\n");
        }
        bytes.extend_from_slice(b"\x1b[J");
        bytes
    }
}

/// Changes per second, measured about once a second.
struct Rate {
    since: Instant,
    changes: u64,
    /// Unknown in the first second.
    per_second: Option<u64>,
}

impl Rate {
    fn begin() -> Rate {
        Rate {
            since: Instant::now(),
            changes: 0,
            per_second: None,
        }
    }

    /// Whether the rate is another one than before.
    fn measure(&mut self, changes: u64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        if passed < 1.0 {
            return false;
        }
        let rate = ((changes - self.changes) as f64 / passed).round() as u64;
        (self.since, self.changes) = (now, changes);
        self.per_second.replace(rate) != Some(rate)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::screen::Style;

    fn picture() -> Picture {
        let schema = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("weir_weight", DataType::Int64, false),
        ]));
        let screen = Screen {
            terminal: true,
            error_terminal: true,
            style: Style::new(false),
            error_style: Style::new(false),
            redraws: true,
        };
        Picture::new(screen, &Watch::new(&schema).expect("a watch"), Layout::default())
    }

    #[test]
    fn a_picture_is_drawn_over_the_last_one() {
        let mut picture = picture();
        let first = picture.over(b"a\nb\n", (80, 24));
        assert_eq!(first, b"a\x1b[K\nb\x1b[K\n\x1b[J");
        (picture.lines, picture.size) = (2, (80, 24));
        let second = picture.over(b"c\n", (80, 24));
        assert_eq!(second, b"\r\x1b[2Ac\x1b[K\n\x1b[J");
        let resized = picture.over(b"c\n", (40, 24));
        assert_eq!(resized, b"\x1b[2J\x1b[Hc\x1b[K\n\x1b[J");
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let mut rate = Rate::begin();
        let start = rate.since;
        assert!(!rate.measure(100, start + Duration::from_millis(500)));
        assert_eq!(rate.per_second, None);
        assert!(rate.measure(300, start + Duration::from_secs(2)));
        assert_eq!(rate.per_second, Some(150));
        assert!(rate.measure(300, start + Duration::from_secs(3)));
        assert_eq!(rate.per_second, Some(0));
    }
}
