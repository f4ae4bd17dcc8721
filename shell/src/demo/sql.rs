//! The demo's SQL: the files of `examples/flights/`, which are part of the binary.

/// A file of statements.
pub struct Script {
    /// Its path in the repository.
    pub path: &'static str,
    sql: &'static str,
}

/// The address that stands in the files.
const ADDRESS: &str = "localhost:9092";

/// All files, in their order.
pub const SCRIPTS: [Script; 3] = [
    Script {
        path: "examples/flights/1-sources.sql",
        sql: include_str!("../../../examples/flights/1-sources.sql"),
    },
    Script {
        path: "examples/flights/2-views.sql",
        sql: include_str!("../../../examples/flights/2-views.sql"),
    },
    Script {
        path: "examples/flights/3-sink.sql",
        sql: include_str!("../../../examples/flights/3-sink.sql"),
    },
];

impl Script {
    /// Its text, for the Kafka at an address.
    pub fn text(&self, bootstrap: &str) -> String {
        self.sql.replace(ADDRESS, &bootstrap.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::data::Topic;

    #[test]
    fn every_topic_is_read_or_written_at_the_given_address() {
        let all: String = SCRIPTS.iter().map(|script| script.text("h:1,h:2")).collect();
        for topic in Topic::ALL {
            assert!(all.contains(&format!("topic = '{}'", topic.name())), "{topic:?}");
        }
        let addresses = all.matches("properties.bootstrap.servers = 'h:1,h:2'").count();
        assert_eq!(addresses, all.matches("connector = 'kafka'").count());
    }
}
