//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use weir_server::InstanceOptions;

use crate::format::Format;

const AFTER_HELP: &str = "\
Without -c and -f, weir opens its shell on a terminal and reads a script from standard input otherwise.
In the shell, \\? lists what can be typed.";

/// Streaming SQL over Kafka: a shell with the engine inside it, a server, a client.
#[derive(Debug, Parser)]
#[command(name = "weir", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub shell: ShellArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a data directory to clients, until SIGTERM or Ctrl-C
    Serve(ServeArgs),
    /// Show live views over real flights, on an embedded broker or on your Kafka
    Demo(DemoArgs),
}

/// `weir` itself: the shell, and statements given to it.
#[derive(Debug, Args)]
pub struct ShellArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Use a server instead of an engine in this process, such as http://127.0.0.1:50051
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "memory", "tasks", "checkpoint_interval", "query_memory", "changelog_limit"])]
    pub connect: Option<String>,
    /// Run these statements and end
    #[arg(short = 'c', long, value_name = "SQL", conflicts_with = "file")]
    pub command: Option<String>,
    /// Run the statements of a file and end; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How rows are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    #[command(flatten)]
    pub log: LogArgs,
}

/// `weir serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Where gRPC (Arrow Flight SQL) is served; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// Where HTTP (/healthz, /metrics) is served, unless left out
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    #[command(flatten)]
    pub log: LogArgs,
}

/// `weir demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Use this Kafka (host:port) instead of an embedded broker
    #[arg(long, value_name = "ADDRESS")]
    pub bootstrap: Option<String>,
    #[command(flatten)]
    pub log: LogArgs,
}

/// The engine of this process.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "weir-data")]
    pub data: PathBuf,
    /// Keep nothing: everything is gone at the end
    #[arg(long, conflicts_with = "data")]
    pub memory: bool,
    /// Tasks per stage of each pipeline; may differ from start to start [env: WEIR_TASKS] [default: 1]
    #[arg(long, value_name = "N", value_parser = tasks)]
    pub tasks: Option<usize>,
    /// Longest time between two commits under load, such as 200ms or 2s [default: 500ms]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub checkpoint_interval: Option<Duration>,
    /// Memory that all queries may take together, such as 512MB or 8GB [default: a quarter of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub query_memory: Option<u64>,
    /// Changes that may wait for a client that subscribes and reads slowly, such as 64MB [default: 256MB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub changelog_limit: Option<u64>,
}

impl EngineArgs {
    /// What the server is to open. Here and not by clap `WEIR_TASKS` is read, because to clap a
    /// variable is as good as an argument, and then contradicts `--connect`.
    pub fn instance(&self) -> Result<InstanceOptions, String> {
        self.instance_with(std::env::var("WEIR_TASKS").ok().filter(|value| !value.is_empty()))
    }

    fn instance_with(&self, variable: Option<String>) -> Result<InstanceOptions, String> {
        let mut options = InstanceOptions {
            data: (!self.memory).then(|| self.data.clone()),
            ..InstanceOptions::default()
        };
        if let Some(number) = self.tasks {
            options.engine.tasks = number;
        } else if let Some(text) = variable {
            options.engine.tasks = tasks(&text).map_err(|error| format!("WEIR_TASKS: {error}"))?;
        }
        if let Some(interval) = self.checkpoint_interval {
            options.engine.checkpoint_interval = interval;
        }
        options.query_memory = self.query_memory;
        if let Some(bytes) = self.changelog_limit {
            options.engine.changelog_limit = bytes;
        }
        Ok(options)
    }

    /// Where the data is, as the user may read it.
    pub fn place(&self) -> String {
        if self.memory {
            "in memory only: nothing is kept".to_owned()
        } else {
            format!("data in {}", self.data.display())
        }
    }
}

/// What is told about the program's own doings.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// What is logged to standard error: off, error, warn, info, debug, trace, or by module (weir_engine=debug)
    #[arg(long, value_name = "LEVEL", env = "WEIR_LOG")]
    pub log: Option<String>,
}

/// More tasks than shards would have nothing to do.
fn tasks(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(number) if (1..=256).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is no number from 1 to 256")),
    }
}

