//! The functions of the dialect, for SHOW FUNCTIONS.

use datafusion::logical_expr::{Documentation, Volatility};

use super::{drawn, session};

/// A function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// `scalar`, `aggregate` or `window`.
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
    all.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
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
    use super::*;

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
    }
}
