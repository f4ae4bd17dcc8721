//! PostgreSQL's templates of numbers, `999,990.00`, for `to_char` and `to_number`.
//!
//! Positions of digits are counted from the point: a `9` that the number doesn't reach is blank, a `0` is a zero. The
//! sign stands right before the first digit, or where `S`, `SG`, `MI` or `PR` say. `FM` leaves out blanks, and zeros at
//! the end that no `0` asks for. A number that is too long is written as `#`.

use std::ops::Range;

/// A template, taken apart.
#[derive(Debug, Default)]
pub struct Amount {
    pieces: Vec<Piece>,
    /// Positions before the point, those behind `V` among them, and behind it.
    whole: usize,
    fraction: usize,
    /// Digits behind `V`, by which the number is multiplied.
    shifted: usize,
    /// Positions of the first `0` before the point, and behind the last behind it.
    first_zero: Option<usize>,
    last_zero: usize,
    bare: bool,
    sign: Sign,
    form: Form,
}

#[derive(Debug)]
enum Piece {
    Digit,
    Point,
    Group,
    /// Where the sign is told to stand.
    Sign,
    /// The end of `PR`.
    Close,
    /// Ending of an ordinal, whether in capitals.
    Ordinal(bool),
    Text(String),
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Sign {
    /// A minus before the first digit, or a blank.
    #[default]
    Before,
    /// `S` at the front: a plus or minus there.
    Both,
    /// `S` behind, `SG`: a plus or minus where it stands.
    Placed,
    /// `MI`: a minus or blank where it stands.
    Minus,
    /// `PR`: angle brackets.
    Brackets,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Plain,
    /// `EEEE`
    Exponent,
    /// `RN`, whether in capitals.
    Roman(bool),
}

const KNOWN: &str = "9 0 . , D G S SG MI PR V FM TH th RN EEEE and text in double quotes";

/// Takes a template apart.
pub fn parse(template: &str) -> Result<Amount, String> {
    let refuse = |what: &str| {
        Err(format!(
            "the template '{template}' {what}; of numbers there are {KNOWN}"
        ))
    };
    let mut amount = Amount::default();
    let (mut rest, mut behind) = (template, false);
    while let Some(first) = rest.chars().next() {
        let upper = rest.get(..4.min(rest.len())).unwrap_or("").to_ascii_uppercase();
        let is = |word: &str| upper.starts_with(word);
        let mut length = first.len_utf8();
        match first {
            '9' | '0' if amount.shifted > 0 || !behind => {
                if first == '0' {
                    amount.first_zero.get_or_insert(amount.whole);
                }
                amount.whole += 1;
                amount.shifted += usize::from(behind);
                amount.pieces.push(Piece::Digit);
            }
            '9' | '0' if amount.pieces.iter().any(|piece| matches!(piece, Piece::Point)) => {
                amount.fraction += 1;
                if first == '0' {
                    amount.last_zero = amount.fraction;
                }
                amount.pieces.push(Piece::Digit);
            }
            '9' | '0' => {
                amount.first_zero = amount.first_zero.or((first == '0').then_some(amount.whole));
                amount.whole += 1;
                amount.shifted += 1;
                amount.pieces.push(Piece::Digit);
            }
            '.' | 'D' | 'd' if behind => return refuse("has two points"),
            '.' | 'D' | 'd' => {
                behind = true;
                amount.pieces.push(Piece::Point);
            }
            'V' | 'v' if behind => return refuse("has V behind a point"),
            'V' | 'v' => behind = true,
            ',' | 'G' | 'g' => amount.pieces.push(Piece::Group),
            '"' => {
                let Some(end) = rest[1..].find('"') else {
                    return refuse("has a quote that is never closed");
                };
                amount.pieces.push(Piece::Text(rest[1..end + 1].to_string()));
                length = end + 2;
            }
            _ if is("FM") => (amount.bare, length) = (true, 2),
            _ if is("EEEE") => (amount.form, length) = (Form::Exponent, 4),
            _ if is("RN") => (amount.form, length) = (Form::Roman(first == 'R'), 2),
            _ if is("TH") => {
                amount.pieces.push(Piece::Ordinal(first == 'T'));
                length = 2;
            }
            _ if is("SG") || is("MI") || is("PR") || is("S") => {
                if amount.sign != Sign::Before {
                    return refuse("says twice where the sign stands");
                }
                let starts = amount.whole == 0 && !behind;
                (amount.sign, length) = match () {
                    () if is("SG") => (Sign::Placed, 2),
                    () if is("MI") => (Sign::Minus, 2),
                    () if is("PR") => (Sign::Brackets, 2),
                    () if starts => (Sign::Both, 1),
                    () => (Sign::Placed, 1),
                };
                match amount.sign {
                    Sign::Brackets => amount.pieces.push(Piece::Close),
                    Sign::Both => {}
                    _ => amount.pieces.push(Piece::Sign),
                }
            }
            letter if letter.is_alphabetic() => return refuse(&format!("has {letter}")),
            other => amount.pieces.push(Piece::Text(other.to_string())),
        }
        rest = &rest[length..];
    }
    if amount.form == Form::Exponent && (amount.shifted > 0 || amount.sign != Sign::Before) {
        return refuse("has EEEE beside V or a sign");
    }
    Ok(amount)
}

impl Amount {
    /// Appends a number, given by its digits without an exponent (or as a word, as `NaN`).
    pub fn write(&self, number: &str, out: &mut String) {
        let (negative, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number),
        };
        match self.form {
            Form::Roman(capitals) => return self.write_roman(negative, digits, capitals, out),
            Form::Exponent => return self.write_exponent(negative, digits, out),
            Form::Plain => {}
        }
        let is_number = digits.starts_with(|c: char| c.is_ascii_digit());
        let (whole, fraction) = match is_number {
            true => rounded(&moved(digits, self.shifted), self.fraction),
            false => ("#".repeat(self.whole + 1), String::new()),
        };
        let negative = negative && (is_number && (whole != "0" || fraction.bytes().any(|byte| byte != b'0')));
        let (whole, fraction) = match whole.len() > self.whole && !(whole == "0" && self.fraction > 0) {
            true => ("#".repeat(self.whole), "#".repeat(self.fraction)),
            false => (whole, fraction),
        };
        self.write_pieces(negative, &whole, &fraction, out);
    }

