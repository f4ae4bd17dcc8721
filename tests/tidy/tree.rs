//! What the tidy test reads: the tree's text files, line by line, and the manifests' dependencies.

use std::fs;
use std::path::Path;

/// A text file of the tree. `path` is relative to the root, with forward slashes.
pub struct Text {
    pub path: String,
    pub text: String,
}

impl Text {
    /// Lines with their numbers, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Lines without what stands in a comment.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines()
            .map(|(at, line)| (at, line.split("//").next().unwrap_or_default()))
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub fn under(&self, beginnings: &[&str]) -> bool {
        beginnings.iter().any(|beginning| self.path.starts_with(beginning))
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All text files that are ours: no build output, nothing git keeps for itself, no data.
pub fn tree() -> Vec<Text> {
    let mut folders = vec![root().to_path_buf()];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the tree") {
            let path = entry.expect("an entry of a folder").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                let skipped = ["target", ".git", "weir-data", "proptest-regressions"].contains(&name.as_str());
                if !skipped {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).expect("below the root");
                texts.push(Text {
                    path: path.to_string_lossy().replace('\\', "/"),
                    text,
                });
            }
        }
    }
    assert!(
        texts.iter().any(|text| text.path == "Cargo.toml"),
        "the tree was not read from its root"
    );
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    texts
}

pub fn rust_tree() -> Vec<Text> {
    let mut texts = tree();
    texts.retain(Text::is_rust);
    texts
}

/// Names of the packages that the manifest of a folder asks for, each with its line.
pub fn dependencies(folder: &str) -> Vec<(usize, String)> {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut inside = false;
    let mut names = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies") && !section.starts_with("workspace");
            // `[dependencies.name]`
            if let Some((before, name)) = section.trim_end_matches(']').rsplit_once("dependencies.")
                && !before.starts_with("workspace")
            {
                names.push((at + 1, name.to_owned()));
            }
        } else if inside && !line.starts_with('#') && line.contains('=') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.push((at + 1, name.to_owned()));
        }
    }
    assert!(!names.is_empty(), "{}: no dependencies were found", path.display());
    names
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether `word` occurs in `line` with no letter, digit or underscore on either side.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).map(|at| line.as_bytes()[at]);
        let after = line.as_bytes().get(at + word.len()).copied();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Whether a line of code names a crate: in `use name`, or before `::` (behind `::` too, where
/// another crate hands it on).
pub fn names_crate(code: &str, name: &str) -> bool {
    let name = name.replace('-', "_");
    let follows = |end: usize| code[end..].starts_with("::");
    let declared = ["use ", "extern crate "].iter().any(|keyword| {
        code.match_indices(keyword).any(|(at, _)| {
            code[at + keyword.len()..]
                .split(|c: char| !c.is_ascii() || !is_word(c as u8))
                .next()
                == Some(&name)
        })
    });
    declared
        || code.match_indices(&name).any(|(at, _)| {
            let before = at.checked_sub(1).map(|at| code.as_bytes()[at]);
            !before.is_some_and(is_word) && follows(at + name.len())
        })
}