/// A time such as `500ms`, `2s`, `1.5s` or `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let number = text.trim_end_matches(|ch: char| ch.is_ascii_alphabetic());
    let seconds = match &text[number.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err("a time has a unit: ms, s or m, such as 500ms".to_owned()),
    };
    let value: f64 = number
        .trim_end()
        .parse()
        .map_err(|_| format!("{number:?} is no number"))?;
    let time = Duration::try_from_secs_f64(value * seconds).map_err(|error| error.to_string())?;
    match time.as_millis() {
        0 => Err("it must be at least 1ms".to_owned()),
        _ => Ok(time),
    }
}

/// A size such as `512MB` or `8GB`. Queries need some megabytes to do anything.
fn size(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 32 << 20;
    let text = text.trim();
    let number = text.trim_end_matches(|ch: char| ch.is_ascii_alphabetic());
    let unit: u64 = match text[number.len()..].to_ascii_uppercase().as_str() {
        "MB" | "MIB" => 1 << 20,
        "GB" | "GIB" => 1 << 30,
        _ => return Err("a size has a unit: MB or GB, such as 512MB".to_owned()),
    };
    let number: u64 = number
        .trim_end()
        .parse()
        .map_err(|_| format!("{number:?} is no whole number"))?;
    match number.checked_mul(unit) {
        Some(bytes) if bytes >= LEAST => Ok(bytes),
        Some(_) => Err("it must be at least 32MB".to_owned()),
        None => Err("that is more than there is".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(["weir"].into_iter().chain(line.split_whitespace())).map_err(|error| error.to_string())
    }

    fn options(cli: &Cli, variable: Option<&str>) -> InstanceOptions {
        let options = cli.shell.engine.instance_with(variable.map(str::to_owned));
        options.expect("options")
    }

    #[test]
    fn clap_finds_nothing_wrong() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_arguments_it_is_the_shell_on_a_directory() {
        let cli = parse("").expect("no arguments");
        assert!(cli.command.is_none());
        assert_eq!(cli.shell.format, Format::Table);
        assert!(options(&cli, None).data.is_some());
        assert!(options(&parse("--memory").expect("memory"), None).data.is_none());
    }

    #[test]
    fn the_engine_is_told_its_options() {
        let cli = parse("--tasks 3 --checkpoint-interval 1.5s --query-memory 512MB --data d -c x --format ndjson")
            .expect("options");
        let options = options(&cli, Some("5"));
        assert_eq!(options.engine.tasks, 3);
        assert_eq!(options.engine.checkpoint_interval, Duration::from_millis(1500));
        assert_eq!(options.query_memory, Some(512 << 20));
        assert_eq!(options.data, Some("d".into()));
        assert_eq!(cli.shell.format, Format::Ndjson);
    }

    #[test]
    fn tasks_may_come_from_the_environment() {
        let cli = parse("").expect("no arguments");
        assert_eq!(options(&cli, Some("2")).engine.tasks, 2);
        let refused = cli.shell.engine.instance_with(Some("two".to_owned()));
        assert_eq!(
            refused.err(),
            Some("WEIR_TASKS: \"two\" is no number from 1 to 256".to_owned())
        );
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "--memory --data d",
            "--connect http://h:1 --data d",
            "--connect http://h:1 --memory",
            "--connect http://h:1 --tasks 2",
            "-c x -f y",
            "--format xml",
            "--tasks 0",
            "--checkpoint-interval 5",
            "--query-memory 512",
            "--query-memory 1MB",
            "--connect http://h:1 --query-memory 1GB",
            "--checkpoint-interval 0ms",
            "--checkpoint-interval -1s",
            "--memory serve",
            "serve --listen here",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn serve_has_its_own_options() {
        let cli = parse("serve --memory --listen 127.0.0.1:0 --http 127.0.0.1:0").expect("serve");
        let Some(Command::Serve(serve)) = cli.command else {
            panic!("not serve: {cli:?}");
        };
        assert!(serve.engine.memory && serve.http.is_some());
        let Some(Command::Serve(serve)) = parse("serve").expect("serve").command else {
            panic!("not serve");
        };
        assert_eq!(serve.listen.to_string(), "127.0.0.1:50051");
        assert!(serve.http.is_none());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert!(duration("200").is_err_and(|error| error.contains("unit")));
        assert!(duration("x s").is_err());
        assert!(duration("1e400s").is_err());
    }
}
