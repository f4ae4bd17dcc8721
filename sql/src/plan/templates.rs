//! PostgreSQL's templates of dates and times, `YYYY-MM-DD HH24:MI:SS`, for `to_char`, `to_date` and
//! `to_timestamp`.
//!
//! A template is taken apart once ([`parse`]) into fields and the text between them; [`show`] writes a
//! time by it, [`lengths`] an interval, and [`read`] reads one. Templates of numbers are in [`amounts`].

pub mod amounts;
pub(super) mod calendar;
pub mod lengths;
pub mod read;
pub mod show;

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// Something of the time.
    Field {
        /// What.
        field: Field,
        /// `FM`: without blanks and zeros that fill it up.
        bare: bool,
        /// `th` or `TH` behind it, the ordinal's ending.
        ordinal: Option<Letters>,
    },
}

/// How a word's letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    /// `MONTH`
    Upper,
    /// `Month`
    Title,
    /// `month`
    Lower,
}

/// Something of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Hour12,
    Hour24,
    Minute,
    Second,
    /// Digits of the second's fraction.
    Fraction(u32),
    SecondOfDay,
    /// AM or PM, maybe with points.
    Meridiem {
        letters: Letters,
        points: bool,
    },
    /// The last digits of the year.
    Year(u32),
    YearWithComma,
    IsoYear(u32),
    /// BC or AD, maybe with points.
    Era {
        letters: Letters,
        points: bool,
    },
    MonthName(Letters),
    MonthShort(Letters),
    Month,
    MonthRoman(Letters),
    DayName(Letters),
    DayShort(Letters),
    DayOfYear,
    IsoDayOfYear,
    Day,
    /// 1 is Sunday.
    DayOfWeek,
    /// 1 is Monday.
    IsoDayOfWeek,
    WeekOfMonth,
    WeekOfYear,
    IsoWeek,
    Century,
    JulianDay,
    Quarter,
    Zone(Letters),
    ZoneHours,
    ZoneMinutes,
    Offset,
}

use Field::*;
use Letters::{Lower, Title, Upper};

/// Fields by the words for them; a word stands before those that it begins with.
const WORDS: [(&str, Field); 98] = [
    (
        "A.D.",
        Era {
            letters: Upper,
            points: true,
        },
    ),
    (
        "A.M.",
        Meridiem {
            letters: Upper,
            points: true,
        },
    ),
    (
        "AD",
        Era {
            letters: Upper,
            points: false,
        },
    ),
    (
        "AM",
        Meridiem {
            letters: Upper,
            points: false,
        },
    ),
    (
        "B.C.",
        Era {
            letters: Upper,
            points: true,
        },
    ),
    (
        "BC",
        Era {
            letters: Upper,
            points: false,
        },
    ),
    ("CC", Century),
    ("DAY", DayName(Upper)),
    ("DDD", DayOfYear),
    ("DD", Day),
    ("DY", DayShort(Upper)),
    ("Day", DayName(Title)),
    ("Dy", DayShort(Title)),
    ("D", DayOfWeek),
    ("FF1", Fraction(1)),
    ("FF2", Fraction(2)),
    ("FF3", Fraction(3)),
    ("FF4", Fraction(4)),
    ("FF5", Fraction(5)),
    ("FF6", Fraction(6)),
    ("HH24", Hour24),
    ("HH12", Hour12),
    ("HH", Hour12),
    ("IDDD", IsoDayOfYear),
    ("ID", IsoDayOfWeek),
    ("IW", IsoWeek),
    ("IYYY", IsoYear(4)),
    ("IYY", IsoYear(3)),
    ("IY", IsoYear(2)),
    ("I", IsoYear(1)),
    ("J", JulianDay),
    ("MI", Minute),
    ("MM", Month),
    ("MONTH", MonthName(Upper)),
    ("MON", MonthShort(Upper)),
    ("MS", Fraction(3)),
    ("Month", MonthName(Title)),
    ("Mon", MonthShort(Title)),
    ("OF", Offset),
    (
        "P.M.",
        Meridiem {
            letters: Upper,
            points: true,
        },
    ),
    (
        "PM",
        Meridiem {
            letters: Upper,
            points: false,
        },
    ),
    ("Q", Quarter),
    ("RM", MonthRoman(Upper)),
    ("SSSSS", SecondOfDay),
    ("SSSS", SecondOfDay),
    ("SS", Second),
    ("TZH", ZoneHours),
    ("TZM", ZoneMinutes),
    ("TZ", Zone(Upper)),
    ("US", Fraction(6)),
    ("WW", WeekOfYear),
    ("W", WeekOfMonth),
    ("Y,YYY", YearWithComma),
    ("YYYY", Year(4)),
    ("YYY", Year(3)),
    ("YY", Year(2)),
    ("Y", Year(1)),
    (
        "a.d.",
        Era {
            letters: Lower,
            points: true,
        },
    ),
    (
        "a.m.",
        Meridiem {
            letters: Lower,
            points: true,
        },
    ),
    (
        "ad",
        Era {
            letters: Lower,
            points: false,
        },
    ),
    (
        "am",
        Meridiem {
            letters: Lower,
            points: false,
        },
    ),
    (
        "b.c.",
        Era {
            letters: Lower,
            points: true,
        },
    ),
    (
        "bc",
        Era {
            letters: Lower,
            points: false,
        },
    ),
    ("cc", Century),
    ("day", DayName(Lower)),
    ("ddd", DayOfYear),
    ("dd", Day),
    ("dy", DayShort(Lower)),
    ("d", DayOfWeek),
    ("hh24", Hour24),
    ("hh12", Hour12),
    ("hh", Hour12),
    ("iddd", IsoDayOfYear),
    ("id", IsoDayOfWeek),
    ("iw", IsoWeek),
    ("iyyy", IsoYear(4)),
    ("j", JulianDay),
    ("mi", Minute),
    ("mm", Month),
    ("month", MonthName(Lower)),
    ("mon", MonthShort(Lower)),
    ("ms", Fraction(3)),
    (
        "p.m.",
        Meridiem {
            letters: Lower,
            points: true,
        },
    ),
    (
        "pm",
        Meridiem {
            letters: Lower,
            points: false,
        },
    ),
    ("q", Quarter),
    ("rm", MonthRoman(Lower)),
    ("sssss", SecondOfDay),
    ("ssss", SecondOfDay),
    ("ss", Second),
    ("tz", Zone(Lower)),
    ("us", Fraction(6)),
    ("ww", WeekOfYear),
    ("w", WeekOfMonth),
    ("y,yyy", YearWithComma),
    ("yyyy", Year(4)),
    ("yyy", Year(3)),
    ("yy", Year(2)),
    ("y", Year(1)),
];

