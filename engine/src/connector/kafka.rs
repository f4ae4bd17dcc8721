//! The Kafka connector: topics as sources and sinks, through librdkafka.
//!
//! A split is a partition, a position an offset. Partitions are assigned by hand: Weir's own
//! checkpoints say where to read on, and a consumer group only learns afterwards how far that is.
//! Everything that touches librdkafka lives in this module.
//!
//! - [`properties`]: the client's settings
//! - [`client`]: the consumer, and errors in the words of the event behind them
//! - [`reader`], [`columns`]: from the consumer's queue into Arrow, split by split
//! - [`producer`], [`sink`]: writing
//! - [`admin`]: topics, looked at and changed
//! - [`mock`]: a broker inside the process, for the demo and for quick tests

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::StringArray;
use arrow::compute::regexp_is_match_scalar;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::{
    Bound, ConnectorSpec, Positions, SinkConnector, SinkSpec, SourceConnector, SourceReader, Split, SplitId, Start,
    Wanted, check_named,
};
use crate::near::unknown_option;
use crate::{Error, Result};

pub mod admin;
mod client;
mod columns;
pub mod mock;
pub mod producer;
mod properties;
mod reader;
mod sink;
#[cfg(test)]
mod tests;

pub use properties::Properties;

use client::Consumer;
use reader::Reader;

/// How long a question to the brokers may take altogether.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes a Kafka source. Options: `topic` (several with commas) or `topic.pattern` (a regular
/// expression), and librdkafka's settings as `properties.*`. No broker is asked yet.
///
/// # Errors
/// If an option is unknown, missing or wrong.
pub fn source(spec: &ConnectorSpec) -> Result<Arc<dyn SourceConnector>> {
    known_options(spec, "source", &["topic", "topic.pattern"])?;
    let properties = Properties::from_options(&spec.options)?;
    properties.check()?;
    let topics = Topics::from_options(&spec.options)?;
    Ok(Arc::new(KafkaSource { topics, properties }))
}

/// Makes a Kafka sink. Options: `topic`, `create.partitions`, `delivery`, what the envelope takes,
/// and librdkafka's settings as `properties.*`. No broker is asked yet.
///
/// # Errors
/// If an option is unknown, missing or wrong.
pub fn sink(spec: &SinkSpec) -> Result<Box<dyn SinkConnector>> {
    known_options(
        &spec.connector,
        "sink",
        &[
            "topic",
            "create.partitions",
            "delivery",
            "key",
            "force_append_only",
            "snapshot",
        ],
    )?;
    Ok(Box::new(sink::KafkaSink::new(spec)?))
}

fn known_options(spec: &ConnectorSpec, role: &str, known: &[&str]) -> Result<()> {
    match spec
        .options
        .keys()
        .find(|name| !known.contains(&name.as_str()) && !name.starts_with("properties."))
    {
        None => Ok(()),
        Some(name) => Err(Error::Config(unknown_option(
            name,
            &format!("a kafka {role}"),
            known,
            " and properties.<any librdkafka setting>",
        ))),
    }
}

/// Which topics a source reads.
#[derive(Debug, Clone)]
enum Topics {
    Named(Vec<String>),
    Matching(String),
}

impl Topics {
    fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        match (options.get("topic"), options.get("topic.pattern")) {
            (Some(names), None) => {
                let mut topics: Vec<String> = Vec::new();
                for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                    if !topics.iter().any(|known| known == name) {
                        topics.push(name.to_string());
                    }
                }
                if topics.is_empty() {
                    return Err(Error::Config("topic = '' names no topic".to_string()));
                }
                Ok(Topics::Named(topics))
            }
            (None, Some(pattern)) => {
                matching(pattern, &[])?;
                Ok(Topics::Matching(pattern.clone()))
            }
            (None, None) => Err(Error::Config(
                "a kafka source needs topic = '…', or topic.pattern = '…'".to_string(),
            )),
            (Some(_), Some(_)) => Err(Error::Config(
                "give a kafka source either topic or topic.pattern, not both".to_string(),
            )),
        }
    }
}

