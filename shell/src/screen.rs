//! What the shell writes to: standard output and error, whether a terminal is behind them, how
//! large it is, and what emphasis it shows.
//!
//! Text is put together first and written in one piece. Whoever reads standard output may stop
//! reading at any time (`weir … | head`): that is no error to report and no reason to panic, so
//! nothing here uses `println!`.

use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;

/// The process's standard output and error.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// A person watches standard output.
    pub terminal: bool,
    /// A person watches standard error.
    pub error_terminal: bool,
    /// Emphasis for standard output.
    pub style: Style,
    /// Emphasis for standard error.
    pub error_style: Style,
    /// The cursor can be moved, so that lines can be drawn again.
    pub redraws: bool,
}

impl Screen {
    /// Looks at the process's streams and at `NO_COLOR` and `TERM`.
    pub fn of_process() -> Screen {
        let terminal = io::stdout().is_terminal();
        let error_terminal = io::stderr().is_terminal();
        let able = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let colors = able && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Screen {
            terminal,
            error_terminal,
            style: Style::new(terminal && colors),
            error_style: Style::new(error_terminal && colors),
            redraws: terminal && able,
        }
    }

    /// Columns and lines of the terminal behind standard output; none where there is no terminal.
    pub fn size(&self) -> Option<(usize, usize)> {
        if !self.terminal {
            return None;
        }
        let (width, height) = terminal_size::terminal_size()?;
        // A terminal that doesn't know its size says 0.
        (width.0 > 0 && height.0 > 0).then(|| (usize::from(width.0), usize::from(height.0)))
    }

    /// Writes to standard output, at once.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// Writes a line to standard output.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.write(format!("{text}\n").as_bytes())
    }

    /// Writes a line to standard error. Where that fails there is nobody left to tell.
    pub fn error_line(&self, text: &str) {
        let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
    }

    /// Writes an error to standard error: its first line is marked, the others stand as they are,
    /// so that a caret stays under its word.
    pub fn error(&self, prefix: &str, message: &str) {
        self.error_line(&format!("{} {}", self.error_style.red(prefix), visible_lines(message)));
    }
}

/// Emphasis by ANSI sequences, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    colors: bool,
}

impl Style {
    /// With emphasis or without.
    pub const fn new(colors: bool) -> Style {
        Style { colors }
    }

    /// Whether there is any emphasis.
    pub const fn colors(self) -> bool {
        self.colors
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// Headings.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Errors.
    pub fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colors && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Text with its control characters written out, line ends and tabs too: what data says must not
/// move the cursor.
pub fn visible(text: &str) -> String {
    escape(text, |_| false)
}

/// As [`visible`], but line ends and tabs stay.
pub fn visible_lines(text: &str) -> String {
    escape(text, |ch| ch == '\n' || ch == '\t')
}

fn escape(text: &str, keep: fn(char) -> bool) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for ch in text.chars() {
        match ch {
            ch if !ch.is_control() || keep(ch) => shown.push(ch),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            ch => shown.push_str(&format!("\\x{:02x}", u32::from(ch))),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(visible("a\nb\t\x1b[31mc\r\u{9b}"), r"a\nb\t\x1b[31mc\r\x9b");
        assert_eq!(visible_lines("a\n\tb\x07"), "a\n\tb\\x07");
        assert_eq!(visible("Zürich ✓"), "Zürich ✓");
    }

    #[test]
    fn without_colors_text_stays_as_it_is() {
        assert_eq!(Style::new(false).red("x"), "x");
        assert_eq!(Style::new(true).dim("x"), "\x1b[2mx\x1b[0m");
        assert_eq!(Style::new(true).dim(""), "");
    }
}
