//! How large a function's result will be, told from its arguments before it is made.
//!
//! A single value has [`LARGEST_VALUE`] bytes at most, and the values of the rows that are computed
//! together [`LARGEST_COLUMN`]: a column's texts lie behind each other in one piece of memory.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type, IntervalMonthDayNanoType, TimestampNanosecondType};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions::regex::regexpcount::regexp_count_func;
use datafusion::logical_expr::ColumnarValue;

/// Bytes that a value may have which a function makes of smaller ones.
pub const LARGEST_VALUE: u64 = 16 << 20;
/// Bytes of all values of a column that are computed together.
pub const LARGEST_COLUMN: u64 = 1 << 30;

/// How a function's result grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Growth {
    /// A text so many times.
    Repeat,
    /// A text to so many characters.
    Pad,
    /// One part of a text for another.
    Replace,
    /// A value so many times.
    RepeatValue,
    /// An array to so many values.
    Resize,
    /// From one value to another in steps; up to the last, or with it.
    Range,
    /// What matches a regular expression for another text.
    RegexReplace,
    /// All arguments behind each other.
    Sum,
    /// All arguments behind each other, with the first between them.
    SumWithSeparator,
}

/// The functions that grow.
pub const GROWING: [(&str, Growth); 15] = [
    ("repeat", Growth::Repeat),
    ("lpad", Growth::Pad),
    ("rpad", Growth::Pad),
    ("replace", Growth::Replace),
    ("array_repeat", Growth::RepeatValue),
    ("array_resize", Growth::Resize),
    ("range", Growth::Range),
    ("generate_series", Growth::Range),
    ("regexp_replace", Growth::RegexReplace),
    ("concat", Growth::Sum),
    ("concat_ws", Growth::SumWithSeparator),
    ("overlay", Growth::Sum),
    ("array_append", Growth::Sum),
    ("array_prepend", Growth::Sum),
    ("array_concat", Growth::Sum),
];

impl Growth {
    /// Fails if the function would give too large a value for one of `rows` rows, or for all of them
    /// together.
    pub fn check(self, function: &str, args: &[ColumnarValue], rows: usize) -> Result<()> {
        let constant = args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let args: Vec<Argument> = args.iter().map(Argument::new).collect::<Result<_>>()?;
        let mut total = 0u64;
        for row in 0..if constant { 1 } else { rows } {
            let size = self.size(&args, row).unwrap_or(0);
            if size > LARGEST_VALUE {
                return exec_err!(
                    "{function}() would make a value of {}; a value made by a function has {} at most",
                    readable(size),
                    readable(LARGEST_VALUE)
                );
            }
            total = total.saturating_add(size);
        }
        if constant {
            total = total.saturating_mul(rows as u64);
        }
        if total > LARGEST_COLUMN {
            return exec_err!(
                "{function}() would make {} for {rows} rows at once; {} fit",
                readable(total),
                readable(LARGEST_COLUMN)
            );
        }
        Ok(())
    }

    /// Bytes of the result for a row; `None` where it is NULL, or an error that the function finds.
    fn size(self, args: &[Argument], row: usize) -> Option<u64> {
        let times = |arg: &Argument| Some(u64::try_from(arg.number(row)?).unwrap_or(0));
        match (self, args) {
            (Growth::Repeat, [text, count]) => Some(text.bytes(row)?.saturating_mul(times(count)?)),
            (Growth::Pad, [text, count, ..]) => {
                let widest = match args.get(2) {
                    Some(fill) if !fill.text(row)?.is_ascii() => 4,
                    _ => 1,
                };
                Some(text.bytes(row)?.saturating_add(times(count)?.saturating_mul(widest)))
            }
            (Growth::Replace, [text, from, to]) => {
                let (text, from, to) = (text.text(row)?, from.text(row)?, to.text(row)?);
                let most = (text.len() / from.len().max(1) + 1).saturating_mul(to.len()) + text.len();
                match most as u64 > LARGEST_VALUE {
                    true => {
                        Some((text.matches(from).count() as u64).saturating_mul(to.len() as u64) + text.len() as u64)
                    }
                    false => Some(most as u64),
                }
            }
            (Growth::RepeatValue, [value, count]) => Some(value.bytes(row).unwrap_or(1).saturating_mul(times(count)?)),
            (Growth::Resize, [_, count, ..]) => {
                let fill = args.get(2).and_then(|fill| fill.bytes(row)).unwrap_or(8);
                Some(times(count)?.saturating_mul(fill))
            }
            (Growth::Range, [stop]) => Some(times(stop)?.saturating_mul(8)),
            (Growth::Range, [start, stop, step @ ..]) => {
                let (start, stop) = (start.moment(row)?, stop.moment(row)?);
                let step = match step.first() {
                    Some(step) => step.moment(row)?,
                    None => 1,
                };
                let count = (stop - start).checked_div(step).filter(|count| *count >= 0)?;
                Some(
                    u64::try_from(count)
                        .unwrap_or(u64::MAX)
                        .saturating_add(1)
                        .saturating_mul(8),
                )
            }
            (Growth::RegexReplace, [text, regex, to, flags @ ..]) => {
                let flags = flags.first().and_then(|flags| flags.text(row)).unwrap_or("");
                Some(replaced(text.text(row)?, regex.text(row)?, to.text(row)?, flags))
            }
            (Growth::Sum, args) => Some(args.iter().filter_map(|arg| arg.bytes(row)).sum()),
            (Growth::SumWithSeparator, [separator, args @ ..]) => {
                let between = separator.bytes(row)?.saturating_mul(args.len() as u64);
                Some(args.iter().filter_map(|arg| arg.bytes(row)).sum::<u64>() + between)
            }
            _ => None,
        }
    }
}

