//! `weir demo`: live views over real flights, on an embedded broker or on the user's Kafka.
//!
//! Everything goes the way of any user: statements through a client over gRPC into an instance,
//! records through Kafka topics. On a terminal the views are drawn while they change, and then the
//! shell opens over them; without one the final tables are printed. What is shown is checked, too:
//! the views must agree at every look, and the topic that the sink writes must read back as the view.

mod board;
mod data;
mod player;
mod question;
mod sql;
mod tally;
mod typing;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_server::broker::{Broker, TopicWriter};
use weir_server::{EngineOptions, Instance, InstanceOptions, split};

use crate::cli::DemoArgs;
use crate::client::Client;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::format::Format;
use crate::repl;
use crate::screen::Screen;
use crate::shell::{Shell, grouped};

use board::Board;
use data::Topic;
use player::Player;
use sql::SCRIPTS;
use tally::Tally;
use typing::Typing;

/// Minutes of event time that pass in a second while someone watches: a day.
const WATCHED_SPEED: u32 = 24 * 60;
/// And where nobody does.
const UNWATCHED_SPEED: u32 = 4 * 24 * 60;
/// How often the views are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often a line says how far it is, where no board can be drawn.
const LINE: Duration = Duration::from_secs(2);
/// How long nothing may arrive before something must be wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is said of the embedded broker.
const EMBEDDED: &str = "\
Kafka: an embedded broker at ADDRESS, librdkafka's mock cluster in this process. It keeps records
in memory, only the newest 5 MiB of a partition, and knows no transactions.";
/// And of the user's Kafka.
const YOURS: &str = "Kafka: yours, at ADDRESS. Nothing in it is deleted.";

/// What the user may type next.
const NEXT: &str = "  SELECT origin, sum(flights) AS flights FROM departures GROUP BY origin;
  SELECT carrier, flights FROM carriers EMIT CHANGES;  -- Ctrl-C ends it
  CREATE MATERIALIZED VIEW late AS SELECT dest, count(*) AS flights
    FROM flights WHERE dep_delay > 60 GROUP BY dest;
  SELECT * FROM late ORDER BY flights DESC LIMIT 5;
  EXPLAIN ANALYZE departures;
  SELECT * FROM weir.lag;";

/// The running demo.
struct Demo {
    screen: Screen,
    client: Arc<Client>,
    player: Player,
    tally: Tally,
    /// Records that are played altogether, and the flights among them.
    records: u64,
    flights: i64,
}

/// How watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// January is over, and all views have all of it.
    Over,
    /// The user had seen enough.
    Enough,
}

/// Runs the demo.
///
/// # Errors
/// Whatever keeps it from going on, or doesn't come out as it must.
pub async fn run(args: &DemoArgs) -> Result<(), Failure> {
    let screen = Screen::of_process();
    let watched = screen.terminal && io::stdin().is_terminal();
    screen.line(&screen.style.bold("Weir: flights out of New York, January 2013"))?;
    let (broker, writer) = connect(args.bootstrap.as_deref(), screen).await?;
    let instance = tokio::task::spawn_blocking(|| Instance::open(options()));
    let instance = instance.await.map_err(|error| error.to_string())?;
    let instance = instance.map_err(|error| error.message)?;
    let connection = Connection::to_instance(instance, "in memory only".to_string()).await?;
    let result = show(screen, watched, connection.client.clone(), &broker, writer).await;
    // Before the broker: its clients would complain that it has gone.
    connection.close().await;
    result
}

/// An instance that keeps nothing, and commits more often than usual, to see the views move.
fn options() -> InstanceOptions {
    InstanceOptions {
        data: None,
        engine: EngineOptions {
            checkpoint_interval: LOOK,
            ..EngineOptions::default()
        },
        ..InstanceOptions::default()
    }
}

