//! Functions of JSON that are NULL where an argument is: a table says what each takes and gives, and what it does to
//! the values of a row.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int32Builder, LargeStringBuilder, ListBuilder, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use weir_engine::format::json::value::{self, JSON, Json};
use weir_engine::format::sql_type;

use super::paths;

/// A function.
#[derive(Debug)]
pub struct Call {
    /// Its name; those that begin with `weir_` stand for a piece of SQL.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// What it takes.
    pub takes: &'static [Takes],
    /// How many of these may be left out.
    pub optional: usize,
    /// Whether the last may come several times.
    pub many: bool,
    /// What it gives.
    pub gives: Gives,
    /// What it does; `None` is NULL.
    pub run: fn(&Given<'_>) -> Result<Option<Made>, String>,
    /// How it is called, and what it does.
    pub told: (&'static str, &'static str),
}

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// JSON.
    Json,
    /// TEXT.
    Text,
    /// A name or a number from 0 on.
    Key,
    /// A name, a number from 0 on, or names.
    Keys,
    /// An array of TEXT, or a text that spells one.
    Path,
    /// BOOLEAN.
    Truth,
}

/// What a function gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// JSON.
    Json,
    /// TEXT.
    Text,
    /// BOOLEAN.
    Truth,
    /// INT.
    Count,
    /// Arrays of JSON.
    Documents,
    /// Arrays of TEXT.
    Texts,
}

/// A value that was made.
pub enum Made {
    /// Text of JSON in its one form, or other text.
    Text(String),
    /// True or false.
    Truth(bool),
    /// A number.
    Count(i32),
    /// Texts, which may be NULL.
    Texts(Vec<Option<String>>),
}

impl Made {
    /// A JSON value.
    pub fn json(value: &Json) -> Made {
        Made::Text(value.text())
    }
}

/// The arguments of a row, none of them NULL.
pub struct Given<'a> {
    columns: &'a [ArrayRef],
    row: usize,
}

impl<'a> Given<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// A text, or that of JSON.
    pub fn text(&self, place: usize) -> &'a str {
        match self.columns[place].as_string_opt::<i64>() {
            Some(documents) => documents.value(self.row),
            None => self.columns[place].as_string::<i32>().value(self.row),
        }
    }

    /// A JSON value.
    pub fn json(&self, place: usize) -> Result<Json, String> {
        value::parse(self.text(place))
    }

    /// A number, if it is one.
    pub fn number(&self, place: usize) -> Option<i64> {
        let numbers = self.columns[place].as_primitive_opt::<Int64Type>()?;
        Some(numbers.value(self.row))
    }

    /// True or false; `otherwise` where it is left out.
    pub fn truth(&self, place: usize, otherwise: bool) -> bool {
        let given = self.columns.get(place);
        given.map_or(otherwise, |given| given.as_boolean().value(self.row))
    }

    /// Texts, if it is an array or a text that spells one.
    pub fn texts(&self, place: usize) -> Result<Vec<Option<String>>, String> {
        let Some(lists) = self.columns[place].as_list_opt::<i32>() else {
            return paths::spelled(self.text(place));
        };
        let list = lists.value(self.row);
        let texts = list.as_string::<i32>().iter();
        Ok(texts.map(|text| text.map(str::to_string)).collect())
    }

    /// Whether it is an array.
    pub fn is_list(&self, place: usize) -> bool {
        self.columns[place].data_type().is_list()
    }
}

/// The function that a row of a table stands for.
pub fn function(call: &'static Call) -> ScalarUDF {
    let (how, what) = call.told;
    ScalarUDF::from(Strict {
        call,
        aliases: call.aliases.iter().map(ToString::to_string).collect(),
        signature: Signature::user_defined(Volatility::Immutable),
        documentation: Documentation::builder(DocSection::default(), what, how).build(),
    })
}

/// Whether a function is one of these.
pub fn is_one(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<Strict>().is_some()
}

#[derive(Debug)]
struct Strict {
    call: &'static Call,
    aliases: Vec<String>,
    signature: Signature,
    documentation: Documentation,
}

impl PartialEq for Strict {
    fn eq(&self, other: &Strict) -> bool {
        self.call.name == other.call.name
    }
}

impl Eq for Strict {}

impl Hash for Strict {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.call.name.hash(state);
    }
}

pub(super) fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

