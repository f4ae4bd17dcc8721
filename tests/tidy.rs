//! The tidy test: rules of the tree that no compiler holds, read from manifests and source text.
//!
//! Each rule is a test of its own. What breaks it is listed as `file:line: what`, all places at
//! once. The rules about layers and third-party edges are those of `docs/architecture.md`; to
//! change one, change both.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/tree.rs"]
mod tree;

use links::{anchors, links, normal};
use tree::{Text, dependencies, has_word, is_word, names_crate, root, rust_tree, tree};

// ---- the rules' tables -----------------------------------------------------------------------

/// A crate of the workspace and those of its own that it may name: lower layers only, and the
/// shell only the server's face.
const LAYERS: [(&str, &str, &[&str]); 5] = [
    ("state", "weir-state", &[]),
    ("engine", "weir-engine", &["weir-state"]),
    ("sql", "weir-sql", &["weir-engine", "weir-state"]),
    ("server", "weir-server", &["weir-sql", "weir-engine", "weir-state"]),
    ("shell", "weir", &["weir-server"]),
];

/// The folder name by which tables below mean the root manifest: tests and benches.
const SUITE: &str = ".";

/// A third-party package with few doors into Weir.
struct Edge {
    package: &'static str,
    /// Folders whose manifest may ask for it.
    manifests: &'static [&'static str],
    /// Beginnings of paths of the files that may name it.
    sources: &'static [&'static str],
}

const EDGES: [Edge; 7] = [
    Edge {
        package: "rocksdb",
        manifests: &["state"],
        sources: &["state/src/store"],
    },
    Edge {
        package: "rdkafka",
        manifests: &["engine", SUITE],
        sources: &["engine/src/connector/kafka", "tests/", "benches/"],
    },
    Edge {
        package: "tonic",
        manifests: &["server", "shell"],
        sources: &["server/", "shell/src/client"],
    },
    Edge {
        package: "arrow-flight",
        manifests: &["server", "shell", SUITE],
        sources: &["server/", "shell/src/client", "tests/"],
    },
    Edge {
        package: "axum",
        manifests: &["server"],
        sources: &["server/"],
    },
    Edge {
        package: "rustyline",
        manifests: &["shell"],
        sources: &["shell/"],
    },
    Edge {
        package: "sqlparser",
        manifests: &["sql"],
        sources: &[
            "sql/src/statement",
            "sql/src/parse",
            "sql/src/split",
            "sql/src/plan",
            "sql/src/read",
            "sql/src/walk",
            "sql/src/dml",
        ],
    },
];

/// Packages that a crate must do without, because its layer must not know what they are about.
const IGNORANCE: [(&str, &[&str]); 3] = [
    ("state", &["arrow", "datafusion", "tokio", "futures"]),
    ("engine", &["tokio", "futures", "prost"]),
    ("sql", &["tokio", "prost"]),
];

/// Text that must not be in the sources under a path.
const ABSENT: [(&str, &[&str], &str); 3] = [
    (
        "engine/src/operator",
        &["SystemTime", "Instant", "thread::", "rand::"],
        "an operator is a function of its input",
    ),
    (
        "sql/src",
        &["std::thread", "thread::spawn"],
        "planning starts no threads",
    ),
    ("state/src", &["async fn", ".await"], "state is synchronous"),
];

const LONGEST_FILE: usize = 700;

/// Names that say nothing about what a file is about.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "common", "manager", "managers", "helper", "helpers", "misc",
];

/// Fails with all findings, one a line.
fn expect_none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}\n  {}\n", found.join("\n  "));
}

/// Lines of `texts` that contain one of `needles`.
fn lines_with<'a>(texts: impl IntoIterator<Item = &'a Text>, needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for text in texts {
        for (at, line) in text.lines() {
            for needle in needles.iter().filter(|needle| line.contains(**needle)) {
                found.push(format!("{}:{at}: {needle}", text.path));
            }
        }
    }
    found
}

// ---- layers ----------------------------------------------------------------------------------

#[test]
fn a_crate_uses_only_lower_layers() {
    let mut found = Vec::new();
    let texts = rust_tree();
    for (folder, package, lower) in LAYERS {
        let forbidden =
            |name: &str| name != package && !lower.contains(&name) && LAYERS.iter().any(|(_, other, _)| *other == name);
        for (at, name) in dependencies(folder) {
            if forbidden(&name) {
                found.push(format!("{folder}/Cargo.toml:{at}: {package} must not depend on {name}"));
            }
        }
        for text in texts.iter().filter(|text| text.under(&[&format!("{folder}/")])) {
            for (at, code) in text.code() {
                for (_, other, _) in LAYERS
                    .iter()
                    .filter(|(_, other, _)| *other != "weir" && forbidden(other))
                {
                    if names_crate(code, other) {
                        found.push(format!("{}:{at}: {package} must not name {other}", text.path));
                    }
                }
            }
        }
    }
    expect_none(
        "Layers: shell -> server -> sql -> engine -> state, never the other way.",
        found,
    );
}

