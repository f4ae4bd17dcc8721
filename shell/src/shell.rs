//! Statements and commands carried out: what the interactive shell and scripts have in common.
//!
//! A statement goes to the client as it is; what comes back is written as it comes, and Ctrl-C
//! ends it at any moment by dropping it. The client says what that ends in the server as well.

mod push;
mod wait;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::{Client, Reply, ReplyBody, RowStream};
use crate::command::{self, Command};
use crate::failure::Failure;
use crate::format::{Format, Layout, Printer};
use crate::screen::Screen;
use crate::script;

/// What `\timing`, `\x` and `\format` change.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How rows are written.
    pub format: Format,
    /// Tables have one column a line.
    pub expanded: bool,
    /// Say how long statements took.
    pub timing: bool,
}

/// Whether there is more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// `\q`.
    Quit,
}

/// Carries out statements and commands.
pub struct Shell {
    client: Arc<Client>,
    pub screen: Screen,
    pub settings: Settings,
    /// A person types the statements.
    interactive: bool,
    interrupt: Signal,
    /// Files that are being read by `\i`, one inside the other.
    depth: usize,
}

impl Shell {
    /// A shell over a client. Needs to be called inside a tokio runtime; from then on Ctrl-C ends
    /// statements and not the process.
    pub fn new(client: Arc<Client>, format: Format, interactive: bool) -> Result<Shell, Failure> {
        let interrupt = signal(SignalKind::interrupt())
            .map_err(|error| Failure::Message(format!("can't listen for Ctrl-C: {error}")))?;
        Ok(Shell {
            client,
            screen: Screen::of_process(),
            settings: Settings {
                format,
                expanded: false,
                timing: interactive,
            },
            interactive,
            interrupt,
            depth: 0,
        })
    }

    /// What the statements go to.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Forgets a Ctrl-C that came before anything ran.
    pub fn forget_interrupt(&mut self) {
        while self.interrupt.recv().now_or_never().is_some() {}
    }

    /// Runs one statement and writes its answer.
    pub async fn statement(&mut self, sql: &str) -> Result<(), Failure> {
        let started = Instant::now();
        let client = self.client.clone();
        let reply = self.waited(client.run(sql)).await?;
        let Reply { notices, body } = reply.map_err(|error| Failure::Message(error.to_string()))?;
        self.notices(notices);
        match body {
            ReplyBody::Done(tag) => self.tag(&tag, started.elapsed()),
            ReplyBody::Rows(rows) => self.rows(rows, started).await,
            ReplyBody::Push(rows, kind) => self.push(rows, kind, started).await,
        }
    }

    /// Carries out a line that begins with a backslash.
    pub async fn command(&mut self, line: &str) -> Result<Flow, Failure> {
        let settings = &mut self.settings;
        let said = match command::parse(line)? {
            Command::Quit => return Ok(Flow::Quit),
            Command::Help => command::HELP.trim_end().to_owned(),
            Command::Sql(sql) => {
                self.statement(&sql).await?;
                return Ok(Flow::Continue);
            }
            Command::Include(path) => return self.include(&path).await,
            Command::Timing(on) => {
                settings.timing = on.unwrap_or(!settings.timing);
                format!("Timing is {}.", on_off(settings.timing))
            }
            Command::Expanded(on) => {
                settings.expanded = on.unwrap_or(!settings.expanded);
                format!("Expanded display is {}.", on_off(settings.expanded))
            }
            Command::Format(format) => {
                settings.format = format.unwrap_or(settings.format);
                format!("Format is {}.", settings.format.name())
            }
        };
        if self.interactive || self.settings.format == Format::Table {
            self.screen.line(&said)?;
        }
        Ok(Flow::Continue)
    }

