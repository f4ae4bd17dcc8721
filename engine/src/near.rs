//! Words that are meant when another is written: what errors about unknown names suggest.

/// The candidate nearest to `word`, if one is near: a third of the letters may differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_within((word.chars().count() / 3).max(1), word, candidates)
}

/// The same of a function's name. There are so many short ones that one is near to any word: a quarter of
/// the letters may differ, and of less than five none.
pub fn nearest_function<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    match word.chars().count() {
        0..=4 => None,
        letters => nearest_within(letters / 4, word, candidates),
    }
}

fn nearest_within<'a>(limit: usize, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = candidates.into_iter().map(|other| (distance(word, other), other));
    let near = distances.filter(|(distance, _)| *distance <= limit).min();
    near.map(|(_, other)| other)
}

/// What is said of an option that nobody knows: which one may be meant, and those that there are.
pub fn unknown_option(name: &str, of: &str, known: &[&str], more: &str) -> String {
    let everywhere = SOURCE_OPTIONS
        .iter()
        .filter(|_| of.contains("source") || of.contains("connector"));
    let hint = match nearest(name, known.iter().chain(everywhere).copied()) {
        Some(other) => format!("did you mean '{other}'? "),
        None => String::new(),
    };
    format!(
        "unknown option '{name}' of {of}; {hint}known: {}{more}",
        known.join(", ")
    )
}

/// Options that every source has, whatever its connector.
const SOURCE_OPTIONS: [&str; 10] = [
    "connector",
    "scan.startup.mode",
    "scan.startup.timestamp",
    "scan.startup.offsets",
    "scan.bounded.mode",
    "scan.bounded.timestamp",
    "scan.bounded.offsets",
    "idle_timeout",
    "on_error",
    "watermark.alignment",
];

/// Edits that turn one word into another (Levenshtein); two letters that have changed places are one (Damerau).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let above = &rows[i];
            let replaced = above[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_meant_if_it_is_near() {
        let names = ["topic", "topic.pattern", "path"];
        for (word, meant) in [
            ("topik", Some("topic")),
            ("tpoic", Some("topic")),
            ("tpic", Some("topic")),
            ("topic.patern", Some("topic.pattern")),
            ("pat", Some("path")),
            ("delivery", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), meant, "{word}");
        }
        assert_eq!(distance("Ärger", "Arger"), 1);
    }

    #[test]
    fn a_function_is_meant_if_little_differs() {
        let names = ["ln", "mod", "rank", "date_part", "upper"];
        for (word, meant) in [
            ("len", None),
            ("mode", None),
            ("rand", None),
            ("datepart", Some("date_part")),
            ("uper", None),
            ("uppers", Some("upper")),
        ] {
            assert_eq!(nearest_function(word, names), meant, "{word}");
        }
    }

    #[test]
    fn an_unknown_option_is_told_with_what_may_be_meant() {
        let of_source = |name: &str| unknown_option(name, "a kafka source", &["topic"], " and others");
        assert_eq!(
            of_source("topik"),
            "unknown option 'topik' of a kafka source; did you mean 'topic'? known: topic and others"
        );
        assert!(of_source("scan.startup.mod").contains("did you mean 'scan.startup.mode'?"));
        assert_eq!(
            unknown_option("on_eror", "a file sink", &["path"], ""),
            "unknown option 'on_eror' of a file sink; known: path"
        );
    }
}
