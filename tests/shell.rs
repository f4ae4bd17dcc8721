//! The shell as its users meet it: the binary with `-c`, `-f`, pipes and signals, and in a terminal.
//!
//! Each run has a time in which it must end, and a terminal is waited for until it shows what it
//! should: nothing here depends on how quick the machine is.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_suite::program::{self, Outcome};

#[path = "shell/terminal.rs"]
mod terminal;

use terminal::Terminal;

/// Far more than a run takes.
const PATIENCE: Duration = Duration::from_secs(60);

const RATES: &str = "CREATE TABLE rates (currency TEXT PRIMARY KEY, rate DECIMAL(10, 4), note TEXT);
INSERT INTO rates VALUES ('EUR', 1, 'a,\"b\"'), ('USD', 1.08, ''), ('ZZZ', NULL, NULL);
";

/// An endless source, and a view that changes with it.
const NUMBERS: &str = "CREATE SOURCE numbers (id BIGINT) WITH (connector = 'datagen', rows_per_second = 20000,
    fields.id.kind = 'sequence');
";
const COUNTS: &str =
    "CREATE MATERIALIZED VIEW counts AS SELECT id % 3 AS k, count(*) AS n FROM numbers GROUP BY id % 3;
";

fn weir(arguments: &[&str]) -> Command {
    let mut command = Command::new(program::weir());
    command.args(arguments);
    for name in ["WEIR_TASKS", "WEIR_LOG", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Outcome {
    program::run(&mut weir(arguments), PATIENCE)
}

fn run_with(arguments: &[&str], input: &str) -> Outcome {
    program::run_with(&mut weir(arguments), input, PATIENCE)
}

/// Output of a run that must end well and have nothing to complain about.
fn output(arguments: &[&str], input: &str) -> String {
    let outcome = run_with(arguments, input);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
    outcome.stdout
}

fn interrupt(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
}

/// The code that a program ends with, by itself.
fn code(mut child: Child) -> Option<i32> {
    for _ in 0..PATIENCE.as_millis() / 20 {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("a child that runs");
    panic!("it did not end");
}

// ---- statements and formats ------------------------------------------------------------------

#[test]
fn statements_are_answered_in_order_without_a_banner() {
    let sql = format!("{RATES} SELECT * FROM rates ORDER BY currency; DELETE FROM rates WHERE rate IS NULL");
    let expected = [
        "CREATE TABLE",
        "INSERT 3",
        " currency │   rate │ note",
        "──────────┼────────┼────────",
        " EUR      │ 1.0000 │ a,\"b\"",
        " USD      │ 1.0800 │ ",
        " ZZZ      │ [NULL] │ [NULL]",
        "(3 rows)",
        "DELETE 1",
        "",
    ];
    assert_eq!(output(&["--memory", "-c", &sql], ""), expected.join("\n"));
}

#[test]
fn each_format_gives_all_digits_and_tells_null_from_empty() {
    let sql = format!("{RATES} SELECT *, 9223372036854775807 AS big FROM rates ORDER BY currency");
    let print = |format: &str| output(&["--memory", "--format", format, "-c", &sql], "");
    assert_eq!(
        print("csv"),
        "currency,rate,note,big\nEUR,1.0000,\"a,\"\"b\"\"\",9223372036854775807\n\
         USD,1.0800,\"\",9223372036854775807\nZZZ,,,9223372036854775807\n"
    );
    let lines = print("ndjson");
    assert!(lines.contains("\"rate\":1.0800,"), "{lines}");
    let rows: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[2]["rate"], Value::Null);
    assert_eq!(rows[0]["big"], json!(i64::MAX));
    assert_eq!(
        serde_json::from_str::<Value>(&print("json")).expect("JSON"),
        Value::from(rows)
    );
}

#[test]
fn scripts_come_from_files_and_from_standard_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rates.sql");
    std::fs::write(
        &file,
        format!("{RATES}\\format csv\nSELECT count(*) AS n FROM rates;\n"),
    )
    .expect("a file");
    let file = file.to_str().expect("a name");
    let expected = "CREATE TABLE\nINSERT 3\nn\n3\n";
    assert_eq!(output(&["--memory", "-f", file], ""), expected);
    let text = std::fs::read_to_string(file).expect("a file");
    assert_eq!(output(&["--memory", "-f", "-"], &text), expected);
    assert_eq!(output(&["--memory"], &text), expected);
    assert_eq!(
        output(&["--memory"], &format!("\\i {file}\nSELECT 1 AS one;")),
        format!("{expected}one\n1\n")
    );
    assert_eq!(output(&["--memory"], ""), "");
}

#[test]
fn a_statement_runs_as_soon_as_it_is_complete() {
    let mut child = weir(&["--memory", "--format", "ndjson"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("weir");
    let mut input = child.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
    for number in 1..4 {
        writeln!(input, "SELECT {number}\n  AS n;").expect("a pipe");
        let mut line = String::new();
        answers.read_line(&mut line).expect("a pipe");
        assert_eq!(line, format!("{{\"n\":{number}}}\n"));
    }
    drop(input);
    assert_eq!(code(child), Some(0));
}

// ---- errors ----------------------------------------------------------------------------------

#[test]
fn the_first_error_ends_with_code_1_and_a_caret() {
    let outcome = run(&[
        "--memory",
        "-c",
        "SELECT 1 AS one; SELECT nothing FROM nowhere; SELECT 2 AS two",
    ]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stdout.contains("one") && !outcome.stdout.contains("two"),
        "{outcome:?}"
    );
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(
        lines[0].starts_with("error: ") && lines[0].contains("nowhere"),
        "{outcome:?}"
    );
    assert_eq!(lines[1], "  SELECT nothing FROM nowhere", "{outcome:?}");
    assert_eq!(lines[2].find('^'), lines[1].find("nowhere"), "{outcome:?}");
}

#[test]
fn an_error_in_a_file_says_in_which_line_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bad.sql");
    std::fs::write(&file, "-- a comment\nSELECT 1;\n\nSELECT\n  2 +;\n").expect("a file");
    let name = file.to_str().expect("a name");
    let outcome = run(&["--memory", "-f", name]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.starts_with(&format!("error: {name}:5: ")), "{outcome:?}");
    assert!(outcome.stderr.contains("\n    2 +"), "{outcome:?}");
    let outcome = run_with(&["--memory"], "SELECT 1;\nnonsense;\n");
    assert!(outcome.stderr.starts_with("error: stdin:2: "), "{outcome:?}");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let outcome = run(&["--memory", "-f", "no-such-file.sql"]);
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.starts_with("error: can't read no-such-file.sql: "),
        "{outcome:?}"
    );
    let outcome = run(&["--connect", "http://127.0.0.1:1", "-c", "SELECT 1"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("http://127.0.0.1:1"), "{outcome:?}");
    let outcome = run(&["--memory", "-c", "\\nothing"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("\\?"), "{outcome:?}");
    let outcome = run(&["--memory", "--data", "x"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
}

// ---- push queries ----------------------------------------------------------------------------

#[test]
fn a_push_query_writes_rows_as_they_come_and_ends_with_ctrl_c() {
    let sql = "CREATE SOURCE numbers (id BIGINT) WITH (connector = 'datagen', rows_per_second = 50,
        fields.id.kind = 'sequence');
    SELECT id FROM numbers EMIT CHANGES; SELECT 'never' AS reached";
    for (format, header) in [("ndjson", ""), ("csv", "id\n"), ("json", "[\n")] {
        let mut child = weir(&["--memory", "--format", format, "-c", sql])
            .stdout(Stdio::piped())
            .spawn()
            .expect("weir");
        let mut rows = BufReader::new(child.stdout.take().expect("a pipe"));
        for _ in 0..20 {
            let mut line = String::new();
            assert!(rows.read_line(&mut line).expect("a pipe") > 0);
        }
        interrupt(&child, "-INT");
        let mut rest = String::new();
        rows.read_to_string(&mut rest).expect("a pipe");
        assert_eq!(code(child), Some(130), "{format}");
        assert!(!rest.contains("never"), "{format}: {rest}");
        assert_eq!(
            rest.trim_end().ends_with(']'),
            format == "json",
            "{format} {header}: {rest}"
        );
    }
}

#[test]
fn a_push_query_ends_at_its_limit() {
    let sql = "CREATE SOURCE numbers (id BIGINT) WITH (connector = 'datagen', rows_per_second = 1000,
        fields.id.kind = 'sequence', fields.id.start = 7);
    SELECT id FROM numbers EMIT CHANGES LIMIT 3";
    let expected = "CREATE SOURCE\n id\n────\n  7\n  8\n  9\n(3 rows)\n";
    assert_eq!(output(&["--memory", "-c", sql], ""), expected);
}

#[test]
fn without_a_terminal_an_updating_query_writes_marked_changes() {
    let sql = "CREATE SOURCE numbers (id BIGINT) WITH (connector = 'datagen', rows_per_second = 0,
        number_of_rows = 4, fields.id.kind = 'sequence');
    SELECT id % 2 AS k, count(*) AS n FROM numbers GROUP BY id % 2 EMIT CHANGES";
    let shown = output(&["--memory", "-c", sql], "");
    let mut sums = [0, 0];
    for line in shown.lines() {
        let cells: Vec<&str> = line.split('│').map(str::trim).collect();
        if let ["+" | "-", k, n] = cells[..] {
            let count: i64 = n.parse().expect("a count");
            let sum: &mut i64 = &mut sums[k.parse::<usize>().expect("a key")];
            *sum += if cells[0] == "+" { count } else { -count };
        }
    }
    assert_eq!(sums, [2, 2], "{shown}");
    let lines = output(&["--memory", "--format", "ndjson", "-c", sql], "");
    let sum: i64 = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|row| row["n"].as_i64().expect("a count") * row["weir_weight"].as_i64().expect("a weight"))
        .sum();
    assert_eq!(sum, 4, "{lines}");
}

#[test]
fn a_reader_that_stops_is_no_error() {
    let sql = format!("{NUMBERS} SELECT id FROM numbers EMIT CHANGES");
    let mut child = weir(&["--memory", "-c", &sql])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weir");
    let mut rows = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    rows.read_line(&mut line).expect("a pipe");
    drop(rows);
    let mut complaints = child.stderr.take().expect("a pipe");
    assert_eq!(code(child), Some(141));
    let mut said = String::new();
    complaints.read_to_string(&mut said).expect("a pipe");
    assert_eq!(said, "");
}

// ---- data directories and servers ------------------------------------------------------------

#[test]
fn a_directory_keeps_its_data_for_one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("a name");
    output(&["--data", data, "-c", RATES], "");
    let count = [
        "--data",
        data,
        "--format",
        "csv",
        "-c",
        "SELECT count(*) AS n FROM rates",
    ];
    assert_eq!(output(&count, ""), "n\n3\n");

    let (server, address) = serve(&["--data", data]);
    let refused = run(&count);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(data), "{refused:?}");
    let remote = [
        "--connect",
        &address,
        "--format",
        "csv",
        "-c",
        "INSERT INTO rates VALUES ('YYY', 1, NULL)",
    ];
    assert_eq!(output(&remote, ""), "");
    interrupt(&server, "-TERM");
    assert_eq!(code(server), Some(0));
    assert_eq!(output(&count, ""), "n\n4\n");
}