/// Finds or starts a Kafka and sees to the topics in it.
async fn connect(bootstrap: Option<&str>, screen: Screen) -> Result<(Broker, TopicWriter), Failure> {
    let bootstrap = bootstrap.map(str::to_string);
    let connected = tokio::task::spawn_blocking(move || -> weir_server::Result<_> {
        let (broker, about) = match bootstrap {
            None => (Broker::embedded()?, EMBEDDED),
            Some(address) => (Broker::at(&address), YOURS),
        };
        let (mut made, mut found) = (Vec::new(), Vec::new());
        for topic in Topic::ALL {
            let new = broker.create_topic(topic.name(), topic.partitions())?;
            let list = if new { &mut made } else { &mut found };
            list.push(topic.name());
        }
        let mut told = about.replace("ADDRESS", broker.bootstrap());
        for (names, what) in [
            (made, "Topics made"),
            (found, "Topics found, whose records are left alone"),
        ] {
            if !names.is_empty() {
                told.push_str(&format!("\n{what}: {}", names.join(", ")));
            }
        }
        let writer = broker.writer()?;
        Ok((broker, writer, told))
    });
    let connected = connected.await.map_err(|error| error.to_string())?;
    let (broker, writer, told) = connected.map_err(|error| error.message)?;
    screen.line(&told)?;
    Ok((broker, writer))
}

/// Everything between the broker's start and its end.
async fn show(
    screen: Screen,
    watched: bool,
    client: Arc<Client>,
    broker: &Broker,
    writer: TopicWriter,
) -> Result<(), Failure> {
    create(screen, &client, broker.bootstrap()).await?;
    // This waits until the views are attached; what is written from here on, all of them read.
    question::totals(&client).await?;
    let begin = question::progress(&client).await?;
    let events = data::events()?;
    let records = events.len() as u64;
    let flights = events.iter().filter(|event| event.topic == Topic::Flights).count() as i64;
    let (speed, pace) = match watched {
        true => (WATCHED_SPEED, "a day"),
        false => (UNWATCHED_SPEED, "four days"),
    };
    screen.line(&format!(
        "\nNow {} departures and {} hours of weather are written, {pace} a second.\n",
        grouped(flights as u64),
        grouped(records - flights as u64)
    ))?;
    let player = Player::start(events, writer, speed);
    let mut demo = Demo {
        screen,
        client,
        player: player.map_err(|error| format!("no thread to play with: {error}"))?,
        tally: Tally::new(&begin),
        records,
        flights,
    };
    let end = tokio::select! {
        end = demo.watch(watched) => end?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::Cancelled),
    };
    if end == End::Over {
        demo.check().await?;
    }
    if watched {
        demo.open_shell(end, broker).await
    } else {
        demo.print_tables().await
    }
}

/// Shows the SQL and runs it.
async fn create(screen: Screen, client: &Client, bootstrap: &str) -> Result<(), Failure> {
    for script in &SCRIPTS {
        let text = script.text(bootstrap);
        screen.line(&format!("\n{}\n{}", screen.style.bold(script.path), text.trim_end()))?;
        let started = Instant::now();
        let statements = split::split(&text);
        let count = statements.len();
        for statement in statements {
            for notice in question::command(client, &text[statement]).await? {
                screen.line(&screen.style.dim(&format!("notice: {notice}")))?;
            }
        }
        let took = started.elapsed().as_millis();
        screen.line(&screen.style.dim(&format!("({count} statements, {took} ms)")))?;
    }
    Ok(())
}

impl Demo {
    /// Looks at the views until January is over or the user has seen enough.
    async fn watch(&mut self, watched: bool) -> Result<End, Failure> {
        let mut board = Board::new(self.screen).filter(|_| watched);
        let mut typing = watched.then(Typing::open).flatten();
        let mut next_line = Instant::now() + LINE;
        let mut last_growth = Instant::now();
        let mut clock = tokio::time::interval(LOOK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let before = self.tally.records();
            let lines = typing.as_mut().map_or(0, Typing::lines);
            if let Some(board) = &mut board {
                board.typed(lines);
            }
            self.look(board.as_mut(), lines > 0).await?;
            if let Some(failure) = self.player.failure() {
                return Err(Failure::Message(failure));
            }
            if self.is_over() {
                return Ok(End::Over);
            }
            if lines > 0 {
                return Ok(End::Enough);
            }
            if board.is_none() && Instant::now() >= next_line {
                self.screen.line(&board::clock(self.player.minute(), &self.tally, 80))?;
                next_line += LINE;
            }
            if self.tally.records() > before {
                last_growth = Instant::now();
            } else if last_growth.elapsed() > PATIENCE {
                return Err(self.stuck().await);
            }
        }
    }