    /// Runs the statements of a file.
    async fn include(&mut self, path: &str) -> Result<Flow, Failure> {
        const DEEPEST: usize = 16;
        if self.depth == DEEPEST {
            return Err(Failure::Message(format!(
                "{path} is not read: {DEEPEST} files read one another with \\i already"
            )));
        }
        let file =
            std::fs::File::open(path).map_err(|error| Failure::Message(format!("can't read {path}: {error}")))?;
        self.depth += 1;
        let result = Box::pin(script::run(self, std::io::BufReader::new(file), Some(path))).await;
        self.depth -= 1;
        result
    }

    /// Writes what a command or an update answered. Programs that read rows are not told.
    fn tag(&self, tag: &str, took: Duration) -> Result<(), Failure> {
        if !self.interactive && self.settings.format != Format::Table {
            return Ok(());
        }
        let time = match self.settings.timing {
            true => self.screen.style.dim(&format!(" ({})", time(took))),
            false => String::new(),
        };
        self.screen.line(&format!("{tag}{time}"))
    }

    fn notices(&self, notices: Vec<String>) {
        for notice in notices {
            let style = self.screen.error_style;
            self.screen.error_line(&style.dim(&format!("notice: {notice}")));
        }
    }

    /// Writes rows that end.
    async fn rows(&mut self, mut rows: RowStream, started: Instant) -> Result<(), Failure> {
        let mut printer = Printer::new(self.settings.format, &rows.schema, self.layout())?;
        let mut out = Vec::new();
        let mut count = 0;
        while let Some(batch) = self.waited(rows.stream.next()).await? {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    // What came before is right, and may help to find out.
                    if count > 0 {
                        printer.flush(&mut out);
                        self.screen.write(&out)?;
                    }
                    return Err(Failure::Message(error.to_string()));
                }
            };
            count += batch.num_rows();
            printer.rows(&batch, &mut out)?;
            self.screen.write(&out)?;
            out.clear();
        }
        printer.end(&mut out);
        self.screen.write(&out)?;
        self.footer(&rows_text(count), started.elapsed(), printer.note())?;
        let late = rows.late.lock().map(|mut late| std::mem::take(&mut *late));
        self.notices(late.unwrap_or_default());
        Ok(())
    }

    /// Writes the line below a table.
    fn footer(&self, what: &str, took: Duration, note: Option<&str>) -> Result<(), Failure> {
        if self.settings.format != Format::Table {
            return Ok(());
        }
        let time = match self.settings.timing {
            true => format!(", {}", time(took)),
            false => String::new(),
        };
        let note = note.map(|note| format!("; {note}")).unwrap_or_default();
        self.screen
            .line(&self.screen.style.dim(&format!("({what}{time}{note})")))
    }

    fn layout(&self) -> Layout {
        Layout {
            width: self.screen.size().map(|(width, _)| width),
            style: self.screen.style,
            expanded: self.settings.expanded,
            ..Layout::default()
        }
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// `1 row`, `12,345 rows`.
fn rows_text(count: usize) -> String {
    match count {
        1 => "1 row".to_owned(),
        count => format!("{} rows", grouped(count as u64)),
    }
}

/// A number with a comma before every third digit.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time as one would say it.
fn time(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match seconds {
        0.0..0.01 => format!("{:.1} ms", seconds * 1e3),
        0.01..0.9995 => format!("{:.0} ms", seconds * 1e3),
        0.9995..60.0 => format!("{seconds:.2} s"),
        _ => format!("{} min {} s", took.as_secs() / 60, took.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_readable() {
        assert_eq!(rows_text(0), "0 rows");
        assert_eq!(rows_text(1), "1 row");
        assert_eq!(rows_text(123), "123 rows");
        assert_eq!(rows_text(1_234_567), "1,234,567 rows");
        assert_eq!(time(Duration::from_micros(1_240)), "1.2 ms");
        assert_eq!(time(Duration::from_micros(123_456)), "123 ms");
        assert_eq!(time(Duration::from_micros(999_600)), "1.00 s");
        assert_eq!(time(Duration::from_millis(12_345)), "12.35 s");
        assert_eq!(time(Duration::from_secs(125)), "2 min 5 s");
    }
}