/// Fails if texts joined by `||` would be too large. Both columns have `rows` values, or one for all.
pub fn check_joined(left: &ColumnarValue, right: &ColumnarValue, rows: usize) -> Result<()> {
    Growth::Sum.check("||", &[left.clone(), right.clone()], rows)
}

/// Bytes that a text has at most when all that matches is replaced.
fn replaced(text: &str, regex: &str, to: &str, flags: &str) -> u64 {
    /// Up to so many bytes it isn't worth to count what matches.
    const SMALL: u64 = 64 << 10;
    let references = to.matches(['\\', '$']).count();
    let of_matches = |matches: usize| {
        let (text, to) = (text.len() as u64, to.len() as u64);
        text.saturating_mul(references as u64 + 1)
            .saturating_add(to.saturating_mul(matches as u64))
    };
    if !flags.contains('g') {
        return of_matches(1);
    }
    let most = of_matches(text.chars().count() + 1);
    if most <= SMALL {
        return most;
    }
    let one = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let flags = flags.replace('g', "");
    let start: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let counted = regexp_count_func(&[one(text), one(regex), start, one(&flags)]);
    // Of a wrong expression the function itself says what is wrong.
    let counted = counted
        .ok()
        .and_then(|count| Some(count.as_primitive_opt::<Int64Type>()?.value(0)));
    counted.map_or(0, |matches| of_matches(usize::try_from(matches).unwrap_or(0)))
}

/// An argument: an array with a value for each row, or with one for all.
struct Argument {
    array: ArrayRef,
    single: bool,
}

impl Argument {
    fn new(value: &ColumnarValue) -> Result<Argument> {
        Ok(match value {
            ColumnarValue::Array(array) => Argument {
                array: array.clone(),
                single: false,
            },
            ColumnarValue::Scalar(scalar) => Argument {
                array: ScalarValue::to_array(scalar)?,
                single: true,
            },
        })
    }

    fn place(&self, row: usize) -> Option<usize> {
        let row = if self.single { 0 } else { row };
        self.array.is_valid(row).then_some(row)
    }

    fn bytes(&self, row: usize) -> Option<u64> {
        let row = self.place(row)?;
        Some(bytes(self.array.as_ref(), row))
    }

    fn text(&self, row: usize) -> Option<&str> {
        let row = self.place(row)?;
        match self.array.data_type() {
            DataType::Utf8 => Some(self.array.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => Some(self.array.as_string::<i64>().value(row)),
            DataType::Utf8View => Some(self.array.as_string_view().value(row)),
            _ => None,
        }
    }

    fn number(&self, row: usize) -> Option<i64> {
        let row = self.place(row)?;
        Some(self.array.as_primitive_opt::<Int64Type>()?.value(row))
    }

    /// A number, a time in nanoseconds, or the least of what an interval may last.
    fn moment(&self, row: usize) -> Option<i128> {
        const DAY_NS: i128 = 86_400_000_000_000;
        let row = self.place(row)?;
        let array = &self.array;
        if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
            return Some(numbers.value(row).into());
        }
        if let Some(times) = array.as_primitive_opt::<TimestampNanosecondType>() {
            return Some(times.value(row).into());
        }
        if let Some(days) = array.as_primitive_opt::<Date32Type>() {
            return Some(i128::from(days.value(row)) * DAY_NS);
        }
        let interval = array.as_primitive_opt::<IntervalMonthDayNanoType>()?.value(row);
        let days = i128::from(interval.months) * 28 + i128::from(interval.days);
        Some(days * DAY_NS + i128::from(interval.nanoseconds))
    }
}