impl Takes {
    /// The type that an argument of another is made to fit; none if it doesn't.
    fn fitted(self, given: &DataType) -> Option<DataType> {
        let text = given.is_null() || (given.is_string() && *given != JSON);
        let texts = matches!(given, DataType::List(item) if item.data_type().is_string() || item.data_type().is_null());
        match self {
            Takes::Json if text || *given == JSON => Some(JSON),
            Takes::Text | Takes::Key | Takes::Keys if text => Some(DataType::Utf8),
            Takes::Key | Takes::Keys if given.is_integer() => Some(DataType::Int64),
            Takes::Path | Takes::Keys if texts => Some(list_of(DataType::Utf8)),
            Takes::Path if text => Some(DataType::Utf8),
            Takes::Truth if given.is_null() || *given == DataType::Boolean => Some(DataType::Boolean),
            _ => None,
        }
    }
}

impl ScalarUDFImpl for Strict {
    fn name(&self) -> &str {
        self.call.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let takes = self.call.takes;
        let least = takes.len() - self.call.optional;
        let counts = given.len() >= least && (given.len() <= takes.len() || self.call.many);
        let last = takes.last().copied().unwrap_or(Takes::Json);
        let wanted = takes.iter().copied().chain(std::iter::repeat(last));
        let fitted: Option<Vec<DataType>> = given
            .iter()
            .zip(wanted)
            .map(|(kind, takes)| takes.fitted(kind))
            .collect();
        match fitted.filter(|_| counts) {
            Some(fitted) => Ok(fitted),
            None => {
                let kinds: Vec<String> = given.iter().map(sql_type).collect();
                let how = self.call.told.0;
                match self.call.name {
                    // Operators.
                    "json_get" | "json_get_text" | "json_get_path" | "json_get_path_text" | "json_without"
                    | "json_without_path" | "json_concat" => {
                        let operator = how.split(' ').nth(1).unwrap_or_default();
                        plan_err!("there is no {}; it is {how}", kinds.join(&format!(" {operator} ")))
                    }
                    name => plan_err!("{name}() does not take {}; it is {how}", kinds.join(", ")),
                }
            }
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.call.gives {
            Gives::Json => JSON,
            Gives::Text => DataType::Utf8,
            Gives::Truth => DataType::Boolean,
            Gives::Count => DataType::Int32,
            Gives::Documents => list_of(JSON),
            Gives::Texts => list_of(DataType::Utf8),
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let rows = columns.first().map_or(0, |column| column.len());
        let mut made = Vec::with_capacity(rows);
        for row in 0..rows {
            let given = Given { columns: &columns, row };
            made.push(match columns.iter().all(|column| column.is_valid(row)) {
                true => (self.call.run)(&given).map_err(|why| exec_datafusion_err!("{why}"))?,
                false => None,
            });
        }
        Ok(ColumnarValue::Array(column(self.call.gives, made)))
    }
}

/// The column of what was made.
fn column(gives: Gives, made: Vec<Option<Made>>) -> ArrayRef {
    let texts = |made: Option<Made>| match made {
        Some(Made::Text(text)) => Some(text),
        _ => None,
    };
    let lists = |made: Option<Made>| match made {
        Some(Made::Texts(texts)) => Some(texts),
        _ => None,
    };
    match gives {
        Gives::Json => {
            let mut column = LargeStringBuilder::new();
            made.into_iter().for_each(|made| column.append_option(texts(made)));
            Arc::new(column.finish())
        }
        Gives::Text => {
            let mut column = StringBuilder::new();
            made.into_iter().for_each(|made| column.append_option(texts(made)));
            Arc::new(column.finish())
        }
        Gives::Truth => {
            let mut column = BooleanBuilder::new();
            for made in made {
                column.append_option(match made {
                    Some(Made::Truth(truth)) => Some(truth),
                    _ => None,
                });
            }
            Arc::new(column.finish())
        }
        Gives::Count => {
            let mut column = Int32Builder::new();
            for made in made {
                column.append_option(match made {
                    Some(Made::Count(count)) => Some(count),
                    _ => None,
                });
            }
            Arc::new(column.finish())
        }
        Gives::Documents => {
            let mut column = ListBuilder::new(LargeStringBuilder::new());
            made.into_iter().for_each(|made| column.append_option(lists(made)));
            Arc::new(column.finish())
        }
        Gives::Texts => {
            let mut column = ListBuilder::new(StringBuilder::new());
            made.into_iter().for_each(|made| column.append_option(lists(made)));
            Arc::new(column.finish())
        }
    }
}