/// Those of `names` that match a regular expression.
fn matching(pattern: &str, names: &[String]) -> Result<Vec<String>> {
    let hits = regexp_is_match_scalar(&StringArray::from_iter_values(names), pattern, None)
        .map_err(|error| Error::Config(format!("topic.pattern = '{pattern}' is no regular expression: {error}")))?;
    Ok(names
        .iter()
        .zip(hits.values())
        .filter(|(_, hit)| *hit)
        .map(|(name, _)| name.clone())
        .collect())
}

/// A partition's stable name.
fn split(topic: &Arc<str>, partition: i32) -> Split {
    Split {
        id: SplitId(format!("{topic}:{partition}").into()),
        topic: topic.clone(),
        partition,
    }
}

/// A partition from its stable name.
fn parse_split(id: &SplitId) -> Result<Split> {
    let parsed = id.0.rsplit_once(':').and_then(|(topic, partition)| {
        let partition: i32 = partition.parse().ok()?;
        (!topic.is_empty() && partition >= 0).then(|| split(&topic.into(), partition))
    });
    parsed.ok_or_else(|| Error::Config(format!("'{id}' names no Kafka partition; write it as topic:partition")))
}

fn at_topic(topic: &str, cause: impl Into<String>) -> Error {
    Error::Connector {
        place: format!("kafka topic '{topic}'"),
        cause: cause.into(),
    }
}

/// A Kafka source: its topics and how to reach them.
#[derive(Clone)]
struct KafkaSource {
    topics: Topics,
    properties: Properties,
}

impl KafkaSource {
    fn consumer(&self) -> Result<Consumer> {
        Consumer::new(&self.properties.consumer(), self.properties.brokers())
    }

    /// The partitions that exist now, in order.
    fn partitions(&self, consumer: &Consumer, patience: Duration) -> Result<Vec<Split>> {
        let mut splits = Vec::new();
        match &self.topics {
            Topics::Named(topics) => {
                for topic in topics {
                    let metadata = consumer.metadata(Some(topic), patience)?;
                    let found = metadata.topics().iter().find(|found| found.name() == topic);
                    let found = found.ok_or_else(|| at_topic(topic, UNKNOWN_TOPIC))?;
                    add_partitions(found, &mut splits)?;
                }
            }
            Topics::Matching(pattern) => {
                let metadata = consumer.metadata(None, patience)?;
                // Names that begin with two underscores are Kafka's own.
                let names: Vec<String> = metadata
                    .topics()
                    .iter()
                    .map(|topic| topic.name().to_string())
                    .filter(|name| !name.starts_with("__"))
                    .collect();
                let wanted = matching(pattern, &names)?;
                for topic in metadata.topics() {
                    if wanted.iter().any(|name| name == topic.name()) {
                        add_partitions(topic, &mut splits)?;
                    }
                }
            }
        }
        splits.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok(splits)
    }

    /// Offsets of `splits` at a time in milliseconds, or at their first or next record.
    fn offsets(&self, consumer: &Consumer, splits: &[Split], at: Offset) -> Result<Positions> {
        let answer = consumer.offsets_for_times(&list(splits, |_| at)?, PATIENCE)?;
        let mut positions = Positions::new();
        let mut after_all = Vec::new();
        for (split, offset) in answers(splits, &answer)? {
            match offset {
                Offset::Offset(offset) => {
                    positions.insert(split.id.clone(), offset);
                }
                // No record is as late as that time.
                _ => after_all.push(split.clone()),
            }
        }
        if !after_all.is_empty() {
            if at == Offset::End {
                return Err(at_topic(&after_all[0].topic, "the broker did not tell where it ends"));
            }
            positions.extend(self.offsets(consumer, &after_all, Offset::End)?);
        }
        Ok(positions)
    }

    fn committed(&self, consumer: &Consumer, splits: &[Split]) -> Result<Positions> {
        if !self.properties.has_group() {
            return Err(Error::Config(
                "scan.startup.mode = 'group' needs properties.group.id".to_string(),
            ));
        }
        let answer = consumer.committed(&list(splits, |_| Offset::Invalid)?, PATIENCE)?;
        let mut positions = Positions::new();
        let mut without = Vec::new();
        for (split, offset) in answers(splits, &answer)? {
            match offset {
                Offset::Offset(offset) => {
                    positions.insert(split.id.clone(), offset);
                }
                _ => without.push(split.clone()),
            }
        }
        if !without.is_empty() {
            let latest = matches!(
                self.properties.get("auto.offset.reset"),
                Some("latest" | "largest" | "end")
            );
            let at = if latest { Offset::End } else { Offset::Beginning };
            positions.extend(self.offsets(consumer, &without, at)?);
        }
        Ok(positions)
    }
}

