//! The functions of the dialect, for SHOW FUNCTIONS.

use datafusion::logical_expr::{Documentation, Volatility};

use super::json::rewritten;
use super::{drawn, ordered_sets, session, spelled};
use crate::parse::window;

/// A function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// `scalar`, `aggregate`, `window` or `table`.
    pub kind: &'static str,
    /// How it is called: `round(numeric_expression[, decimal_places])`.
    pub signature: String,
    /// It can stand in a continuous query; all can in a SELECT.
    pub continuous: bool,
    /// What it does, in a line.
    pub description: Option<String>,
}

/// All functions, by name.
pub fn all() -> Vec<Function> {
    let state = session::state();
    let own = |name: &&String| !name.starts_with("weir_");
    let scalars = state.scalar_functions().iter().filter(|(name, _)| own(name));
    let mut all: Vec<Function> = scalars
        .map(|(name, function)| {
            let immutable = function.signature().volatility == Volatility::Immutable;
            let kept = immutable || drawn::value(function.name()).is_some();
            described(name, "scalar", kept, function.documentation())
        })
        .collect();
    all.extend(
        state
            .aggregate_functions()
            .iter()
            .map(|(name, function)| described(name, "aggregate", true, function.documentation())),
    );
    all.extend(
        state
            .window_functions()
            .iter()
            .map(|(name, function)| described(name, "window", true, function.documentation())),
    );
    all.extend(rewritten(&all));
    all.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
    all
}

/// Those that are written with others in the text of a query, as their modules tell, and are not among `known`.
fn rewritten(known: &[Function]) -> Vec<Function> {
    let function = |name: &str, kind: &'static str, signature: String, does: Option<String>| Function {
        name: name.to_string(),
        kind,
        signature,
        continuous: true,
        description: does,
    };
    let mut all = Vec::new();
    for (name, kind, signature, gives) in rewritten::listed() {
        all.push(function(&name, kind, signature, Some(gives.to_string())));
    }
    for (name, signature, gives) in ordered_sets::listed() {
        all.push(function(name, "aggregate", signature, Some(gives.to_string())));
    }
    for (name, signature) in spelled::asked() {
        all.push(function(name, "scalar", signature, None));
    }
    for (name, meant) in spelled::other_names() {
        let meant = known.iter().find(|function| function.name == meant);
        all.extend(meant.map(|meant| Function {
            name: name.to_string(),
            signature: meant.signature.replacen(&meant.name, name, 1),
            ..meant.clone()
        }));
    }
    for (name, signature) in window::listed() {
        let does = "Rows with their windows: columns window_start and window_end; stands in FROM.";
        all.push(function(&name, "table", signature, Some(does.to_string())));
    }
    let extract = "extract(part FROM time)".to_string();
    all.push(function(
        "extract",
        "scalar",
        extract,
        Some("A part of a time, such as year or hour.".to_string()),
    ));
    all.retain(|function| {
        known
            .iter()
            .all(|other| (&other.name, other.kind) != (&function.name, function.kind))
    });
    all
}

fn described(name: &str, kind: &'static str, continuous: bool, documentation: Option<&Documentation>) -> Function {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    Function {
        name: name.to_string(),
        kind,
        signature: documentation.map_or_else(|| format!("{name}(…)"), |known| line(&known.syntax_example)),
        continuous,
        description: documentation
            .and_then(|known| known.description.trim().lines().next())
            .map(line),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the reference calls is told here.
    #[test]
    fn functions_of_the_reference_are_listed() {
        let known: BTreeSet<String> = all().into_iter().map(|function| function.name).collect();
        let reference = include_str!("../../../docs/sql.md");
        let called = reference.split('`').skip(1).step_by(2).filter_map(|code| {
            let (name, _) = code.split_once('(')?;
            let is_name = !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            is_name.then_some(name)
        });
        let missing: BTreeSet<&str> = called.filter(|name| !known.contains(*name)).collect();
        assert_eq!(missing, BTreeSet::new());
    }

    #[test]
    fn functions_are_told_with_their_use() {
        let all = all();
        let find = |name: &str| all.iter().find(|function| function.name == name).unwrap();
        assert_eq!((find("abs").kind, find("abs").continuous), ("scalar", true));
        assert!(find("abs").signature.starts_with("abs("));
        assert!(find("random").continuous && find("now").continuous && find("gen_random_uuid").continuous);
        assert!(!find("input_file_name").continuous);
        assert_eq!(find("localtimestamp").signature, "localtimestamp()");
        assert_eq!((find("sum").kind, find("sum").continuous), ("aggregate", true));
        assert!(find("median").continuous);
        assert!(find("row_number").continuous && find("lag").continuous);
        assert!(all.iter().all(|function| !function.name.starts_with("weir_")));
        for (name, kind) in [
            ("json_agg", "aggregate"),
            ("jsonb_object_agg", "aggregate"),
            ("mode", "aggregate"),
            ("percentile_disc", "aggregate"),
            ("every", "aggregate"),
            ("sign", "scalar"),
            ("version", "scalar"),
            ("jsonb_each_text", "table"),
            ("tumble", "table"),
        ] {
            assert_eq!(find(name).kind, kind, "{name}");
        }
        let twice = all
            .windows(2)
            .find(|two| (&two[0].name, two[0].kind) == (&two[1].name, two[1].kind));
        assert_eq!(twice, None);
    }
}
