//! What makes JSON of other values: `to_json`, `json_build_array`, `json_build_object`, and what is behind
//! `json_object_agg`.
//!
//! NULL is `null`, numbers and booleans are themselves, arrays are arrays, structs, rows and maps are objects, JSON is
//! itself, and all else is the string that it is as text; times with a `T`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use weir_engine::format::json::value::{self, JSON, Json};

use crate::plan::checked;

/// The functions.
pub fn functions() -> impl Iterator<Item = ScalarUDF> {
    [What::Value, What::Array, What::Object, What::Pairs]
        .into_iter()
        .map(|what| {
            let (how, told) = what.told();
            ScalarUDF::from(Build {
                what,
                aliases: what.aliases().iter().map(ToString::to_string).collect(),
                signature: Signature::user_defined(Volatility::Immutable),
                documentation: Documentation::builder(DocSection::default(), told, how).build(),
            })
        })
}

/// Whether a function is one of these.
pub fn is_one(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<Build>().is_some()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Value,
    Array,
    Object,
    /// An object of an array of structs: names and values.
    Pairs,
}

impl What {
    fn aliases(self) -> &'static [&'static str] {
        match self {
            What::Value => &["to_json", "row_to_json", "array_to_json"],
            What::Array => &["json_build_array"],
            What::Object => &["json_build_object"],
            What::Pairs => &[],
        }
    }

    fn told(self) -> (&'static str, &'static str) {
        match self {
            What::Value => ("to_jsonb(value)", "Any value as JSON."),
            What::Array => ("jsonb_build_array(value, …)", "An array of values."),
            What::Object => (
                "jsonb_build_object(name, value, …)",
                "An object of names and values, by turn.",
            ),
            What::Pairs => (
                "json_object_agg(name, value)",
                "An object of the names and values of all rows.",
            ),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Build {
    what: What,
    aliases: Vec<String>,
    signature: Signature,
    documentation: Documentation,
}

impl ScalarUDFImpl for Build {
    fn name(&self) -> &str {
        match self.what {
            What::Value => "to_jsonb",
            What::Array => "jsonb_build_array",
            What::Object => "jsonb_build_object",
            What::Pairs => "weir_json_pairs",
        }
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
        match self.what {
            What::Value | What::Pairs if given.len() != 1 => plan_err!("{}() takes one value", self.name()),
            What::Object if given.len() % 2 == 1 => {
                plan_err!("jsonb_build_object() takes a value behind each name: jsonb_build_object('a', 1, 'b', 2)")
            }
            _ => Ok(given.to_vec()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(JSON)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.iter().map(|arg| Values::new(&arg.to_array(rows)?));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut made = LargeStringBuilder::new();
        for row in 0..rows {
            match self.what {
                What::Value if columns[0].is_null(row) => made.append_null(),
                What::Value => made.append_value(columns[0].value(row)?.text()),
                What::Array => {
                    let elements = columns.iter().map(|column| column.value(row));
                    made.append_value(Json::Array(elements.collect::<Result<_>>()?).text());
                }
                What::Object => {
                    let members = columns
                        .chunks(2)
                        .map(|pair| Ok((name(&pair[0].value(row)?)?, pair[1].value(row)?)));
                    made.append_value(Json::object(members.collect::<Result<_>>()?).text());
                }
                What::Pairs => match pairs(&columns[0], row)? {
                    Some(object) => made.append_value(object.text()),
                    None => made.append_null(),
                },
            }
        }
        Ok(ColumnarValue::Array(Arc::new(made.finish())))
    }
}

/// The object of an array of structs with two fields; none of NULL.
fn pairs(column: &Values, row: usize) -> Result<Option<Json>> {
    let Kind::List { items, offsets } = &column.kind else {
        return exec_err!("an object is made of an array");
    };
    let Kind::Struct(fields) = &items.kind else {
        return exec_err!("an object is made of names and values");
    };
    if column.is_null(row) {
        return Ok(None);
    }
    let member = |at: i32| Ok((name(&fields[0].1.value(at as usize)?)?, fields[1].1.value(at as usize)?));
    let members = (offsets[row]..offsets[row + 1]).map(member);
    Ok(Some(Json::object(members.collect::<Result<_>>()?)))
}

/// A value as a member's name.
fn name(value: &Json) -> Result<String> {
    match value {
        Json::Text(text) => Ok(text.clone()),
        Json::Number(_) | Json::Boolean(_) => Ok(value.text()),
        Json::Null => exec_err!("NULL is no name of a member"),
        other => exec_err!("JSON's {} is no name of a member", other.kind()),
    }
}

/// A column, taken apart to be looked at row by row.
struct Values {
    array: ArrayRef,
    kind: Kind,
}

enum Kind {
    Null,
    Boolean,
    /// As text.
    Number(ArrayRef),
    Json,
    /// As text.
    Text(ArrayRef),
    /// As text, with a blank in the midst.
    Moment(ArrayRef),
    List {
        items: Box<Values>,
        offsets: Vec<i32>,
    },
    Struct(Vec<(String, Values)>),
    Map {
        names: Box<Values>,
        values: Box<Values>,
        offsets: Vec<i32>,
    },
}

impl Values {
    fn new(array: &ArrayRef) -> Result<Values> {
        let text = || checked::column_as(array, &DataType::Utf8);
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Boolean,
            kind if kind.is_numeric() => Kind::Number(text()?),
            &JSON => Kind::Json,
            DataType::Timestamp(..) => Kind::Moment(text()?),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::List {
                    items: Box::new(Values::new(list.values())?),
                    offsets: list.value_offsets().to_vec(),
                }
            }
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                return Values::new(&arrow::compute::cast(array, &DataType::List(item.clone()))?);
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                let values = columns.map(|(field, column)| Ok((field.name().clone(), Values::new(column)?)));
                Kind::Struct(values.collect::<Result<_>>()?)
            }
            DataType::Map(..) => {
                let map = array.as_map();
                Kind::Map {
                    names: Box::new(Values::new(map.keys())?),
                    values: Box::new(Values::new(map.values())?),
                    offsets: map.value_offsets().to_vec(),
                }
            }
            _ => Kind::Text(text()?),
        };
        Ok(Values {
            array: array.clone(),
            kind,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        matches!(self.kind, Kind::Null) || self.array.is_null(row)
    }

    fn value(&self, row: usize) -> Result<Json> {
        if self.is_null(row) {
            return Ok(Json::Null);
        }
        Ok(match &self.kind {
            Kind::Null => Json::Null,
            Kind::Boolean => Json::Boolean(self.array.as_boolean().value(row)),
            Kind::Number(texts) => {
                let text = texts.as_string::<i32>().value(row);
                // NaN and the infinities are no numbers of JSON.
                match text.ends_with(|c: char| c.is_ascii_digit()) {
                    true => Json::Number(value::number(text).unwrap_or_else(|| text.to_string())),
                    false => Json::Text(text.to_string()),
                }
            }
            Kind::Json => match value::parse(self.array.as_string::<i64>().value(row)) {
                Ok(value) => value,
                Err(why) => return exec_err!("{why}"),
            },
            Kind::Text(texts) => Json::Text(texts.as_string::<i32>().value(row).to_string()),
            Kind::Moment(texts) => {
                let text = texts.as_string::<i32>().value(row).replacen(' ', "T", 1);
                match text.ends_with("+00") {
                    true => Json::Text(format!("{text}:00")),
                    false => Json::Text(text),
                }
            }
            Kind::List { items, offsets } => {
                let elements = (offsets[row]..offsets[row + 1]).map(|at| items.value(at as usize));
                Json::Array(elements.collect::<Result<_>>()?)
            }
            Kind::Struct(fields) => {
                let members = fields
                    .iter()
                    .map(|(name, values)| Ok((name.clone(), values.value(row)?)));
                Json::object(members.collect::<Result<_>>()?)
            }
            Kind::Map { names, values, offsets } => {
                let member = |at: i32| Ok((name(&names.value(at as usize)?)?, values.value(at as usize)?));
                let members = (offsets[row]..offsets[row + 1]).map(member);
                Json::object(members.collect::<Result<_>>()?)
            }
        })
    }
}