const UNKNOWN_TOPIC: &str = "there is no such topic; create it, or correct the name";

fn add_partitions(topic: &rdkafka::metadata::MetadataTopic, splits: &mut Vec<Split>) -> Result<()> {
    let name: Arc<str> = topic.name().into();
    match topic.error() {
        None => {}
        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
            return Err(at_topic(&name, UNKNOWN_TOPIC));
        }
        Some(code) => return Err(at_topic(&name, client::describe(code))),
    }
    if topic.partitions().is_empty() {
        return Err(at_topic(&name, UNKNOWN_TOPIC));
    }
    splits.extend(topic.partitions().iter().map(|partition| split(&name, partition.id())));
    Ok(())
}

/// Partitions as librdkafka's list, each with an offset.
fn list(splits: &[Split], offset: impl Fn(&Split) -> Offset) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(splits.len());
    for split in splits {
        list.add_partition_offset(&split.topic, split.partition, offset(split))
            .map_err(|error| Error::internal(format!("offset of '{}': {error}", split.id)))?;
    }
    Ok(list)
}

/// What a list says of each split.
fn answers<'a>(splits: &'a [Split], list: &TopicPartitionList) -> Result<Vec<(&'a Split, Offset)>> {
    let elements = list.elements();
    let mut answers = Vec::with_capacity(splits.len());
    for split in splits {
        let element = elements
            .iter()
            .find(|e| e.partition() == split.partition && e.topic() == &*split.topic)
            .ok_or_else(|| Error::internal(format!("no answer for Kafka partition '{}'", split.id)))?;
        if let Err(error) = element.error() {
            let words = client::words(&error);
            return Err(at_topic(
                &split.topic,
                format!("partition {}: {words}", split.partition),
            ));
        }
        answers.push((split, element.offset()));
    }
    Ok(answers)
}

impl SourceConnector for KafkaSource {
    fn splits(&self) -> Result<Vec<Split>> {
        self.partitions(&self.consumer()?, PATIENCE)
    }

    fn look(&self, patience: Duration) -> Result<Vec<Split>> {
        self.partitions(&self.consumer()?, patience)
    }

    fn resolve(&self, start: &Start) -> Result<Positions> {
        let consumer = self.consumer()?;
        let splits = self.partitions(&consumer, PATIENCE)?;
        if splits.is_empty() {
            return Ok(Positions::new());
        }
        match start {
            Start::Earliest => self.offsets(&consumer, &splits, Offset::Beginning),
            Start::Latest => self.offsets(&consumer, &splits, Offset::End),
            Start::Timestamp(ms) => self.offsets(&consumer, &splits, Offset::Offset((*ms).max(0))),
            Start::Group => self.committed(&consumer, &splits),
            Start::Offsets(named) => {
                let mut positions = self.offsets(&consumer, &splits, Offset::Beginning)?;
                let ends = self.offsets(&consumer, &splits, Offset::End)?;
                check_named(named, &splits, Some(&ends), "partition")?;
                positions.extend(named.clone());
                Ok(positions)
            }
        }
    }

    fn resolve_bound(&self, bound: &Bound) -> Result<Option<Positions>> {
        let at = match bound {
            Bound::Unbounded => return Ok(None),
            Bound::Latest | Bound::Offsets(_) => Offset::End,
            Bound::Timestamp(ms) => Offset::Offset((*ms).max(0)),
        };
        let consumer = self.consumer()?;
        let splits = self.partitions(&consumer, PATIENCE)?;
        if let Bound::Offsets(named) = bound {
            check_named(named, &splits, None, "partition")?;
            return Ok(Some(named.clone()));
        }
        if splits.is_empty() {
            return Ok(Some(Positions::new()));
        }
        Ok(Some(self.offsets(&consumer, &splits, at)?))
    }

    fn holds(&self) -> bool {
        true
    }

    fn open(&self, from: &Positions, until: Option<&Positions>, wanted: &Wanted) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(Reader::open(self.clone(), from, until, wanted)?))
    }
}