/// Bytes of one value, about.
fn bytes(array: &dyn Array, row: usize) -> u64 {
    if array.is_null(row) {
        return 1;
    }
    let items = |items: ArrayRef| (0..items.len()).map(|item| bytes(items.as_ref(), item)).sum();
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).len() as u64,
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len() as u64,
        DataType::Utf8View => array.as_string_view().value(row).len() as u64,
        DataType::Binary => array.as_binary::<i32>().value(row).len() as u64,
        DataType::BinaryView => array.as_binary_view().value(row).len() as u64,
        DataType::List(_) => items(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => items(array.as_list::<i64>().value(row)),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns();
            columns.iter().map(|column| bytes(column.as_ref(), row)).sum()
        }
        kind => kind.primitive_width().unwrap_or(8) as u64,
    }
}

fn readable(bytes: u64) -> String {
    match bytes {
        u64::MAX => "more bytes than there are".to_string(),
        bytes if bytes >= 1 << 30 => format!("{} GiB", bytes >> 30),
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::from(value))
    }

    fn number(value: i64) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::from(value))
    }

    fn refused(growth: Growth, args: &[ColumnarValue], rows: usize) -> Option<String> {
        growth.check("f", args, rows).err().map(|error| error.strip_backtrace())
    }

    #[test]
    fn what_is_small_passes() {
        assert_eq!(refused(Growth::Repeat, &[text("ab"), number(1000)], 100), None);
        assert_eq!(refused(Growth::Repeat, &[text("ab"), number(-5)], 1), None);
        assert_eq!(
            refused(Growth::Replace, &[text("abc"), text("b"), text("xyz")], 1),
            None
        );
        let long = "x".repeat(100_000);
        let few = [
            text(&long),
            text("y"),
            text("0123456789".repeat(100).as_str()),
            text("g"),
        ];
        assert_eq!(refused(Growth::RegexReplace, &few, 1), None);
        assert_eq!(refused(Growth::Range, &[number(1), number(1000), number(2)], 1), None);
        assert_eq!(
            refused(Growth::Range, &[number(1), number(i64::MAX), number(-1)], 1),
            None
        );
        assert_eq!(refused(Growth::Range, &[number(1), number(5), number(0)], 1), None);
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_made() {
        let of_a_value = |growth, args: &[ColumnarValue]| {
            let error = refused(growth, args, 1).expect("it is refused");
            assert!(
                error.contains("would make a value of") && error.contains("16 MiB at most"),
                "{error}"
            );
        };
        of_a_value(Growth::Repeat, &[text("x"), number(2_000_000_000)]);
        of_a_value(Growth::Repeat, &[text("xx"), number(i64::MAX)]);
        of_a_value(Growth::Pad, &[text("x"), number(20_000_000)]);
        of_a_value(Growth::Pad, &[text("x"), number(5_000_000), text("ü")]);
        of_a_value(Growth::RepeatValue, &[number(7), number(3_000_000)]);
        of_a_value(Growth::Range, &[number(i64::MIN), number(i64::MAX)]);
        let long = "x".repeat(10_000);
        of_a_value(Growth::Replace, &[text(&long), text("x"), text(&long)]);
        of_a_value(Growth::RegexReplace, &[text(&long), text("X"), text(&long), text("gi")]);
        let half = "x".repeat(10 << 20);
        of_a_value(Growth::Sum, &[text(&half), text(&half)]);
    }

    #[test]
    fn rows_count_together() {
        let texts = ColumnarValue::Array(Arc::new(StringArray::from(vec!["x"; 200])));
        let counts = ColumnarValue::Array(Arc::new(Int64Array::from(vec![10_000_000; 200])));
        let error = refused(Growth::Repeat, &[texts, counts], 200).expect("it is refused");
        assert!(error.contains("for 200 rows at once"), "{error}");
        let error = refused(Growth::Repeat, &[text("x"), number(10_000_000)], 8192).expect("it is refused");
        assert!(error.contains("for 8192 rows at once"), "{error}");
    }
}
