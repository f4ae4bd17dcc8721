//! Settings: what a session can change about itself, and what Weir was started with.

use crate::instance::Instance;
use crate::{Error, Result, memory};

/// A session's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A SELECT waits for the session's own writes, and for views that are catching up.
    pub wait: bool,
    /// State that grows with the input for ever is refused at CREATE; else it is noted.
    pub strict_state: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            wait: true,
            strict_state: false,
        }
    }
}

/// A setting as it is shown.
pub struct Setting {
    pub name: &'static str,
    pub value: String,
    pub changeable: bool,
    pub description: &'static str,
}

impl Settings {
    /// `SET name = value`.
    ///
    /// # Errors
    /// If there is no such setting, it can't be changed, or the value makes no sense.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "wait" => {
                self.wait = match value.to_ascii_lowercase().as_str() {
                    "on" | "true" => true,
                    "off" | "false" => false,
                    _ => return Err(Error::invalid(format!("wait is 'on' or 'off', not '{value}'"))),
                };
                Ok(())
            }
            "state" => {
                self.strict_state = match value.to_ascii_lowercase().as_str() {
                    "strict" => true,
                    "any" => false,
                    _ => return Err(Error::invalid(format!("state is 'any' or 'strict', not '{value}'"))),
                };
                Ok(())
            }
            _ if FIXED.iter().any(|(fixed, _)| *fixed == name) => Err(Error::invalid(format!(
                "'{name}' is chosen when Weir is started; SET changes: wait, state"
            ))),
            _ => Err(Error::not_found(format!(
                "there is no setting '{name}'; SET changes: wait, state"
            ))),
        }
    }

    /// All settings.
    pub fn list(&self, instance: &Instance) -> Vec<Setting> {
        let mut settings = vec![
            Setting {
                name: "wait",
                value: if self.wait { "on" } else { "off" }.to_string(),
                changeable: true,
                description: "a SELECT waits for the session's own writes, and for views that are catching up",
            },
            Setting {
                name: "state",
                value: if self.strict_state { "strict" } else { "any" }.to_string(),
                changeable: true,
                description: "'strict' refuses views and sinks that keep every row for ever; 'any' notes it",
            },
        ];
        settings.extend(FIXED.iter().map(|(name, description)| Setting {
            name,
            value: fixed(name, instance),
            changeable: false,
            description,
        }));
        settings
    }
}

/// Settings that are chosen at start.
const FIXED: [(&str, &str); 8] = [
    (
        "changelog_limit",
        "bytes of changes that may wait for a client that subscribes",
    ),
    (
        "checkpoint_interval",
        "longest time between two commits of a pipeline under load",
    ),
    ("data_directory", "where everything is kept; empty: in memory"),
    ("instance_id", "names this data directory for ever"),
    (
        "query_memory",
        "memory that all queries may take together; what sorts or groups more goes through temporary files",
    ),
    ("step_rows", "rows that a step takes from a source, about"),
    ("tasks", "tasks of each stage"),
    ("version", "of Weir"),
];

fn fixed(name: &str, instance: &Instance) -> String {
    let options = instance.options();
    match name {
        "changelog_limit" => options.engine.changelog_limit.to_string(),
        "checkpoint_interval" => format!("{} ms", options.engine.checkpoint_interval.as_millis()),
        "data_directory" => options
            .data
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        "instance_id" => instance.id(),
        "query_memory" => memory::readable(options.query_memory()),
        "step_rows" => options.engine.step_rows.to_string(),
        "tasks" => options.engine.tasks.to_string(),
        _ => env!("CARGO_PKG_VERSION").to_string(),
    }
}
