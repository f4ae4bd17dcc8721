//! Waiting for an answer: Ctrl-C ends it, and after a second a line says what it waits for.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write;
use std::time::Duration;

use unicode_width::UnicodeWidthChar;

use super::Shell;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::{Screen, visible};

/// Most answers come before this, and are better without a line that flashes up.
const PATIENCE: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(300);

impl Shell {
    /// Waits for `answer` or for Ctrl-C. Meanwhile it tells what the server waits for.
    pub(super) async fn waited<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Failure> {
        let client = self.client.clone();
        let screen = self.screen;
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Err(Failure::Cancelled),
            answer = answer => Ok(answer),
            never = tell(&client, screen) => match never {},
        }
    }
}

async fn tell(client: &Client, screen: Screen) -> Infallible {
    let mut line = StatusLine::new(screen);
    tokio::time::sleep(PATIENCE).await;
    loop {
        match client.waiting().await {
            Some(what) => line.show(&format!("waiting for {what}; Ctrl-C cancels")),
            None => line.clear(),
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// A line on standard error that is there for a while only. Without a terminal there is none.
pub(super) struct StatusLine {
    screen: Screen,
    shown: bool,
}

impl StatusLine {
    pub(super) fn new(screen: Screen) -> StatusLine {
        StatusLine { screen, shown: false }
    }

    pub(super) fn show(&mut self, text: &str) {
        if !self.screen.error_terminal {
            return;
        }
        let width = self.screen.size().map_or(79, |(width, _)| width.saturating_sub(1));
        let text = beginning(&visible(text), width);
        self.put(&format!("\r\x1b[K{}", self.screen.error_style.dim(&text)));
        self.shown = true;
    }

    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.put("\r\x1b[K");
        }
    }

    fn put(&self, text: &str) {
        let mut out = std::io::stderr().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// As much of a text as fits a line: only a line that has not wrapped can be cleared.
fn beginning(text: &str, width: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|ch| {
            used += ch.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_stays_on_its_line() {
        assert_eq!(beginning("waiting", 20), "waiting");
        assert_eq!(beginning("waiting", 4), "wait");
        assert_eq!(beginning("日本語", 5), "日本");
    }
}
