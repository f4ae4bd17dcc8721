//! Map: filters rows, then computes the output columns from those that passed.
//!
//! Both are expressions over whole batches. A row's weight has no say in either and goes along
//! with it. The output columns are computed of the rows that passed only, so that
//! `WHERE n <> 0` keeps `x / n` from failing. A row that fails is left out ([`super::fault`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::{Field, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::fmt_sql;

use crate::change::{ChangeBatch, record_batch};
use crate::float;
use crate::format::sql_words;
use crate::graph::MapSpec;
use crate::operator::fault::{Fault, by_row};
use crate::operator::{Operator, Step};
use crate::{Error, Result};

/// One task's part of a [`MapSpec`] node.
pub struct Map {
    filter: Option<Arc<dyn PhysicalExpr>>,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    /// Input columns that `exprs` read, ascending: all that is worth copying when filtering.
    used: Vec<usize>,
    schema: SchemaRef,
    faults: Vec<Fault>,
}

impl Map {
    /// An operator whose output has the columns of `schema`, one per expression of `spec`.
    pub fn new(spec: &MapSpec, schema: &SchemaRef) -> Self {
        let mut used: Vec<usize> = spec
            .exprs
            .iter()
            .flat_map(collect_columns)
            .map(|column| column.index())
            .collect();
        used.sort_unstable();
        used.dedup();
        Self {
            filter: spec.filter.clone(),
            exprs: spec.exprs.clone(),
            used,
            schema: schema.clone(),
            faults: Vec::new(),
        }
    }

    fn map(&self, batch: ChangeBatch) -> Result<Option<ChangeBatch>> {
        let Some(batch) = self.passing(batch)? else {
            return Ok(None);
        };
        if self.exprs.len() != self.schema.fields().len() {
            return Err(Error::internal(format!(
                "{} expressions for {} columns",
                self.exprs.len(),
                self.schema.fields().len()
            )));
        }
        let columns = self
            .exprs
            .iter()
            .zip(self.schema.fields())
            .map(|(expr, field)| fitting(evaluate(expr, batch.rows())?, field))
            .collect::<Result<Vec<_>>>()?;
        let rows = record_batch(self.schema.clone(), columns, batch.num_rows())?;
        Ok(Some(batch.with_rows(rows)))
    }

    /// The rows that the filter lets pass; `None` where there are none. Columns that no expression
    /// reads are not filtered, only cut to the same length.
    fn passing(&self, batch: ChangeBatch) -> Result<Option<ChangeBatch>> {
        if batch.is_empty() {
            return Ok(None);
        }
        let Some(filter) = &self.filter else {
            return Ok(Some(batch));
        };
        let keep = truth(filter, batch.rows())?;
        let kept = keep.true_count();
        if kept == 0 {
            return Ok(None);
        }
        if kept == batch.num_rows() {
            return Ok(Some(batch));
        }
        let (rows, weights) = batch.into_parts();
        let narrow = ChangeBatch::new(rows.project(&self.used)?, weights).filter(&keep)?;
        let mut columns: Vec<ArrayRef> = rows.columns().iter().map(|column| column.slice(0, kept)).collect();
        for (place, column) in self.used.iter().zip(narrow.rows().columns()) {
            columns[*place] = column.clone();
        }
        let wide = record_batch(rows.schema(), columns, kept)?;
        Ok(Some(narrow.with_rows(wide)))
    }
}

impl Operator for Map {
    fn step(&mut self, _step: &Step, inputs: Vec<Vec<ChangeBatch>>) -> Result<Vec<ChangeBatch>> {
        let mut output = Vec::new();
        let mut faults = Vec::new();
        for (nth, batch) in inputs.into_iter().flatten().enumerate() {
            let parts = by_row(&batch, Some((nth, 0)), &mut faults, |part| self.map(part.clone()))?;
            output.extend(parts.into_iter().flatten().flatten());
        }
        self.faults.extend(faults);
        Ok(output)
    }

    fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }
}

/// An expression's value for each row of `rows`, computed floats in their one form.
///
/// # Errors
/// [`Error::Data`] for what SQL forbids (division by zero, overflow, a bad cast), with the
/// expression.
pub(super) fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    let value = expr.evaluate(rows).map_err(|error| blame(expr, &error))?;
    let array = match value {
        ColumnarValue::Array(array) => array,
        scalar => scalar
            .into_array(rows.num_rows())
            .map_err(|error| blame(expr, &error))?,
    };
    if array.len() != rows.num_rows() {
        return Err(Error::internal(format!(
            "{} values of {} for {} rows",
            array.len(),
            fmt_sql(expr.as_ref()),
            rows.num_rows()
        )));
    }
    if expr.is::<Column>() {
        return Ok(array);
    }
    Ok(float::one_form(&array))
}