/// The parts of a template; an error says what in it is not known.
pub fn parse(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(next) = rest.chars().next() {
        let (bare, behind) = match rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            Some(behind) => (true, behind),
            None => (false, rest),
        };
        if let Some((word, field)) = WORDS.iter().find(|(word, _)| behind.starts_with(word)) {
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            rest = &behind[word.len()..];
            let ordinal = match rest.get(..2) {
                Some("TH") => Some(Upper),
                Some("th") => Some(Lower),
                _ => None,
            };
            if ordinal.is_some() {
                rest = &rest[2..];
            }
            let field = *field;
            parts.push(Part::Field { field, bare, ordinal });
            continue;
        }
        if bare {
            rest = behind;
            continue;
        }
        for unknown in ["FX", "TM", "SP"] {
            if rest.starts_with(unknown) {
                return Err(format!("{unknown} in a template is not there yet"));
            }
        }
        rest = &rest[next.len_utf8()..];
        match next {
            '%' if rest.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                return Err(format!(
                    "'{template}' is no template of PostgreSQL: write YYYY-MM-DD HH24:MI:SS, not %Y-%m-%d %H:%M:%S"
                ));
            }
            '"' => rest = quoted(rest, &mut text),
            '\\' if rest.starts_with('"') => {
                text.push('"');
                rest = &rest[1..];
            }
            other => text.push(other),
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

/// Takes what stands in double quotes into `text`; what stands behind them.
fn quoted<'a>(rest: &'a str, text: &mut String) -> &'a str {
    let mut escaped = false;
    for (at, next) in rest.char_indices() {
        match next {
            '"' if !escaped => return &rest[at + 1..],
            '\\' if !escaped => escaped = true,
            other => {
                text.push(other);
                escaped = false;
            }
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_taken_apart() {
        let field = |field| Part::Field {
            field,
            bare: false,
            ordinal: None,
        };
        let text = |text: &str| Part::Text(text.to_string());
        assert_eq!(
            parse("YYYY-MM-DD").unwrap(),
            [field(Year(4)), text("-"), field(Month), text("-"), field(Day)]
        );
        assert_eq!(
            parse("FMDDth \"day of\" FMMonth").unwrap(),
            [
                Part::Field {
                    field: Day,
                    bare: true,
                    ordinal: Some(Lower)
                },
                text(" day of "),
                Part::Field {
                    field: MonthName(Title),
                    bare: true,
                    ordinal: None
                },
            ]
        );
        assert_eq!(
            parse("HH24MISSUS").unwrap(),
            [field(Hour24), field(Minute), field(Second), field(Fraction(6))]
        );
        assert!(parse("%Y-%m-%d").unwrap_err().contains("YYYY-MM-DD"));
    }
}