    fn write_pieces(&self, negative: bool, whole: &str, fraction: &str, out: &mut String) {
        // Of 0.5 no zero is shown but where a 0 asks for one.
        let unseen = whole == "0" && self.fraction > 0;
        let used = if unseen { 0 } else { whole.len() };
        let start = self.whole - used.min(self.whole);
        let shown_from = self.first_zero.map_or(start, |zero| zero.min(start));
        let needed = fraction.trim_end_matches('0').len().max(self.last_zero);
        let (mut place, mut signed) = (0, false);
        for piece in &self.pieces {
            let begins = match piece {
                Piece::Digit => place >= shown_from,
                Piece::Point => true,
                _ => false,
            };
            if begins && !signed {
                out.push_str(self.opening(negative));
                signed = true;
            }
            match piece {
                Piece::Digit if place >= self.whole => {
                    let at = place - self.whole;
                    if !self.bare || at < needed {
                        out.push_str(&fraction[at..at + 1]);
                    }
                    place += 1;
                }
                Piece::Digit => {
                    match place {
                        place if place >= start => out.push_str(&whole[place - start..place - start + 1]),
                        place if place >= shown_from => out.push('0'),
                        place if self.bare && unseen && needed == 0 && place + 1 == self.whole => {
                            out.push_str(self.opening(negative));
                            signed = true;
                            out.push('0');
                        }
                        _ if !self.bare => out.push(' '),
                        _ => {}
                    }
                    place += 1;
                }
                Piece::Point => out.push('.'),
                Piece::Group if place > shown_from => out.push(','),
                Piece::Group if !self.bare => out.push(' '),
                Piece::Group => {}
                Piece::Sign => out.push_str(match (&self.sign, negative) {
                    (_, true) => "-",
                    (Sign::Placed, false) => "+",
                    _ if self.bare => "",
                    _ => " ",
                }),
                Piece::Close => out.push_str(match negative {
                    true => ">",
                    false if self.bare => "",
                    false => " ",
                }),
                Piece::Ordinal(capitals) => {
                    if !negative && self.fraction == 0 && !whole.starts_with('#') {
                        out.push_str(&ending(whole, *capitals));
                    }
                }
                Piece::Text(text) => out.push_str(text),
            }
        }
    }