#[test]
fn a_third_party_edge_is_narrow() {
    let mut found = Vec::new();
    let texts = rust_tree();
    for edge in &EDGES {
        for folder in LAYERS.iter().map(|(folder, _, _)| *folder).chain([SUITE]) {
            for (at, name) in dependencies(folder) {
                if name == edge.package && !edge.manifests.contains(&folder) {
                    found.push(format!(
                        "{folder}/Cargo.toml:{at}: {name} is for {:?} only",
                        edge.manifests
                    ));
                }
            }
        }
        for text in texts.iter().filter(|text| !text.under(edge.sources)) {
            for (at, code) in text.code() {
                if names_crate(code, edge.package) {
                    found.push(format!(
                        "{}:{at}: {} is for {:?} only",
                        text.path, edge.package, edge.sources
                    ));
                }
            }
        }
    }
    expect_none("Each of these packages has few doors into Weir.", found);
}

#[test]
fn a_layer_does_not_know_what_is_not_its_own() {
    let mut found = Vec::new();
    for (folder, packages) in IGNORANCE {
        for (at, name) in dependencies(folder) {
            if packages.contains(&name.as_str()) {
                found.push(format!("{folder}/Cargo.toml:{at}: {name}"));
            }
        }
    }
    let texts = rust_tree();
    for (place, words, reason) in ABSENT {
        let below = texts
            .iter()
            .filter(|text| text.path.starts_with(place) && !text.path.ends_with("tests.rs"));
        for text in below {
            for (at, code) in text.code() {
                for word in words.iter().filter(|word| code.contains(**word)) {
                    found.push(format!("{}:{at}: {word} ({reason})", text.path));
                }
            }
        }
    }
    expect_none("What a layer must never know.", found);
}

// ---- files -----------------------------------------------------------------------------------

#[test]
fn a_file_can_be_read_in_one_sitting() {
    let mut found = Vec::new();
    for text in rust_tree() {
        let length = text.lines().count();
        if length > LONGEST_FILE {
            found.push(format!("{}:{length}: {length} lines", text.path));
        }
    }
    expect_none(
        &format!("At most {LONGEST_FILE} lines a file: split it by what it is about."),
        found,
    );
}

#[test]
fn a_file_begins_with_its_purpose() {
    let texts = rust_tree();
    let silent = texts.iter().filter(|text| !text.text.starts_with("//! "));
    expect_none(
        "The first line of each source file says what it is for, behind `//!`.",
        silent
            .map(|text| format!("{}:1: {:?}", text.path, text.text.lines().next().unwrap_or_default()))
            .collect(),
    );
}

#[test]
fn a_name_says_what_is_inside() {
    let mut found = Vec::new();
    for text in rust_tree() {
        let path = Path::new(&text.path);
        if path.file_name().is_some_and(|name| name == "mod.rs") {
            found.push(format!(
                "{}:1: `foo.rs` beside `foo/` instead of `foo/mod.rs`",
                text.path
            ));
        }
        let parts: BTreeSet<_> = path
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        for part in parts {
            if is_empty_name(&part) {
                found.push(format!("{}:1: {part:?} says nothing", text.path));
            }
        }
        for (at, code) in text.code() {
            let module = code
                .split_once("mod ")
                .map(|(_, rest)| rest.trim_end_matches([' ', ';', '{']));
            if module.is_some_and(is_empty_name) {
                found.push(format!("{}:{at}: {code}", text.path));
            }
        }
    }
    expect_none("Files and modules are named after what they are about.", found);
}

fn is_empty_name(name: &str) -> bool {
    name.split('_').any(|part| EMPTY_NAMES.contains(&part))
}

// ---- text ------------------------------------------------------------------------------------

#[test]
fn nothing_is_left_for_later() {
    // In halves, so that this file doesn't find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let macros = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
    ];
    let mut found = Vec::new();
    for text in tree().iter().filter(|text| text.path != "Cargo.lock") {
        for (at, line) in text.lines() {
            for mark in marks.iter().filter(|mark| has_word(line, mark)) {
                found.push(format!("{}:{at}: {mark}", text.path));
            }
        }
    }
    found.extend(lines_with(&rust_tree(), &macros));
    expect_none(
        "Unfinished work is refused with an error that names what works, not marked.",
        found,
    );
}

