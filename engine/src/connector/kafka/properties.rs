//! librdkafka's settings for a client: the user's `properties.*` over Weir's defaults.
//!
//! Any setting of librdkafka may be given; names and values are checked by librdkafka itself and
//! reported in its words. Only what exact positions and order rest on is kept from the user.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::connector::is_secret;
use crate::{Error, Result};

/// How options of a connector name a librdkafka setting.
const PREFIX: &str = "properties.";

/// The consumer group of a source that names none; nothing is committed to it.
const NO_GROUP: &str = "weir";

/// Settings by librdkafka's names, without the `properties.` before them.
#[derive(Clone, PartialEq, Eq)]
pub struct Properties {
    settings: BTreeMap<String, String>,
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kafka at {}", self.brokers())
    }
}

impl Properties {
    /// Settings that name the brokers (`host:port`, several with commas) and nothing else.
    pub fn new(bootstrap_servers: &str) -> Self {
        let settings = BTreeMap::from([("bootstrap.servers".to_string(), bootstrap_servers.to_string())]);
        Self { settings }
    }

    /// The same with one setting more, or another value for it.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_string(), value.to_string());
        self
    }

    /// Picks the `properties.*` out of a connector's options.
    ///
    /// # Errors
    /// If no broker is named, or a setting is one that Weir must decide.
    pub fn from_options(options: &BTreeMap<String, String>) -> Result<Self> {
        let settings: BTreeMap<String, String> = options
            .iter()
            .filter_map(|(name, value)| {
                let name = name.strip_prefix(PREFIX)?;
                Some((name.to_string(), value.clone()))
            })
            .collect();
        let named = ["bootstrap.servers", "metadata.broker.list"]
            .iter()
            .any(|name| settings.get(*name).is_some_and(|brokers| !brokers.trim().is_empty()));
        if !named {
            return Err(Error::Config(
                "kafka needs properties.bootstrap.servers = 'host:port'".to_string(),
            ));
        }
        for (name, value) in &settings {
            if let Some(reason) = refused(name, value) {
                return Err(Error::Config(format!("properties.{name}: {reason}")));
            }
        }
        Ok(Self { settings })
    }

    /// A setting as the user gave it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// True where the user named a consumer group, to which offsets are committed.
    pub(super) fn has_group(&self) -> bool {
        self.settings.contains_key("group.id")
    }

    /// The brokers, for errors.
    pub(super) fn brokers(&self) -> &str {
        self.get("bootstrap.servers")
            .or_else(|| self.get("metadata.broker.list"))
            .unwrap_or("?")
    }

    /// Configuration of a consumer that is assigned its partitions by hand.
    pub(super) fn consumer(&self) -> ClientConfig {
        self.over(&[
            ("client.id", "weir"),
            ("group.id", NO_GROUP),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            // Records that are gone must be an error, never a silent jump.
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("check.crcs", "true"),
            // Small buffers stay in cache: a third more rows per CPU-second than the defaults.
            ("queued.min.messages", "20000"),
            ("fetch.message.max.bytes", "262144"),
            // A full queue is empty again within milliseconds. The default, a second, makes a reader
            // that spends 1 µs on a row wait most of its time: 44 k rows/s where this gives 750 k.
            ("fetch.queue.backoff.ms", "10"),
        ])
    }

    /// Configuration of an idempotent producer.
    pub(super) fn producer(&self) -> ClientConfig {
        self.over(&[
            ("client.id", "weir"),
            ("enable.idempotence", "true"),
            // As Java's clients do, so that equal keys of any producer meet in one partition.
            ("partitioner", "murmur2_random"),
            // A sink must be able to report and to stop; its caller repeats what failed.
            ("message.timeout.ms", "30000"),
            ("queue.buffering.max.kbytes", "65536"),
        ])
    }

    /// Configuration of a client that asks and changes, but neither reads nor writes records.
    pub(super) fn admin(&self) -> ClientConfig {
        self.over(&[("client.id", "weir")])
    }

    fn over(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // librdkafka would leave up to ten seconds between attempts to reach a broker that is away.
        config.set("reconnect.backoff.max.ms", "1000");
        config.extend(
            defaults
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string())),
        );
        config.extend(self.settings.clone());
        config.set_log_level(if self.settings.contains_key("debug") {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Warning
        });
        config
    }

    /// Has librdkafka check names and values.
    ///
    /// # Errors
    /// With librdkafka's words for the first setting it refuses.
    pub(super) fn check(&self) -> Result<()> {
        self.consumer().create_native_config().map_err(config_error)?;
        Ok(())
    }
}

/// An error of configuring a client, without the values of secrets.
pub(super) fn config_error(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, words, name, value) => {
            let option = format!("{PREFIX}{name}");
            let words = if is_secret(&option) && !value.is_empty() {
                words.replace(&value, "****")
            } else {
                words
            };
            Error::Config(format!("{option}: {}", words.trim()))
        }
        other => Error::Config(format!("kafka: {other}")),
    }
}

/// Why a setting can't be the user's, if so.
fn refused(name: &str, value: &str) -> Option<&'static str> {
    let off = value.eq_ignore_ascii_case("false");
    match name {
        "enable.auto.commit" | "auto.commit.enable" | "enable.auto.offset.store" if !off => {
            Some("Weir commits a group's offsets itself, after each checkpoint; leave this setting out")
        }
        "enable.partition.eof" if off => Some("Weir has to know where a partition ends; leave this setting out"),
        "enable.idempotence" if off => {
            Some("without it a retry can write old records over newer ones; leave this setting out")
        }
        "transactional.id" => {
            Some("transactions are not supported yet; use delivery = 'at_least_once' and leave this setting out")
        }
        _ => None,
    }
}
