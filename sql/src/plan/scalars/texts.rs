//! `format('%s is %L', …)` as PostgreSQL has it, and `pg_typeof`, a type's name.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use weir_engine::format::sql_type;

use super::size::LARGEST_VALUE;

/// Both functions.
pub fn functions() -> [Arc<ScalarUDF>; 2] {
    let documented = |what: &str, how: &str| Documentation::builder(DocSection::default(), what, how).build();
    let format = Format {
        signature: Signature::user_defined(Volatility::Immutable),
        documentation: documented(
            "The text with its %s, %I (a name) and %L (a constant) filled in, by turn or as %2$s.",
            "format(text, …)",
        ),
    };
    let type_of = TypeOf {
        signature: Signature::any(1, Volatility::Immutable),
        documentation: documented("The name of the value's type.", "pg_typeof(value)"),
    };
    [Arc::new(ScalarUDF::from(format)), Arc::new(ScalarUDF::from(type_of))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    signature: Signature,
    documentation: Documentation,
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<arrow::datatypes::FieldRef> {
        Ok(Arc::new(arrow::datatypes::Field::new(
            self.name(),
            DataType::Utf8,
            false,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = sql_type(args.arg_fields[0].data_type()).to_string();
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Format {
    signature: Signature,
    documentation: Documentation,
}

impl ScalarUDFImpl for Format {
    fn name(&self) -> &str {
        "format"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [] => plan_err!("format() takes a text, and what is filled in"),
            given => Ok(vec![DataType::Utf8; given.len()]),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts: Vec<_> = arrays.iter().map(|array| array.as_string::<i32>()).collect();
        let mut made = StringBuilder::new();
        for row in 0..texts[0].len() {
            let given = |n: usize| -> Option<Option<&str>> {
                let text = texts.get(n)?;
                Some(text.is_valid(row).then(|| text.value(row)))
            };
            match given(0).flatten() {
                Some(format) => made.append_value(filled(format, |n| given(n + 1))?),
                None => made.append_null(),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(made.finish())))
    }
}

/// The text with its places filled in; `given` has the arguments by number, from 0 on.
fn filled<'a>(format: &str, given: impl Fn(usize) -> Option<Option<&'a str>>) -> Result<String> {
    let mut out = String::with_capacity(format.len());
    let (mut rest, mut next) = (format, 0);
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let mut place = &rest[at + 1..];
        let number = |text: &mut &str| {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let read = text[..digits].parse::<usize>().ok();
            *text = &text[digits..];
            read
        };
        let mut behind = place;
        if let (Some(which), true) = (number(&mut behind), behind.starts_with('$')) {
            if which == 0 {
                return exec_err!("format(): arguments are counted from 1 on, as in %1$s");
            }
            (next, place) = (which - 1, &behind[1..]);
        }
        let is_left = place.starts_with('-');
        place = place.trim_start_matches('-');
        let width = number(&mut place).unwrap_or(0);
        let Some(kind) = place.chars().next() else {
            return exec_err!("format(): the text ends in the midst of a %; %% is one of its own");
        };
        rest = &place[kind.len_utf8()..];
        if kind == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = given(next) else {
            return exec_err!("format(): there is no argument {}", next + 1);
        };
        next += 1;
        let text = match (kind, value) {
            ('s', value) => value.unwrap_or("").to_string(),
            ('I', Some(name)) => name_of(name),
            ('I', None) => return exec_err!("format(): a NULL is no name, for %I"),
            ('L', None) => "NULL".to_string(),
            ('L', Some(value)) => format!("'{}'", value.replace('\'', "''")),
            (other, _) => return exec_err!("format(): there is no %{other}; there are %s, %I, %L and %%"),
        };
        let blanks = width.saturating_sub(text.chars().count());
        if out.len().saturating_add(blanks) as u64 > LARGEST_VALUE {
            return exec_err!("format(): the result would be larger than {} MiB", LARGEST_VALUE >> 20);
        }
        let blanks = " ".repeat(blanks);
        match is_left {
            true => out.extend([text, blanks]),
            false => out.extend([blanks, text]),
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A name as it stands in a statement.
fn name_of(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match is_plain {
        true => name.to_string(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_in() {
        let given = |n: usize| [Some("a"), Some("it's"), None, Some("My Name")].get(n).copied();
        let done = |format: &str| filled(format, given).map_err(|error| error.to_string());
        assert_eq!(done("%s and %L, %%").unwrap(), "a and 'it''s', %");
        assert_eq!(done("%4$I|%1$s|%s").unwrap(), "\"My Name\"|a|it's");
        assert_eq!(done("%3$s|%3$L|%1$5s|%1$-3s|").unwrap(), "|NULL|    a|a  |");
        for bad in ["%", "%x", "%9$s", "%0$s", "%3$I", "%1$999999999999s"] {
            assert!(done(bad).is_err(), "{bad}");
        }
    }
}