#[test]
fn only_the_shell_prints() {
    let mut found = Vec::new();
    let may = |text: &Text| {
        text.under(&["shell/", "benches/", "tests/"])
            || text.path.ends_with("/tests.rs")
            || text.path.contains("/tests/")
    };
    for text in rust_tree().iter().filter(|text| !may(text)) {
        for (at, code) in text.code() {
            for name in ["print!", "println!"].iter().filter(|name| has_word(code, name)) {
                found.push(format!("{}:{at}: {name}", text.path));
            }
        }
    }
    expect_none("Standard output belongs to the shell; elsewhere use `tracing`.", found);
}

#[test]
fn no_path_of_one_machine() {
    let mut found = Vec::new();
    let places = [
        concat!("/wo", "rk"),
        concat!("/ro", "ot"),
        concat!("/ho", "me"),
        concat!(".lib", "rary"),
    ];
    let temporary = concat!("/t", "mp");
    for text in tree() {
        let document = text.path.ends_with(".md");
        for (at, line) in text.lines() {
            for place in places.iter().chain((!document).then_some(&temporary)) {
                if has_path(line, place) {
                    found.push(format!("{}:{at}: {place}", text.path));
                }
            }
        }
    }
    expect_none("Paths are relative, from the environment, or from `tempfile`.", found);
}

/// Whether an absolute path in `line` begins with `place`.
fn has_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = at.checked_sub(1).map(|at| line.as_bytes()[at]);
        let after = line.as_bytes().get(at + place.len()).copied();
        !before.is_some_and(|byte| is_word(byte) || b".-~}/$".contains(&byte))
            && after.is_none_or(|byte| !is_word(byte) && byte != b'-')
    })
}

#[test]
fn no_registry_is_named() {
    // Which registry answers is a matter of each machine's settings. Halves, as above.
    let hosts = [
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("npmjs", ".org"),
        concat!("golang", ".org"),
        concat!("repo.maven", ".apache.org"),
        concat!("repo1.maven", ".org"),
        concat!("deb.debian", ".org"),
        concat!("archive.ubuntu", ".com"),
    ];
    let texts = tree();
    let found = lines_with(texts.iter().filter(|text| text.path != "Cargo.lock"), &hosts);
    expect_none(
        "Package registries are used through their clients, never by address.",
        found,
    );
}

// ---- documents -------------------------------------------------------------------------------

#[test]
fn links_in_documents_lead_somewhere() {
    let mut found = Vec::new();
    for text in tree().iter().filter(|text| text.path.ends_with(".md")) {
        let folder = Path::new(&text.path).parent().unwrap_or(Path::new(""));
        for (at, target) in links(text) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() {
                PathBuf::from(&text.path)
            } else {
                normal(&folder.join(file))
            };
            if !root().join(&path).exists() {
                found.push(format!("{}:{at}: {target}", text.path));
            } else if !anchor.is_empty() && path.extension().is_some_and(|kind| kind == "md") {
                let document = fs::read_to_string(root().join(&path)).unwrap_or_default();
                if !anchors(&document).contains(anchor) {
                    found.push(format!("{}:{at}: {target}: no such heading", text.path));
                }
            }
        }
    }
    expect_none(
        "Relative links in documents lead to files and headings that exist.",
        found,
    );
}

// ---- the rules themselves --------------------------------------------------------------------

#[test]
fn the_rules_see_what_they_forbid() {
    assert!(names_crate("use some_crate::Status;", "some-crate"));
    assert!(names_crate("    let x = some_crate::config::new();", "some-crate"));
    assert!(names_crate("use other::some_crate::ast;", "some-crate"));
    assert!(names_crate("pub use some_crate;", "some-crate"));
    assert!(!names_crate("use awesome_crate::x;", "some-crate"));
    assert!(!names_crate("let some_crate = 1;", "some-crate"));
    assert!(has_path(concat!("see /wo", "rk/x"), concat!("/wo", "rk")));
    assert!(!has_path(concat!("a/wo", "rk/x /wo", "rkers"), concat!("/wo", "rk")));
    assert!(has_word("println!(1)", "println!"));
    assert!(!has_word("eprintln!(1)", "println!"));
    assert!(is_empty_name("test_utils") && !is_empty_name("utility"));
    assert_eq!(normal(Path::new("docs/../README.md")), PathBuf::from("README.md"));
    assert!(anchors("# A b: c!\n").contains("a-b-c"));
    assert!(dependencies("shell").iter().any(|(_, name)| name == "weir-server"));
}
