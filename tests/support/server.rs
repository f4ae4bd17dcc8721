//! `weir serve` as a process of its own, for tests that come to it from outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::program;

/// Longer than a start or a stop takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server that runs. Dropping it kills it; so does the end of the test's thread.
pub struct Server {
    child: Child,
    /// Where gRPC is: `127.0.0.1:40001`.
    pub grpc: String,
    /// Where HTTP is.
    pub http: String,
    stderr: Receiver<String>,
}

/// How a server ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it took from the signal.
    pub after: Duration,
}

/// The command that serves a data directory on free ports of loopback.
pub fn command(data: &Path) -> Command {
    // The kernel kills the server when the thread that started it is gone, whatever happened to the test.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program::weir());
    command.args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"]);
    command.arg(data).stdin(Stdio::null());
    command
}

impl Server {
    /// Starts a server and waits until it can be connected to.
    ///
    /// # Panics
    /// If it doesn't come up; with what it wrote.
    pub fn start(data: &Path) -> Server {
        let mut command = command(data);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv");
        let stdout = lines(child.stdout.take().expect("a pipe"));
        let stderr = lines(child.stderr.take().expect("a pipe"));
        let mut server = Server {
            child,
            grpc: String::new(),
            http: String::new(),
            stderr,
        };
        let deadline = Instant::now() + PATIENCE;
        while server.grpc.is_empty() || server.http.is_empty() {
            let line = stdout.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("the server did not come up: {}", server.complaint()));
            if let Some((what, address)) = line.split_once(" on http://") {
                match what.starts_with("gRPC") {
                    true => server.grpc = address.trim().to_string(),
                    false => server.http = address.trim().to_string(),
                }
            }
        }
        server
    }

    fn complaint(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr.iter().collect::<Vec<_>>().join("\n")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where clients of ours and drivers connect.
    pub fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Runs SQL by `weir --connect … -c`, and gives what it prints as CSV.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, sql: &str) -> String {
        let mut command = Command::new(program::weir());
        command.args(["--connect", &self.url(), "--format", "csv", "-c", sql]);
        let outcome = program::run(&mut command, PATIENCE);
        assert!(outcome.success, "{sql}: {outcome:?}");
        outcome.stdout
    }

    /// What HTTP answers: the code and the body.
    ///
    /// # Panics
    /// If it doesn't.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.http).expect("the HTTP port");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.expect("a code"), body.to_string())
    }

    /// A sample of `/metrics`, by its name and labels as they stand there.
    ///
    /// # Panics
    /// If there is none.
    pub fn metric(&self, series: &str) -> f64 {
        let (code, page) = self.get("/metrics");
        assert_eq!(code, 200, "{page}");
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no {series} in\n{page}"));
        value.parse().expect("a number")
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Panics
    /// If it doesn't end.
    pub fn terminate(mut self) -> Ended {
        let sent = Instant::now();
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(status.expect("kill").success());
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return Ended {
                    status,
                    after: sent.elapsed(),
                    stderr: self.stderr.iter().collect::<Vec<_>>().join("\n"),
                };
            }
            assert!(sent.elapsed() < PATIENCE, "it does not end: {}", self.complaint());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of a pipe as they come. The pipe is read whether anybody listens or not.
pub fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    receive
}

/// Waits for a line that begins so, and gives its rest.
///
/// # Panics
/// If it doesn't come.
pub fn await_line(lines: &Receiver<String>, beginning: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut before = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => match line.strip_prefix(beginning) {
                Some(rest) => return rest.to_string(),
                None => before.push(line),
            },
            Err(RecvTimeoutError::Timeout) => panic!("no line '{beginning}' in time: {before:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended without a line '{beginning}': {before:?}"),
        }
    }
}

/// Waits until something holds.
///
/// # Panics
/// If it doesn't come about.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}
