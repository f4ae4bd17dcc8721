//! UPDATE … FROM and DELETE … USING: a table's rows, matched with those of other relations.
//!
//! A row may be matched several times. It is deleted once all the same; and updated once, if all that
//! match it agree on what it becomes. So the query numbers the table's rows.

use std::collections::HashMap;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Int64Type};
use sqlparser::ast;
use weir_engine::row::RowCodec;

use super::assign::shown;
use super::{parsed, quoted};
use crate::catalog::Relation;
use crate::plan::names;
use crate::{Error, Result};

/// The number of a row, right behind the table's columns.
const ROW: &str = "weir_row";

/// `SELECT table.*, its row's number, items FROM table, others WHERE condition`.
pub fn query(
    table: &Relation,
    target: &ast::TableWithJoins,
    others: &[ast::TableWithJoins],
    items: Vec<ast::SelectItem>,
    condition: Option<ast::Expr>,
) -> Result<ast::Query> {
    let alias = match &target.relation {
        ast::TableFactor::Table { alias: Some(alias), .. } => names::folded(&alias.name),
        _ => table.name.clone(),
    };
    let (name, alias) = (quoted(&table.name), quoted(&alias));
    let mut query = parsed(&format!(
        "SELECT {alias}.* FROM (SELECT *, row_number() OVER () AS {ROW} FROM {name}) AS {alias}"
    ))?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.projection.extend(items);
        select.from.extend_from_slice(others);
        select.selection = condition;
    }
    Ok(query)
}

/// The first match of each row.
pub fn once(table: &Relation, found: RecordBatch) -> Result<RecordBatch> {
    taken(&found, matches(table, &found)?.first)
}

/// The same, for an UPDATE: all matches of a row must give the same new values.
pub fn update_once(table: &Relation, found: RecordBatch) -> Result<RecordBatch> {
    let Matches { first, again } = matches(table, &found)?;
    if !again.is_empty() {
        let values = &found.columns()[table.schema.fields().len() + 1..];
        let types: Vec<DataType> = values.iter().map(|column| column.data_type().clone()).collect();
        let values = RowCodec::for_types(&types)?.encode(values, found.num_rows())?;
        if let Some((row, _)) = again
            .iter()
            .find(|(row, before)| values.row(*row as usize) != values.row(*before as usize))
        {
            let columns = found.columns()[..table.schema.fields().len()].iter();
            let row: Vec<String> = columns.map(|column: &ArrayRef| shown(column, *row as usize)).collect();
            return Err(Error::new(format!(
                "the row ({}) of table '{}' is matched by several rows that would give it different values; make FROM \
                 and WHERE match one",
                row.join(", "),
                table.name
            )));
        }
    }
    taken(&found, first)
}

/// Where the rows of a table stand in what was found.
struct Matches {
    /// Each row for the first time.
    first: Vec<u32>,
    /// Each repetition, with where its row stands first.
    again: Vec<(u32, u32)>,
}

fn matches(table: &Relation, found: &RecordBatch) -> Result<Matches> {
    let numbers = found.column(table.schema.fields().len());
    let numbers = cast(numbers, &DataType::Int64).map_err(|error| Error::new(error.to_string()))?;
    let mut seen: HashMap<i64, u32> = HashMap::new();
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for (place, number) in numbers.as_primitive::<Int64Type>().values().iter().enumerate() {
        let place = place as u32;
        match seen.insert(*number, place) {
            None => first.push(place),
            Some(before) => {
                seen.insert(*number, before);
                again.push((place, before));
            }
        }
    }
    Ok(Matches { first, again })
}

fn taken(found: &RecordBatch, places: Vec<u32>) -> Result<RecordBatch> {
    let places = UInt32Array::from(places);
    take_record_batch(found, &places).map_err(|error| Error::new(error.to_string()))
}
