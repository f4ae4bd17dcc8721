//! What the demo asks its views, through the same client as everyone.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::StreamExt;

use crate::client::{Client, ReplyBody};
use crate::failure::Failure;

/// The newest hours.
pub const DEPARTURES: &str =
    "SELECT hour, origin, flights, cancelled, avg_delay FROM departures ORDER BY hour DESC, origin";
/// Delays by what the sky was like.
pub const WEATHER: &str =
    "SELECT sky, hours, flights, cancelled, avg_delay FROM weather_delays ORDER BY avg_delay DESC NULLS LAST, sky";
/// The latest airlines.
pub const CARRIERS: &str = "SELECT name, flights, cancelled, avg_delay FROM carriers JOIN airlines USING (carrier) \
     ORDER BY avg_delay DESC NULLS LAST, carrier";
/// The worst hours of the month.
pub const WORST: &str = "SELECT hour, origin, flights, cancelled, avg_delay FROM departures \
     ORDER BY avg_delay DESC NULLS LAST, hour, origin";

/// Flights in each of the three views, in one question and so in one snapshot.
const TOTALS: &str = "SELECT coalesce((SELECT sum(flights) FROM departures), 0) AS departures, \
     coalesce((SELECT sum(flights) FROM weather_delays), 0) AS weather_delays, \
     coalesce((SELECT sum(flights) FROM carriers), 0) AS carriers";
/// Rows that are in the view and not in the topic that it is written to, or the other way round.
const DIFFERENCE: &str = "SELECT count(*) AS differing FROM (\
     (SELECT * FROM carriers EXCEPT SELECT * FROM carriers_back) UNION ALL \
     (SELECT * FROM carriers_back EXCEPT SELECT * FROM carriers)) AS difference";
/// How far the topics are read.
const PROGRESS: &str = "SELECT coalesce(sum(position), 0) AS position, \
     min(watermark) FILTER (WHERE source = 'flights') AS watermark \
     FROM weir.lag WHERE source IN ('flights', 'weather')";
/// What doesn't run, and why.
const TROUBLE: &str = "SELECT name || ' is ' || state || coalesce(': ' || detail, '') AS trouble FROM weir.pipelines \
     WHERE state <> 'RUNNING' OR detail IS NOT NULL";

/// Flights in the three views.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// In `departures`.
    pub departures: i64,
    /// In `weather_delays`.
    pub weather_delays: i64,
    /// In `carriers`.
    pub carriers: i64,
}

impl Totals {
    /// Whether they are the same.
    pub fn agree(&self) -> bool {
        self.departures == self.weather_delays && self.weather_delays == self.carriers
    }
}

/// How far the topics are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sum of the committed positions.
    pub position: i64,
    /// Of the flights, microseconds.
    pub watermark_us: Option<i64>,
}

/// Runs a command and gives what the user should know besides.
///
/// # Errors
/// The server's.
pub async fn command(client: &Client, sql: &str) -> Result<Vec<String>, Failure> {
    let reply = client.run(sql).await.map_err(|error| error.message)?;
    Ok(reply.notices)
}

/// The rows of a query.
///
/// # Errors
/// The server's.
pub async fn rows(client: &Client, sql: &str) -> Result<RecordBatch, Failure> {
    let reply = client.run(sql).await.map_err(|error| error.message)?;
    let ReplyBody::Rows(mut rows) = reply.body else {
        return Err(Failure::Message(format!("no rows came for: {sql}")));
    };
    let mut batches = Vec::new();
    while let Some(batch) = rows.stream.next().await {
        batches.push(batch.map_err(|error| error.message)?);
    }
    concat_batches(&rows.schema, &batches).map_err(|error| Failure::Message(error.to_string()))
}

/// Flights in the three views, of one moment.
///
/// # Errors
/// The server's.
pub async fn totals(client: &Client) -> Result<Totals, Failure> {
    let row = rows(client, TOTALS).await?;
    Ok(Totals {
        departures: number(&row, 0)?,
        weather_delays: number(&row, 1)?,
        carriers: number(&row, 2)?,
    })
}

/// How far the topics are read.
///
/// # Errors
/// The server's.
pub async fn progress(client: &Client) -> Result<Progress, Failure> {
    let row = rows(client, PROGRESS).await?;
    let watermark = row.column(1).as_primitive_opt::<TimestampMicrosecondType>();
    Ok(Progress {
        position: number(&row, 0)?,
        watermark_us: watermark.and_then(|times| times.iter().next().flatten()),
    })
}

/// How many rows differ between `carriers` and the topic that it is written to.
///
/// # Errors
/// The server's.
pub async fn difference(client: &Client) -> Result<i64, Failure> {
    number(&rows(client, DIFFERENCE).await?, 0)
}

/// What doesn't run, in words; nothing where all is well.
///
/// # Errors
/// The server's.
pub async fn trouble(client: &Client) -> Result<String, Failure> {
    let rows = rows(client, TROUBLE).await?;
    let texts = rows.column(0).as_string_opt::<i32>();
    let lines: Vec<&str> = texts.into_iter().flatten().flatten().collect();
    Ok(lines.join("; "))
}

fn number(row: &RecordBatch, column: usize) -> Result<i64, Failure> {
    let numbers = row
        .columns()
        .get(column)
        .and_then(|column| column.as_primitive_opt::<Int64Type>());
    let number = numbers.and_then(|numbers| numbers.iter().next().flatten());
    number.ok_or_else(|| Failure::Message(format!("no number came back, but {row:?}")))
}
