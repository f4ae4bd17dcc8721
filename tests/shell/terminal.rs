//! A terminal of 80 columns with `weir` in it, driven by what it shows.
//!
//! The terminal is that of `script`, which every Linux has; where it is missing the test is noted as
//! skipped.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use weir_suite::program;

/// Far more than anything takes to appear.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not yet expected, without colors.
    shown: String,
}

impl Terminal {
    /// Runs `weir` with arguments that need no quoting.
    pub fn open(test: &str, arguments: &[&str]) -> Option<Terminal> {
        if Command::new("script").arg("--version").output().is_err() {
            program::skip(test, "there is no terminal: the program `script` is missing");
            return None;
        }
        let weir = program::weir();
        let line = format!(
            "stty rows 24 cols 80; exec '{}' {}",
            weir.display(),
            arguments.join(" ")
        );
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &line])
            .arg("/dev/null")
            .env("TERM", "xterm")
            .env("WEIR_HISTORY", "")
            .env("SHELL", "/bin/sh")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script");
        let keys = child.stdin.take().expect("a pipe");
        let mut output = child.stdout.take().expect("a pipe");
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Some(Terminal {
            child,
            keys,
            screen,
            shown: String::new(),
        })
    }

    /// Presses keys.
    pub fn types(&mut self, keys: &str) {
        self.keys
            .write_all(keys.replace('\n', "\r").as_bytes())
            .expect("a terminal");
        self.keys.flush().expect("a terminal");
    }

    /// Waits until `text` is shown, behind what was expected before.
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{text:?} is not shown ({error}), but {:?}", self.shown),
            }
            self.shown = without_colors(&self.shown);
        }
    }

    /// The code that the program ends with, by itself.
    pub fn code(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end");
    }
}

impl Drop for Terminal {
    /// A test that fails leaves nothing running: without its terminal the program ends.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Text without sequences that only change its looks: `ESC [ … m`.
fn without_colors(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        let codes = &rest[at + 2..];
        let end = codes.find(|ch: char| !ch.is_ascii_digit() && ch != ';');
        plain.push_str(&rest[..at]);
        match end {
            Some(end) if codes[end..].starts_with('m') => rest = &codes[end + 1..],
            _ => {
                plain.push_str("\x1b[");
                rest = codes;
            }
        }
    }
    plain.push_str(rest);
    plain
}
