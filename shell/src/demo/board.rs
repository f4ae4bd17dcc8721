//! The board that is drawn again and again while the demo is watched: a clock of event time, the
//! three views, and whether they agree.
//!
//! Lines are overwritten one by one and never wider than the terminal, so nothing flickers and
//! their number is known when the cursor goes back up.

use arrow::array::RecordBatch;

use super::data::{self, moment, moment_of_us};
use super::question;
use super::tally::Tally;
use crate::failure::Failure;
use crate::format::{Layout, TablePrinter};
use crate::screen::Screen;
use crate::shell::grouped;

/// Lines that are always there: the clock, the last line, the cursor's own, and of each view its
/// question, its header and the rule below it.
const FRAME: usize = 3 + 3 * 3;
/// Kinds of weather.
const SKIES: usize = 6;
/// Airports.
const AIRPORTS: usize = 3;
/// Airlines.
const AIRLINES: usize = 16;

/// A view on the board.
pub struct Pane {
    query: &'static str,
    rows: usize,
    printer: Option<TablePrinter>,
}

impl Pane {
    fn new(query: &'static str, rows: usize) -> Pane {
        Pane {
            query,
            rows,
            printer: None,
        }
    }

    /// What is asked for it.
    pub fn sql(&self) -> String {
        format!("{} LIMIT {}", self.query, self.rows)
    }
}

/// The board.
pub struct Board {
    screen: Screen,
    panes: Vec<Pane>,
    airy: bool,
    /// Lines above the cursor that are the board's.
    drawn: usize,
}

impl Board {
    /// A board for the screen; none where it can't be drawn again, or is too small.
    pub fn new(screen: Screen) -> Option<Board> {
        let (width, height) = screen.size().filter(|_| screen.redraws)?;
        if width < 60 {
            return None;
        }
        let rows = height.checked_sub(FRAME)?;
        let ([departures, skies, airlines], airy) = share(rows)?;
        Some(Board {
            screen,
            panes: vec![
                Pane::new(question::DEPARTURES, departures),
                Pane::new(question::WEATHER, skies),
                Pane::new(question::CARRIERS, airlines),
            ],
            airy,
            drawn: 0,
        })
    }

    /// The views on it.
    pub fn panes(&self) -> &[Pane] {
        &self.panes
    }

    /// The user has typed so many lines, and they stand below the board now.
    pub fn typed(&mut self, lines: usize) {
        self.drawn += lines;
    }

    /// Draws it over what was drawn before. `rows` are those of the panes.
    ///
    /// # Errors
    /// If a value can't be shown, or the terminal is gone.
    pub fn draw(&mut self, minute: u32, tally: &Tally, rows: &[RecordBatch], last: &str) -> Result<(), Failure> {
        let width = self.screen.size().map_or(80, |(width, _)| width);
        let style = self.screen.style;
        let mut out = Vec::new();
        out.extend(clock(minute, tally, width).into_bytes());
        out.push(b'\n');
        for (pane, batch) in self.panes.iter_mut().zip(rows) {
            if self.airy {
                out.push(b'\n');
            }
            out.extend(style.dim(&cut(&format!("{};", pane.query), width)).into_bytes());
            out.push(b'\n');
            let layout = Layout {
                width: Some(width),
                style,
                one_line: true,
                ..Layout::default()
            };
            let printer = pane
                .printer
                .get_or_insert_with(|| TablePrinter::new(&batch.schema(), layout));
            printer.frame(batch, width, &mut out)?;
        }
        if self.airy {
            out.push(b'\n');
        }
        out.extend(cut(last, width).into_bytes());
        out.push(b'\n');
        self.replace(&out)
    }

    fn replace(&mut self, lines: &[u8]) -> Result<(), Failure> {
        let mut out = Vec::with_capacity(lines.len() + 256);
        if self.drawn > 0 {
            out.extend(format!("\r\x1b[{}A", self.drawn).into_bytes());
        }
        self.drawn = 0;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            // What was longer before is erased behind the new line.
            out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            out.extend_from_slice(b"\x1b[K\n");
            self.drawn += 1;
        }
        out.extend_from_slice(b"\x1b[J");
        self.screen.write(&out)
    }
}

/// So many lines dealt to the rows of departures, skies and airlines, and whether there is room
/// for empty lines between; none where there are too few.
fn share(lines: usize) -> Option<([usize; 3], bool)> {
    let least = AIRPORTS + 2 + 2;
    let spare = lines.checked_sub(least)?;
    let skies = (2 + spare).min(SKIES);
    let spare = lines - AIRPORTS - skies - 2;
    let airy = spare >= 8;
    let spare = if airy { spare - 4 } else { spare };
    let departures = if spare >= 2 * AIRPORTS { 2 * AIRPORTS } else { AIRPORTS };
    let airlines = (2 + spare + AIRPORTS - departures).min(AIRLINES);
    Some(([departures, skies, airlines], airy))
}

/// The first line: event time, how much of the month is over, and how quick it goes.
pub fn clock(minute: u32, tally: &Tally, width: usize) -> String {
    let now = moment(minute.min(data::MINUTES - 1));
    let watermark = tally.watermark_us.map_or("none yet".to_string(), moment_of_us);
    let numbers = format!(
        "{} records  {}/s  watermark {watermark}",
        grouped(tally.records()),
        grouped(tally.rate())
    );
    let room = width.saturating_sub(now.len() + numbers.len() + 5).min(40);
    let done = (room as u64 * u64::from(minute.min(data::MINUTES)) / u64::from(data::MINUTES)) as usize;
    let bar = format!("{}{}", "━".repeat(done), "─".repeat(room - done));
    cut(&format!("{now}  {bar}  {numbers}"), width)
}

/// A line that leaves the last column of the terminal free; text of characters one column wide.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() < width {
        return line.to_string();
    }
    let beginning: String = line.chars().take(width.saturating_sub(2)).collect();
    format!("{beginning}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_fills_the_screen_and_no_more() {
        for height in 0..80usize {
            let Some((rows, airy)) = height.checked_sub(FRAME).and_then(share) else {
                assert!(height < 19, "{height} lines are enough");
                continue;
            };
            let used = FRAME + rows.iter().sum::<usize>() + if airy { 4 } else { 0 };
            assert!(used <= height, "{height} lines: {rows:?} {airy}");
            assert!(used == height || rows[2] == AIRLINES, "{height} lines: {rows:?} {airy}");
        }
        assert_eq!(share(24 - FRAME), Some(([3, 6, 3], false)));
        assert_eq!(share(50 - FRAME), Some(([6, 6, 16], true)));
    }

    #[test]
    fn the_clock_fits_its_line() {
        let tally = Tally::default();
        for width in 60..140 {
            for minute in [0, 1, 20_000, data::MINUTES, data::MINUTES + 10] {
                let line = clock(minute, &tally, width);
                assert!(line.chars().count() < width, "{width}: {line}");
            }
        }
    }
}
