//! What the program tells of its own doings, on standard error.
//!
//! While a line is being typed, a message must not land in the middle of it: the line editor then
//! gives a printer that knows how to put it above.

use std::io::{self, Write};
use std::str::FromStr;
use std::sync::Mutex;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

type Printer = Box<dyn FnMut(String) -> io::Result<()> + Send>;

static EDITOR: Mutex<Option<Printer>> = Mutex::new(None);

/// Logs at `level` from now on: a level, or `module=level` and more of them behind commas.
pub fn start(level: &str) -> Result<(), String> {
    let filter = Targets::from_str(level)
        .map_err(|error| format!("--log {level}: {error}; it takes off, error, warn, info, debug or trace"))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Sink)
        .with_ansi(false)
        .with_target(false);
    // Only a second call fails, and the first one holds.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init();
    Ok(())
}

/// Messages go through `printer` from now on.
pub fn print_by(printer: impl FnMut(String) -> io::Result<()> + Send + 'static) {
    *editor() = Some(Box::new(printer));
}

/// Messages go to standard error again.
pub fn print_directly() {
    *editor() = None;
}

fn editor() -> std::sync::MutexGuard<'static, Option<Printer>> {
    EDITOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Sink;

impl MakeWriter<'_> for Sink {
    type Writer = Message;

    fn make_writer(&self) -> Message {
        Message(Vec::new())
    }
}

/// One message, written whole when it is complete.
struct Message(Vec<u8>);

impl Write for Message {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let mut editor = editor();
        if let Some(printer) = editor.as_mut()
            && printer(String::from_utf8_lossy(&self.0).into_owned()).is_ok()
        {
            return;
        }
        // Where this fails there is nobody left to tell.
        let _ = io::stderr().lock().write_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked() {
        assert!(start("weir_engine=debug,warn").is_ok());
        assert!(start("loud!=x").is_err_and(|error| error.contains("warn")));
    }

    #[test]
    fn a_message_goes_to_the_line_editor_in_one_piece() {
        let (sender, messages) = std::sync::mpsc::channel();
        print_by(move |message| sender.send(message).map_err(io::Error::other));
        let mut message = Sink.make_writer();
        message.write_all(b"one ").expect("a message");
        message.write_all(b"line\n").expect("a message");
        drop(message);
        print_directly();
        assert_eq!(messages.recv().as_deref(), Ok("one line\n"));
    }
}
