//! The `weir` binary: a shell with the engine inside it, a server, a client, and a demo.

mod cli;
mod client;
mod command;
mod connection;
mod demo;
mod failure;
mod format;
mod logs;
mod repl;
mod screen;
mod script;
mod serve;
mod shell;
mod watch;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Runtime;

use crate::cli::{Cli, Command, LogArgs, ShellArgs};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::shell::Shell;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        None => log(&cli.shell.log, "warn").and_then(|()| run(&cli.shell)),
        Some(Command::Serve(args)) => log(&args.log, "info").and_then(|()| serve::run(args)),
        Some(Command::Demo(args)) => log(&args.log, "error").and_then(|()| runtime()?.block_on(demo::run(args))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.is_told() {
                Screen::of_process().error("error:", &failure.to_string());
            }
            failure.exit_code()
        }
    }
}

fn log(args: &LogArgs, unless_said: &str) -> Result<(), Failure> {
    Ok(logs::start(args.log.as_deref().unwrap_or(unless_said))?)
}

/// `weir` without a subcommand: statements given, or the interactive shell.
fn run(args: &ShellArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let connection = Connection::open(args).await?;
        let result = work(args, &connection).await;
        connection.close().await;
        result
    });
    end(runtime);
    result
}

async fn work(args: &ShellArgs, connection: &Connection) -> Result<(), Failure> {
    let terminal = args.command.is_none() && args.file.is_none() && io::stdin().is_terminal();
    let mut shell = Shell::new(connection.client.clone(), args.format, terminal)?;
    if terminal {
        let name = format!("Weir {}", env!("CARGO_PKG_VERSION"));
        let name = shell.screen.style.bold(&name);
        let banner = format!("{name} · {} · \\? for help", connection.place);
        shell.screen.line(&banner)?;
        return repl::run(&mut shell).await;
    }
    let flow = match (&args.command, &args.file) {
        (Some(sql), _) => script::run(&mut shell, sql.as_bytes(), None).await,
        (None, Some(path)) if path.as_os_str() != "-" => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| format!("can't read {name}: {error}"))?;
            script::run(&mut shell, BufReader::new(file), Some(&name)).await
        }
        _ => script::run(&mut shell, BufReader::new(io::stdin()), Some("stdin")).await,
    };
    flow.map(|_| ())
}

/// The runtime that the client, and the server where it is in this process, run on.
/// How long tasks that are still on their way may keep the process.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// Lets all tasks end. A task may be the last to hold the store, and closing that while the process
/// is being taken down would abort it.
fn end(runtime: Runtime) {
    runtime.shutdown_timeout(LAST_STEPS);
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("weir")
        .build()
        .map_err(|error| Failure::Message(format!("can't start threads: {error}")))
}