/// Starts a server on a port of its choice.
fn serve(arguments: &[&str]) -> (Child, String) {
    let mut child = weir(&["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("weir");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut address = |before: &str| {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a pipe");
        let (_, address) = line.trim_end().split_once(before).unwrap_or_else(|| panic!("{line:?}"));
        assert!(!address.ends_with(":0"), "{line:?}");
        format!("http://{address}")
    };
    let grpc = address("gRPC (Arrow Flight SQL) on http://");
    address("HTTP (/healthz, /metrics) on http://");
    (child, grpc)
}

// ---- in a terminal ---------------------------------------------------------------------------

#[test]
fn a_person_can_work_in_it() {
    let Some(mut shell) = Terminal::open("a_person_can_work_in_it", &["--memory"]) else {
        return;
    };
    shell.expect("\\? for help");
    shell.types("CREATE TABLE t (id BIGINT PRIMARY KEY,\n  name TEXT);\n");
    shell.expect("CREATE TABLE (");
    shell.types("insert into t values (1, NULL), (2, 'zwei');\n");
    shell.expect("INSERT 2 (");
    shell.types("select * from t order by id;\n");
    shell.expect(" 1 │ NULL");
    shell.expect(" 2 │ zwei");
    shell.expect("(2 rows, ");
    shell.types("\\x\n");
    shell.expect("Expanded display is on.");
    shell.types("select * from t where id = 2;\n");
    shell.expect("row 1 ]");
    shell.expect("name │ zwei");
    shell.types("\\x off\n");
    shell.expect("Expanded display is off.");
    shell.types("\\d t\n");
    shell.expect(" id ");
    shell.expect(" name ");
    shell.expect("(2 rows, ");
    shell.types("select nam from t;\n");
    shell.expect("error:");
    shell.expect("^");
    // Ctrl-C clears what is typed, and the tab completes the table's name.
    shell.types("create table measurements (x int);\n");
    shell.expect("CREATE TABLE (");
    shell.expect("weir> ");
    shell.types("select 'cleared' from \x03");
    shell.expect("cleared");
    shell.expect("weir> ");
    shell.types("select count(*) as fresh from meas\t;\n");
    shell.expect("fresh");
    shell.expect("(1 row, ");
    shell.types("quit\n");
    assert_eq!(shell.code(), Some(0));
}

