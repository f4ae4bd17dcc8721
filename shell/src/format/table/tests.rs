//! Tests of tables: what a person sees.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};

use super::*;
use crate::screen::Style;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// What is printed, and what is said about it.
fn print(batch: &RecordBatch, layout: Layout) -> (String, Option<&'static str>) {
    let mut table = TablePrinter::new(&batch.schema(), layout);
    let mut out = Vec::new();
    table.rows(batch, &mut out).expect("rows");
    table.end(&mut out);
    (String::from_utf8(out).expect("text"), table.note())
}

fn narrow(width: usize) -> Layout {
    Layout {
        width: Some(width),
        ..Layout::default()
    }
}

#[test]
fn numbers_stand_right_and_nulls_are_seen() {
    let rows = batch(vec![
        ("name", text(&[Some("NULL"), None, Some("日本")])),
        ("bids", numbers(&[1, 200, -3])),
        ("note", text(&[Some(""), Some("a\tb\n"), None])),
    ]);
    let expected = [
        " name   │ bids │ note",
        "────────┼──────┼────────",
        " NULL   │    1 │ ",
        " [NULL] │  200 │ a\\tb\\n",
        " 日本   │   -3 │ [NULL]",
        "",
    ];
    assert_eq!(print(&rows, Layout::default()), (expected.join("\n"), None));
}

#[test]
fn emphasis_takes_no_room() {
    let rows = batch(vec![("a", text(&[None])), ("b", numbers(&[1]))]);
    let layout = Layout {
        style: Style::new(true),
        ..Layout::default()
    };
    let (shown, _) = print(&rows, layout);
    let mut plain = String::new();
    for (at, part) in shown.split("\x1b[").enumerate() {
        plain.push_str(if at == 0 {
            part
        } else {
            part.split_once('m').expect("a code").1
        });
    }
    assert_eq!(plain, " a    │ b\n──────┼───\n NULL │ 1\n");
}

#[test]
fn no_rows_have_a_header() {
    let rows = batch(vec![("a", numbers(&[]))]);
    assert_eq!(print(&rows, Layout::default()).0, " a\n───\n");
}

#[test]
fn long_texts_are_cut_before_anything_else() {
    let rows = batch(vec![
        ("id", numbers(&[1_234_567_890_123])),
        ("text", text(&[Some("a long text that does not fit")])),
        ("t", text(&[Some("short")])),
    ]);
    let (shown, note) = print(&rows, narrow(40));
    let expected = [
        "            id │ text            │ t",
        "───────────────┼─────────────────┼──────",
        " 1234567890123 │ a long text th… │ short",
        "",
    ];
    assert_eq!(shown, expected.join("\n"));
    assert_eq!(note, Some("some values are cut: \\x shows all"));
    for line in shown.lines() {
        assert!(line.width() <= 40, "{line}");
    }
}

#[test]
fn columns_that_do_not_fit_are_left_out_and_numbers_stay_whole() {
    let rows = batch(vec![
        ("first", numbers(&[1_234_567_890])),
        ("second", numbers(&[1_234_567_890])),
        ("third", numbers(&[1_234_567_890])),
    ]);
    let (shown, note) = print(&rows, narrow(30));
    let expected = [
        "      first │     second │ …",
        "────────────┼────────────┼───",
        " 1234567890 │ 1234567890 │ …",
        "",
    ];
    assert_eq!(shown, expected.join("\n"));
    assert_eq!(note, Some("some columns don't fit: \\x shows all"));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let rows = batch(vec![
        ("a", text(&[Some("日本語のとても長いテキスト"), None])),
        ("b", numbers(&[i64::MIN, 0])),
        ("c", text(&[Some("x"), Some("a text of some length")])),
        ("a column with a long name", numbers(&[1, 2])),
    ]);
    for width in 1..120 {
        let (shown, _) = print(&rows, narrow(width));
        for line in shown.lines().filter(|_| width >= 6) {
            assert!(line.width() <= width, "{width}: {line:?}");
        }
        assert_eq!(shown.lines().count(), 4, "{width}");
    }
}

#[test]
fn a_column_alone_is_whole_and_keeps_its_lines() {
    let rows = batch(vec![(
        "plan",
        text(&[Some("Aggregate\n  Filter: a > 1 and more of it"), Some("x")]),
    )]);
    let (shown, note) = print(&rows, narrow(12));
    assert!(
        shown.ends_with(" Aggregate\n   Filter: a > 1 and more of it\n x\n"),
        "{shown}"
    );
    assert_eq!(note, None);
}

#[test]
fn expanded_rows_have_a_line_for_each_column() {
    let rows = batch(vec![
        ("id", numbers(&[7, 8])),
        ("text", text(&[Some("one\ntwo"), None])),
    ]);
    let layout = Layout {
        expanded: true,
        ..narrow(12)
    };
    let expected = [
        "─[ row 1 ]──",
        " id   │ 7",
        " text │ one",
        "      │ two",
        "─[ row 2 ]──",
        " id   │ 8",
        " text │ [NULL]",
        "",
    ];
    assert_eq!(print(&rows, layout).0, expected.join("\n"));
}

#[test]
fn changes_are_marked() {
    let rows = batch(vec![
        ("k", text(&[Some("a"), Some("a"), Some("b")])),
        ("weir_weight", numbers(&[1, -1, 3])),
    ]);
    let layout = Layout {
        marks: true,
        ..Layout::default()
    };
    assert_eq!(print(&rows, layout).0, "    │ k\n────┼───\n +  │ a\n -  │ a\n +3 │ b\n");
}

#[test]
fn rows_are_written_before_all_have_come() {
    let rows = batch(vec![
        ("n", numbers(&vec![5; HELD_ROWS])),
        ("m", numbers(&vec![5; HELD_ROWS])),
    ]);
    let mut table = TablePrinter::new(&rows.schema(), Layout::default());
    let mut out = Vec::new();
    table.rows(&rows.slice(0, HELD_ROWS - 1), &mut out).expect("rows");
    assert!(out.is_empty());
    table.rows(&rows.slice(0, 1), &mut out).expect("rows");
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), HELD_ROWS + 2);
    // Wider values widen their column from there on.
    let wide = batch(vec![("n", numbers(&[12_345])), ("m", numbers(&[1]))]);
    let mut more = Vec::new();
    table.rows(&wide, &mut more).expect("rows");
    table.end(&mut more);
    assert_eq!(String::from_utf8(more).expect("text"), " 12345 │ 1\n");
}

#[test]
fn a_frame_begins_anew_and_keeps_its_widths() {
    let wide = batch(vec![("n", numbers(&[12_345])), ("m", numbers(&[1]))]);
    let slim = batch(vec![("n", numbers(&[1])), ("m", numbers(&[1]))]);
    let mut table = TablePrinter::new(&wide.schema(), Layout::default());
    let mut out = Vec::new();
    table.frame(&wide, 80, &mut out).expect("a frame");
    out.clear();
    table.frame(&slim, 80, &mut out).expect("a frame");
    let shown = String::from_utf8(out).expect("text");
    assert_eq!(shown, "     n │ m\n───────┼───\n     1 │ 1\n");
}
