//! The Nexmark benchmark's events as a source: `connector = 'nexmark'`.
//!
//! A source gives one kind of events: that of the option `table`, or else the one kind that has all
//! the declared columns. Three sources with the same options are three views of one stream of
//! events: a read covers as many *events* as rows were asked for, whatever share of them is of its
//! kind, so sources that are read alike stay at the same place in the stream.
//!
//! Position `p` is the p-th row of the kind in its split; a split holds every s-th block of 50 events.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::generated::{Generated, RowMaker, number};
use super::{ConnectorSpec, Position, SourceConnector};
use crate::format::calendar;
use crate::near::unknown_option;
use crate::{Error, Result};

pub use generator::{Columns, Config, Events, Generator, Kind, schema};

mod generator;
pub(super) mod random;
#[cfg(test)]
mod tests;
mod words;

const OPTIONS: [&str; 7] = ["table", "events", "rate", "seed", "splits", "base_time", "out_of_order"];
/// Events a second of event time where the stream is endless and no rate is given.
const ENDLESS_RATE: u64 = 1_000_000;

/// Makes the source connector of `spec` for the `declared` columns, some or all of one kind's.
///
/// Options: `table` (`person`, `auction`, `bid`), `events` (how many of all kinds together; endless
/// without), `rate` (events a second of event time; `events` / 10 without, so that they span 10 s; 1000000
/// where endless), `seed` (0), `splits` (1), `base_time` (event time of the first event,
/// 2024-01-01T00:00:00Z), `out_of_order` (size of the groups of events in which event times are
/// shuffled; 1: in order). Rows are made as fast as they are read.
///
/// # Errors
/// If an option is unknown or wrong, or the columns are not of one kind.
pub fn source(spec: &ConnectorSpec, declared: &SchemaRef) -> Result<Arc<dyn SourceConnector>> {
    let options = &spec.options;
    if let Some(unknown) = options.keys().find(|key| !OPTIONS.contains(&key.as_str())) {
        return Err(Error::Config(unknown_option(
            unknown,
            "connector 'nexmark'",
            &OPTIONS,
            "",
        )));
    }
    let kind = kind(options, declared)?;
    let (events, config) = config(options)?;
    let generator = Generator::new(config.clone())?;
    Ok(Arc::new(Generated::new(
        Nexmark {
            kind,
            events,
            config,
            generator,
            declared: declared.clone(),
        },
        options,
    )))
}

/// The kind that the option names or the columns tell, with all columns checked.
fn kind(options: &BTreeMap<String, String>, declared: &SchemaRef) -> Result<Kind> {
    let has_all = |kind: &Kind| {
        declared
            .fields()
            .iter()
            .all(|f| schema(*kind).index_of(f.name()).is_ok())
    };
    let kind = match options.get("table") {
        Some(name) => Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::Config(format!(
                "option 'table' of connector 'nexmark' is 'person', 'auction' or 'bid', not '{name}'"
            ))
        })?,
        None => match Kind::ALL.into_iter().filter(has_all).collect::<Vec<_>>()[..] {
            [kind] => kind,
            [] => {
                return Err(Error::Config(format!(
                    "no nexmark table has all these columns; {}",
                    tables()
                )));
            }
            _ => {
                return Err(Error::Config(
                    "more than one nexmark table has these columns; say table = 'person', 'auction' or 'bid'"
                        .to_owned(),
                ));
            }
        },
    };
    let known = schema(kind);
    for field in declared.fields() {
        match known.field_with_name(field.name()) {
            Err(_) => {
                let name = field.name();
                return Err(Error::Config(format!(
                    "a nexmark {} has no column '{name}'; {}",
                    kind.name(),
                    tables()
                )));
            }
            Ok(own) if own.data_type() != field.data_type() => {
                return Err(Error::Config(format!(
                    "column '{}' of a nexmark {} is {}",
                    field.name(),
                    kind.name(),
                    sql(own)
                )));
            }
            Ok(_) => {}
        }
    }
    Ok(kind)
}

fn sql(field: &arrow::datatypes::Field) -> String {
    crate::format::sql_type(field.data_type())
}

/// All tables with their columns, for errors.
fn tables() -> String {
    let table = |kind: Kind| {
        let columns: Vec<_> = schema(kind)
            .fields()
            .iter()
            .map(|f| format!("{} {}", f.name(), sql(f)))
            .collect();
        format!("{}({})", kind.name(), columns.join(", "))
    };
    Kind::ALL.map(table).join(", ")
}

/// Number of events, if bounded, and how they are made.
fn config(options: &BTreeMap<String, String>) -> Result<(Option<u64>, Config)> {
    let whole = |name: &str| number::<u64>("nexmark", options, name, "a whole number");
    let events = whole("events")?;
    let splits = number::<u32>("nexmark", options, "splits", "1 to 4096")?.unwrap_or(1);
    if !(1..=4_096).contains(&splits) {
        return Err(Error::Config(format!(
            "option 'splits' of connector 'nexmark' is 1 to 4096, not {splits}"
        )));
    }
    let base_time_us = match options.get("base_time") {
        None => Config::BASE_TIME_US,
        Some(text) => calendar::timestamp(text.as_bytes())
            .map_err(|why| Error::Config(format!("option 'base_time' of connector 'nexmark', '{text}': {why}")))?,
    };
    let config = Config {
        seed: whole("seed")?.unwrap_or(0),
        rate: whole("rate")?.unwrap_or(events.map_or(ENDLESS_RATE, |events| (events / 10).max(1))),
        base_time_us,
        out_of_order: whole("out_of_order")?.unwrap_or(1),
        splits,
        split: 0,
    };
    Ok((events, config))
}

struct Nexmark {
    kind: Kind,
    events: Option<u64>,
    config: Config,
    generator: Generator,
    declared: SchemaRef,
}

impl RowMaker for Nexmark {
    fn name(&self) -> &'static str {
        "nexmark"
    }

    fn splits(&self) -> u32 {
        self.config.splits
    }

    fn end(&self, split: u32) -> Option<Position> {
        let config = Config {
            split,
            ..self.config.clone()
        };
        Some(self.kind.rows_of(config.events_of_split(self.events?)) as Position)
    }

    fn declared(&self) -> &SchemaRef {
        &self.declared
    }

    fn rows(&self, split: u32, first: Position, count: usize, columns: &SchemaRef) -> Result<RecordBatch> {
        self.generator
            .rows_of_split(split, self.kind, first as u64, count, columns)
    }

    /// The rows among the next `budget` events, in whole blocks, so that sources of different kinds
    /// move together.
    fn portion(&self, first: Position, budget: usize) -> usize {
        let first = first as u64;
        let block = first / self.kind.per_block();
        let blocks = (budget as u64 / 50).max(1);
        ((block + blocks) * self.kind.per_block() - first) as usize
    }

    fn events(&self, rows: usize) -> usize {
        rows * 50 / self.kind.per_block() as usize
    }
}