    /// Asks the views once, and draws what they say; `last`: it is not drawn again.
    async fn look(&mut self, board: Option<&mut Board>, last: bool) -> Result<(), Failure> {
        let totals = question::totals(&self.client).await?;
        let progress = question::progress(&self.client).await?;
        self.tally.add(Instant::now(), totals, progress);
        let Some(board) = board else {
            return Ok(());
        };
        let mut rows = Vec::new();
        for pane in board.panes() {
            rows.push(question::rows(&self.client, &pane.sql()).await?);
        }
        let hint = if last || self.is_over() { "" } else { "  Enter: shell" };
        let below = format!("{}{hint}", self.agreement());
        board.draw(self.player.minute(), &self.tally, &rows, &below)
    }

    /// Whether everything is written and every view has all of it.
    fn is_over(&self) -> bool {
        let totals = self.tally.totals;
        self.player.is_done()
            && self.tally.records() >= self.records
            && totals.agree()
            && totals.carriers >= self.flights
    }

    /// What the views add up to.
    fn agreement(&self) -> String {
        let totals = self.tally.totals;
        let count = |flights: i64| grouped(flights.unsigned_abs());
        match self.tally.disagreements {
            0 => format!(
                "{} flights in each of the three views, at each of {} looks",
                count(totals.carriers),
                grouped(self.tally.looks)
            ),
            times => format!(
                "the views disagreed {} times, now {} / {} / {}",
                grouped(times),
                count(totals.departures),
                count(totals.weather_delays),
                count(totals.carriers)
            ),
        }
    }

    /// The last records don't come: says what doesn't run.
    async fn stuck(&self) -> Failure {
        let trouble = match question::trouble(&self.client).await {
            Ok(trouble) if trouble.is_empty() => "all views are running".to_string(),
            Ok(trouble) => trouble,
            Err(failure) => return failure,
        };
        Failure::Message(format!(
            "{} of {} records have arrived, and none in the last {} s: {trouble}",
            self.tally.records(),
            self.records,
            PATIENCE.as_secs()
        ))
    }

    /// The views must have agreed, and the sink's topic must say what its view says.
    async fn check(&mut self) -> Result<(), Failure> {
        if self.tally.disagreements > 0 {
            return Err(Failure::Message(self.agreement()));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let difference = question::difference(&self.client).await?;
            if difference == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Failure::Message(format!(
                    "{difference} rows of carriers_back differ from those of carriers: the topic {} doesn't say what \
                     its view says",
                    Topic::Carriers.name()
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Opens the shell over the views.
    async fn open_shell(&self, end: End, broker: &Broker) -> Result<(), Failure> {
        let said = match end {
            End::Over => format!(
                "January is over. All three views have all {} flights, and the sink's topic\nreads back as its \
                 view.\nThey stay while this shell is open;",
                grouped(self.flights.unsigned_abs())
            ),
            End::Enough => "January goes on while you ask;".to_string(),
        };
        let bold = |text: &str| self.screen.style.bold(text);
        self.screen.line(&format!(
            "\n{said} Kafka is at {}.\nTry\n{}\n\n{} lists what else can be typed, {} ends the demo.\n",
            broker.bootstrap(),
            bold(NEXT),
            bold("\\?"),
            bold("\\q"),
        ))?;
        let mut shell = Shell::new(self.client.clone(), Format::Table, true)?;
        repl::run(&mut shell).await
    }

    /// Prints what came out.
    async fn print_tables(&self) -> Result<(), Failure> {
        let mut shell = Shell::new(self.client.clone(), Format::Table, false)?;
        let worst = format!("{} LIMIT 10", question::WORST);
        for sql in [worst.as_str(), question::WEATHER, question::CARRIERS] {
            self.screen.line(&format!("\n{sql};"))?;
            shell.statement(sql).await?;
        }
        self.screen.line(&format!("\n{}.", self.agreement()))?;
        self.screen.line(&format!(
            "The topic {}, read back, has the rows of the view carriers.",
            Topic::Carriers.name()
        ))
    }
}