#[test]
fn ctrl_c_cancels_the_query_and_not_the_shell() {
    let Some(mut shell) = Terminal::open("ctrl_c_cancels_the_query_and_not_the_shell", &["--memory"]) else {
        return;
    };
    shell.expect("\\? for help");
    shell.types(NUMBERS);
    shell.expect("CREATE SOURCE (");
    shell.types("select id from numbers emit changes;\n");
    shell.expect(" 10\r\n");
    shell.types("\x03");
    shell.expect(" rows, ");
    shell.expect("weir> ");
    shell.types("select 40 + 2 as answer;\n");
    shell.expect(" 42");
    shell.expect("weir> ");
    shell.types("\x04");
    assert_eq!(shell.code(), Some(0));
}

#[test]
fn an_updating_query_is_drawn_in_its_place() {
    let Some(mut shell) = Terminal::open("an_updating_query_is_drawn_in_its_place", &["--memory"]) else {
        return;
    };
    shell.expect("\\? for help");
    shell.types(NUMBERS);
    shell.expect("CREATE SOURCE (");
    shell.types(COUNTS);
    shell.expect("CREATE MATERIALIZED VIEW (");
    shell.types("select k, n from counts emit changes;\n");
    shell.expect("3 rows · ");
    // The cursor goes up over header, rule, three rows and status, and the rows come again.
    shell.expect("\x1b[6A");
    shell.expect("3 rows · ");
    shell.types("\x03");
    shell.expect("(3 rows; ");
    shell.types("\\q\n");
    assert_eq!(shell.code(), Some(0));
}

#[test]
fn a_wide_table_fits_the_terminal() {
    let Some(mut shell) = Terminal::open("a_wide_table_fits_the_terminal", &["--memory"]) else {
        return;
    };
    shell.expect("\\? for help");
    shell.types("select 12345678901234 as number, repeat('wide', 50) as text;\n");
    shell.expect(" 12345678901234 │ widewide");
    shell.expect("…\r\n");
    shell.expect("some values are cut: \\x shows all)");
    shell.types("\\q\n");
    assert_eq!(shell.code(), Some(0));
}
