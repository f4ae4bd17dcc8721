//! Lines that the user types while the board is drawn.
//!
//! A thread that waits on standard input would still wait there when the shell opens, and take its
//! first line. So the terminal is opened a second time, in a way that never waits.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

/// `O_NONBLOCK`, which the standard library has no name for.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NONBLOCK: i32 = 0o4000;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const NONBLOCK: i32 = 0x4;

/// The terminal, open for reading.
pub struct Typing {
    terminal: File,
}

impl Typing {
    /// Opens the terminal of this process; none where there is no such thing.
    pub fn open() -> Option<Typing> {
        let mut options = File::options();
        options.read(true).custom_flags(NONBLOCK);
        let terminal = options.open("/dev/tty").ok()?;
        Some(Typing { terminal })
    }

    /// Takes what was typed and says how many lines it was.
    pub fn lines(&mut self) -> usize {
        let mut lines = 0;
        let mut buffer = [0; 1024];
        loop {
            match self.terminal.read(&mut buffer) {
                Ok(0) => return lines,
                Ok(read) => lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nothing more is there for now, or the terminal is gone, which the board will notice.
                Err(_) => return lines,
            }
        }
    }
}