    /// What stands right before the first digit.
    fn opening(&self, negative: bool) -> &'static str {
        match (&self.sign, negative) {
            (Sign::Placed | Sign::Minus, _) => "",
            (Sign::Brackets, true) => "<",
            (_, true) => "-",
            (Sign::Both, false) => "+",
            (_, false) if self.bare => "",
            (_, false) => " ",
        }
    }

    fn write_roman(&self, negative: bool, digits: &str, capitals: bool, out: &mut String) {
        const WIDTH: usize = 15;
        const SIGNS: [(u32, &str); 13] = [
            (1000, "M"),
            (900, "CM"),
            (500, "D"),
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        ];
        let (whole, _) = match digits.starts_with(|c: char| c.is_ascii_digit()) {
            true => rounded(digits, 0),
            false => (String::new(), String::new()),
        };
        let number = whole
            .parse::<u32>()
            .ok()
            .filter(|number| !negative && (1..4000).contains(number));
        let Some(mut number) = number else {
            out.push_str(&"#".repeat(WIDTH));
            return;
        };
        let mut roman = String::new();
        for (worth, sign) in SIGNS {
            while number >= worth {
                roman.push_str(sign);
                number -= worth;
            }
        }
        if !capitals {
            roman.make_ascii_lowercase();
        }
        match self.bare {
            true => out.push_str(&roman),
            false => out.push_str(&format!("{roman:>WIDTH$}")),
        }
    }

    fn write_exponent(&self, negative: bool, digits: &str, out: &mut String) {
        let all: String = digits.chars().filter(char::is_ascii_digit).collect();
        let zeros = all.bytes().take_while(|byte| *byte == b'0').count();
        let point = digits.find('.').unwrap_or(digits.len());
        let (significant, mut exponent) = match &all[zeros..] {
            "" => ("0", 0),
            rest => (rest, point as i64 - zeros as i64 - 1),
        };
        let mantissa = format!("{}.{}", &significant[..1], &significant[1..]);
        let (mut whole, mut fraction) = rounded(mantissa.trim_end_matches('.'), self.fraction);
        if whole.len() > 1 {
            (whole, fraction) = ("1".to_string(), "0".repeat(self.fraction));
            exponent += 1;
        }
        out.push_str(self.opening(negative));
        out.push_str(&whole);
        if self.fraction > 0 {
            out.push('.');
            out.push_str(&fraction);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        out.push_str(&format!("e{sign}{:02}", exponent.abs()));
    }

    /// Reads a number that is written by the template: its digits, without what only shows it.
    pub fn read(&self, text: &str) -> Result<String, String> {
        let wrong = || format!("'{text}' is no number of this template");
        if self.form != Form::Plain {
            return Err("to_number() reads no RN and no EEEE".to_string());
        }
        let mut written = text.trim();
        for piece in &self.pieces {
            if let Piece::Text(word) = piece
                && let Some(rest) = written.strip_prefix(word.as_str())
            {
                written = rest;
            }
        }
        let (mut digits, mut negative) = (String::new(), false);
        for c in written.chars() {
            match c {
                '0'..='9' => digits.push(c),
                '.' if !digits.contains('.') => digits.push(c),
                '-' | '<' => negative = true,
                '+' | '>' | ',' | ' ' => {}
                _ => return Err(wrong()),
            }
        }
        if !digits.bytes().any(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
        let fraction = &fraction[..fraction.len().min(self.fraction)];
        if whole.trim_start_matches('0').len() > self.whole {
            return Err(format!("'{text}' has more digits than the template"));
        }
        let sign = if negative { "-" } else { "" };
        let whole = format!("{whole:0>width$}", width = self.shifted + 1);
        let (whole, shifted): (&str, &str) = whole.split_at(whole.len() - self.shifted);
        Ok(format!("{sign}{whole}.{shifted}{fraction}0"))
    }
}

/// A number with its point moved to the right.
fn moved(digits: &str, by: usize) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = format!("{fraction:0<by$}");
    let (more, rest): (&str, &str) = fraction.split_at(by);
    format!("{whole}{more}.{rest}").trim_end_matches('.').to_string()
}

