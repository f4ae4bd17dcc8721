//! Links and headings of Markdown documents.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::tree::Text;

/// Lines of a document outside fenced code, with their numbers.
pub fn prose(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    document.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((at + 1, line))
    })
}

/// Targets of the relative links of a document, with their lines.
pub fn links(text: &Text) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in prose(&text.text) {
        for (from, _) in line.match_indices("](") {
            let rest = &line[from + 2..];
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            if !target.contains(':') && !target.is_empty() {
                found.push((at, target.to_owned()));
            }
        }
    }
    found
}

/// The names by which a document's headings can be linked to, as code hosts make them.
pub fn anchors(document: &str) -> BTreeSet<String> {
    let headings = prose(document)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| line.trim_start_matches('#'));
    headings
        .map(|heading| {
            let kept = heading
                .trim()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        })
        .collect()
}

/// The path without `.` and `..`.
pub fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = parts.pop(),
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts
}