/// For which rows a condition is true: neither false nor NULL. The result has no nulls.
///
/// # Errors
/// As [`evaluate`]; also where the expression isn't BOOLEAN.
pub(super) fn truth(condition: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let value = evaluate(condition, rows)?;
    let Some(value) = value.as_boolean_opt() else {
        return Err(Error::internal(format!(
            "a condition of type {}: {}",
            value.data_type(),
            fmt_sql(condition.as_ref())
        )));
    };
    Ok(match value.null_count() {
        0 => value.clone(),
        _ => compute::prep_null_mask_filter(value),
    })
}

fn blame(expr: &Arc<dyn PhysicalExpr>, error: &DataFusionError) -> Error {
    let place = fmt_sql(expr.as_ref());
    let said = |cause: String| Error::Data(sql_words(&format!("{cause}, in {place}")));
    match error.find_root() {
        DataFusionError::Internal(cause) => Error::internal(format!("{cause}, in {place}")),
        DataFusionError::ArrowError(cause, _) => said(cause.to_string()),
        DataFusionError::Execution(cause) => said(cause.clone()),
        other => said(other.strip_backtrace()),
    }
}

/// A computed column as the node's schema has it. Expressions and plans don't always agree on the
/// nullability inside a nested type; anything else that differs is a mistake in the plan.
fn fitting(array: ArrayRef, field: &Field) -> Result<ArrayRef> {
    let array = if array.data_type() == field.data_type() {
        array
    } else if array.data_type().is_nested() && field.data_type().is_nested() {
        compute::cast(&array, field.data_type())
            .map_err(|error| Error::internal(format!("column '{}': {error}", field.name())))?
    } else {
        return Err(Error::internal(format!(
            "column '{}' is planned as {} and came out as {}",
            field.name(),
            field.data_type(),
            array.data_type()
        )));
    };
    if !field.is_nullable() && array.is_nullable() && array.logical_null_count() > 0 {
        return Err(Error::internal(format!(
            "column '{}' is planned without NULL and has one",
            field.name()
        )));
    }
    Ok(array)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Int64Type, Schema};
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_expr::expressions::{binary, col, lit};

    use super::*;
    use crate::change::Weights;

    const NOW: Step = Step {
        now_us: 0,
        seed: 0,
        watermark: i64::MIN,
    };

    fn input() -> ChangeBatch {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Int64, true),
            Field::new("unread", DataType::Int64, true),
        ]);
        let rows = RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(Int64Array::from(vec![Some(10), Some(20), None, Some(40)])),
                Arc::new(Int64Array::from(vec![Some(0), Some(5), Some(3), Some(8)])),
                Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
            ],
        );
        ChangeBatch::new(rows.unwrap(), Weights::Each(vec![1, -2, 3, 1].into()))
    }

    fn quotient(schema: &Schema) -> Arc<dyn PhysicalExpr> {
        binary(col("a", schema).unwrap(), Op::Divide, col("b", schema).unwrap(), schema).unwrap()
    }

    fn output(fields: &[(&str, DataType, bool)]) -> SchemaRef {
        Arc::new(Schema::new(
            fields
                .iter()
                .map(|(name, kind, null)| Field::new(*name, kind.clone(), *null))
                .collect::<Vec<_>>(),
        ))
    }

    fn run(spec: &MapSpec, schema: &SchemaRef, input: ChangeBatch) -> Result<Vec<ChangeBatch>> {
        Map::new(spec, schema).step(&NOW, vec![vec![input]])
    }

    #[test]
    fn only_rows_that_pass_are_computed_and_null_does_not_pass() {
        let input = input();
        let schema = input.schema();
        let positive = binary(col("b", &schema).unwrap(), Op::Gt, lit(0i64), &schema).unwrap();
        let known = binary(col("a", &schema).unwrap(), Op::Gt, lit(0i64), &schema).unwrap();
        let filter = binary(positive, Op::And, known, &schema).unwrap();
        let spec = MapSpec {
            filter: Some(filter),
            exprs: vec![quotient(&schema), lit(7i64)],
        };
        let out = output(&[("q", DataType::Int64, true), ("seven", DataType::Int64, false)]);
        let got = run(&spec, &out, input).unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].schema(), out);
        assert_eq!(got[0].column(0).as_primitive::<Int64Type>().values(), &[4, 5]);
        assert_eq!(got[0].column(1).as_primitive::<Int64Type>().values(), &[7, 7]);
        assert_eq!((got[0].weight(0), got[0].weight(1)), (-2, 1));
    }

    #[test]
    fn without_a_filter_columns_are_shared() {
        let input = input();
        let column = input.column(0).clone();
        let spec = MapSpec {
            filter: None,
            exprs: vec![col("a", &input.schema()).unwrap()],
        };
        let got = run(&spec, &output(&[("a", DataType::Int64, true)]), input).unwrap();
        assert!(Arc::ptr_eq(got[0].column(0), &column));
        assert_eq!(got[0].weight(2), 3);
    }

    #[test]
    fn no_columns_are_rows_still() {
        let input = input();
        let filter = binary(col("b", &input.schema()).unwrap(), Op::Gt, lit(4i64), &input.schema());
        let spec = MapSpec {
            filter: Some(filter.unwrap()),
            exprs: vec![],
        };
        let got = run(&spec, &output(&[]), input).unwrap();
        assert_eq!(got[0].num_rows(), 2);
    }

    #[test]
    fn nothing_passes_nothing_comes_out() {
        let input = input();
        let spec = MapSpec {
            filter: Some(lit(false)),
            exprs: vec![quotient(&input.schema())],
        };
        assert!(
            run(&spec, &output(&[("q", DataType::Int64, true)]), input.clone())
                .unwrap()
                .is_empty()
        );
        let empty = ChangeBatch::empty(input.schema());
        let spec = MapSpec {
            filter: None,
            exprs: vec![],
        };
        assert!(run(&spec, &output(&[]), empty).unwrap().is_empty());
    }

    #[test]
    fn a_forbidden_value_names_its_expression() {
        let input = input();
        let spec = MapSpec {
            filter: None,
            exprs: vec![quotient(&input.schema())],
        };
        let out = output(&[("q", DataType::Int64, true)]);
        let mut map = Map::new(&spec, &out);
        let got = map.step(&NOW, vec![vec![input.slice(1, 3), input]]).unwrap();
        let rows: usize = got.iter().map(ChangeBatch::num_rows).sum();
        assert_eq!(rows, 6, "all others are computed");
        let faults = map.take_faults();
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        let message = &fault.cause;
        assert!(message.contains("zero") && message.ends_with("in a / b"), "{message}");
        assert_eq!((fault.row.as_str(), fault.weight), ("a = 10, b = 0, unread = 1", 1));
        assert_eq!(fault.at, Some((1, 0)));
        assert!(map.take_faults().is_empty());
    }

    #[test]
    fn whether_a_row_fails_does_not_depend_on_those_beside_it() {
        // Of two conditions the second is looked at for all rows of a batch in which the first holds
        // for some; a row for which it doesn't never fails.
        let input = input();
        let schema = input.schema();
        let some = binary(col("b", &schema).unwrap(), Op::NotEq, lit(0i64), &schema).unwrap();
        let large = binary(quotient(&schema), Op::Gt, lit(3i64), &schema).unwrap();
        let filter = binary(some, Op::And, large, &schema).unwrap();
        let spec = MapSpec {
            filter: Some(filter),
            exprs: vec![col("a", &schema).unwrap()],
        };
        let mut map = Map::new(&spec, &output(&[("a", DataType::Int64, true)]));
        let got = map.step(&NOW, vec![vec![input]]).unwrap();
        let values: Vec<i64> = got
            .iter()
            .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert_eq!(values, [20, 40]);
        assert!(map.take_faults().is_empty());
    }

    #[test]
    fn a_plan_that_promised_too_much_is_an_internal_error() {
        let input = input();
        let spec = MapSpec {
            filter: None,
            exprs: vec![col("a", &input.schema()).unwrap()],
        };
        for field in [("a", DataType::Int64, false), ("a", DataType::Utf8, true)] {
            let error = run(&spec, &output(&[field]), input.clone()).unwrap_err();
            assert!(matches!(error, Error::Internal(_)), "{error:?}");
        }
    }
}