/// The digits before and behind the point, of which there are so many; rounded from halfway away from zero.
fn rounded(digits: &str, fraction: usize) -> (String, String) {
    let (whole, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let behind = format!("{behind:0<width$}", width = fraction + 1);
    let mut kept: Vec<u8> = format!("{whole}{}", &behind[..fraction]).into_bytes();
    if behind.as_bytes()[fraction] >= b'5' {
        let mut at: Range<usize> = 0..kept.len();
        loop {
            match at.next_back() {
                Some(place) if kept[place] == b'9' => kept[place] = b'0',
                Some(place) => {
                    kept[place] += 1;
                    break;
                }
                None => {
                    kept.insert(0, b'1');
                    break;
                }
            }
        }
    }
    let kept: String = kept.into_iter().map(char::from).collect();
    let (whole, behind) = kept.split_at(kept.len() - fraction);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    (whole.to_string(), behind.to_string())
}

/// `st`, `nd`, `rd` or `th`.
fn ending(whole: &str, capitals: bool) -> String {
    let tens = whole.as_bytes();
    let teen = tens.len() > 1 && tens[tens.len() - 2] == b'1';
    let ending = match tens.last() {
        Some(b'1') if !teen => "st",
        Some(b'2') if !teen => "nd",
        Some(b'3') if !teen => "rd",
        _ => "th",
    };
    match capitals {
        true => ending.to_ascii_uppercase(),
        false => ending.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_in_postgres() {
        let cases = [
            ("-0.1", "99.99", "  -.10"),
            ("-0.1", "FM9.99", "-.1"),
            ("-0.1", "FM90.99", "-0.1"),
            ("0.1", "0.9", " 0.1"),
            ("0", "FM9.9", "0."),
            ("0", "999", "   0"),
            ("12", "9990999.9", "    0012.0"),
            ("12", "FM9990999.9", "0012."),
            ("485", "999", " 485"),
            ("-485", "999", "-485"),
            ("-12", "9999", "  -12"),
            ("485", "9 9 9", " 4 8 5"),
            ("1485", "9,999", " 1,485"),
            ("485", "9,999", "   485"),
            ("485", "FM9,999", "485"),
            ("148.5", "999.999", " 148.500"),
            ("148.5", "FM999.999", "148.5"),
            ("148.5", "FM999.990", "148.500"),
            ("3148.5", "9G999D999", " 3,148.500"),
            ("-485", "999S", "485-"),
            ("-485", "999MI", "485-"),
            ("485", "999MI", "485 "),
            ("485", "FM999MI", "485"),
            ("485", "SG999", "+485"),
            ("-485", "9SG99", "4-85"),
            ("12", "S9999", "  +12"),
            ("-485", "999PR", "<485>"),
            ("485", "RN", "        CDLXXXV"),
            ("5.2", "FMRN", "V"),
            ("482", "999th", " 482nd"),
            ("485", "\"Good number:\"999", "Good number: 485"),
            ("12", "99V999", " 12000"),
            ("12.45", "99V9", " 125"),
            ("0.0004859", "9.99EEEE", " 4.86e-04"),
            ("9999", "9.9EEEE", " 1.0e+04"),
            ("1234", "99", " ##"),
            ("99.96", "99.9", " ##.#"),
            ("NaN", "999", " ###"),
        ];
        for (number, template, expected) in cases {
            let mut out = String::new();
            parse(template).unwrap().write(number, &mut out);
            assert_eq!(out, expected, "{number} by {template}");
        }
        for bad in ["L999", "PL9", "9.9.9", "\"x", "9.9V9", "S9MI"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_read_as_in_postgres() {
        let read = |text: &str, template: &str| parse(template).unwrap().read(text);
        assert_eq!(read("12,454.8-", "99G999D9S").unwrap(), "-12454.80");
        assert_eq!(read(" 485 ", "999").unwrap(), "485.0");
        assert_eq!(read("12345", "999V99").unwrap(), "123.450");
        assert!(read("x", "9").is_err() && read("", "9").is_err() && read("12", "9").is_err());
    }
}
