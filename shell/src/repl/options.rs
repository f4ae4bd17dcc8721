//! Options of statements, and values that some of them take, for completion.

/// The options of a statement, by its first words.
pub fn of(statement: &[String]) -> Vec<&'static str> {
    let words: Vec<&str> = statement.iter().map(String::as_str).collect();
    match words[..] {
        ["CREATE", "SOURCE", ..] => [SOURCE, KAFKA].concat(),
        ["CREATE", "SINK", ..] => [SINK, KAFKA].concat(),
        ["CREATE", "MATERIALIZED", ..] => VIEW.to_vec(),
        ["SUBSCRIBE", ..] => SUBSCRIBE.to_vec(),
        _ => Vec::new(),
    }
}

/// The values of an option, where there are only a few.
pub fn values(option: &str) -> &'static [&'static str] {
    match option {
        "connector" => &["blackhole", "datagen", "file", "kafka", "nexmark", "print"],
        "delivery" => &["at_least_once"],
        "follow" | "force_append_only" | "header" | "progress" | "snapshot" => &["true", "false"],
        "on_error" => &["fail", "skip"],
        "properties.bootstrap.servers" => &["localhost:9092"],
        "properties.security.protocol" => &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"],
        "scan.bounded.mode" => &["unbounded", "latest", "timestamp", "offsets"],
        "scan.startup.mode" => &["earliest", "latest", "timestamp", "offsets", "group"],
        "timestamp.unit" => &["s", "ms", "us", "ns"],
        _ => &[],
    }
}

const SOURCE: &[&str] = &[
    "connector",
    "follow",
    "idle_timeout",
    "number_of_rows",
    "on_error",
    "path",
    "rows_per_second",
    "scan.bounded.mode",
    "scan.bounded.offsets",
    "scan.bounded.timestamp",
    "scan.startup.mode",
    "scan.startup.offsets",
    "scan.startup.timestamp",
    "topic",
    "topic.pattern",
    "watermark.alignment",
];

const SINK: &[&str] = &[
    "connector",
    "create.partitions",
    "delivery",
    "force_append_only",
    "key",
    "path",
    "snapshot",
    "topic",
];

/// The settings of librdkafka that are given most.
const KAFKA: &[&str] = &[
    "properties.bootstrap.servers",
    "properties.group.id",
    "properties.sasl.mechanism",
    "properties.sasl.password",
    "properties.sasl.username",
    "properties.security.protocol",
    "properties.ssl.ca.location",
];

const VIEW: &[&str] = &[
    "allowed_lateness",
    "changelog_limit",
    "max_iterations",
    "on_error",
    "pipeline",
];

const SUBSCRIBE: &[&str] = &["progress", "snapshot"];
