//! DISTINCT and ORDER BY inside an aggregate, for every function.
//!
//! DataFusion leaves both to each function: some ignore DISTINCT, some refuse it, and two orders in one
//! grouping may conflict. A [`Folded`] call stands for all of them: its arguments are those of its
//! function and then what orders the rows, and the function is given the rows as the call says, at the
//! end. A continuous query is planned from what it says, and kept by the engine's folds, which do the
//! same.

use std::collections::BTreeMap;
use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::AggregateFunction as Call;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, SortExpr, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::Literal;
use weir_engine::graph::FoldRows;
use weir_engine::row::{RowCodec, RowField};

/// Functions whose answer is the same however often a row is there.
const MIND_NO_REPEATS: [&str; 5] = ["approx_distinct", "bit_and", "bit_or", "bool_and", "bool_or"];

/// A function with DISTINCT and ORDER BY.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Folded {
    /// Without them.
    pub function: Arc<AggregateUDF>,
    distinct: bool,
    /// How many arguments are the function's; the others are what orders the rows.
    arguments: usize,
    /// Direction, and whether NULLs come first, of each order.
    order: Vec<(bool, bool)>,
    signature: Signature,
}

impl Folded {
    /// The call with its DISTINCT and ORDER BY folded in.
    pub fn call(mut call: Call) -> Call {
        let order = std::mem::take(&mut call.params.order_by);
        let folded = Folded {
            function: call.func.clone(),
            distinct: std::mem::take(&mut call.params.distinct),
            arguments: call.params.args.len(),
            order: order.iter().map(|sort| (!sort.asc, sort.nulls_first)).collect(),
            signature: Signature::user_defined(Volatility::Immutable),
        };
        call.params.args.extend(order.into_iter().map(|sort| sort.expr));
        call.func = Arc::new(AggregateUDF::from(folded));
        call
    }

    /// What a call is: its function, arguments, and order, and whether it is DISTINCT.
    pub fn parts(call: &Call) -> (&Arc<AggregateUDF>, &[Expr], Vec<SortExpr>, bool) {
        let args = &call.params.args[..];
        match call.func.inner().downcast_ref::<Folded>() {
            Some(folded) => {
                let (args, order) = args.split_at(folded.arguments);
                let order = order.iter().zip(&folded.order);
                let order = order.map(|(expr, (descending, first))| SortExpr::new(expr.clone(), !descending, *first));
                (&folded.function, args, order.collect(), folded.distinct)
            }
            None => (&call.func, args, Vec::new(), call.params.distinct),
        }
    }
}

/// Which of its rows a function needs.
pub fn reads(function: &AggregateUDF, distinct: bool) -> FoldRows {
    match function.name() {
        "first_value" => FoldRows::First,
        "last_value" => FoldRows::Last,
        name if distinct || MIND_NO_REPEATS.contains(&name) => FoldRows::Once,
        _ => FoldRows::All,
    }
}

impl AggregateUDFImpl for Folded {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// They have been made to fit the function before.
    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(given.to_vec())
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.function.return_type(&given[..self.arguments])
    }

    fn return_field(&self, given: &[FieldRef]) -> Result<FieldRef> {
        self.function.return_field(&given[..self.arguments])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let arguments = &args.exprs[..self.arguments];
        let constant = |(number, expr): (usize, &Arc<dyn PhysicalExpr>)| {
            let literal = expr.downcast_ref::<Literal>().filter(|_| number > 0);
            literal.map(|literal| literal.value().clone())
        };
        let constants: Vec<Option<ScalarValue>> = arguments.iter().enumerate().map(constant).collect();
        let field = |number: usize, (descending, nulls_first): (bool, bool)| RowField {
            data_type: args.expr_fields[number].data_type().clone(),
            descending,
            nulls_first,
        };
        let (mut columns, mut fields) = (Vec::new(), Vec::new());
        for (number, direction) in self.order.iter().enumerate() {
            columns.push(self.arguments + number);
            fields.push(field(self.arguments + number, *direction));
        }
        for number in (0..self.arguments).filter(|number| constants[*number].is_none()) {
            columns.push(number);
            fields.push(field(number, (false, false)));
        }
        let function = AggregateExprBuilder::new(self.function.clone(), arguments.to_vec())
            .schema(Arc::new(args.schema.clone()))
            .alias(args.name)
            .build()?;
        // Whether it takes its arguments is to be known before there are rows.
        function.create_accumulator()?;
        Ok(Box::new(Rows {
            function,
            codec: RowCodec::new(fields).map_err(outside)?,
            columns,
            constants,
            reads: reads(&self.function, self.distinct),
            rows: BTreeMap::new(),
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, kind: DataType| {
            let item = Field::new_list_field(kind, true);
            Arc::new(Field::new(
                format!("{}[{name}]", args.name),
                DataType::List(Arc::new(item)),
                true,
            ))
        };
        Ok(vec![field("rows", DataType::Binary), field("times", DataType::UInt64)])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn is_nullable(&self) -> bool {
        self.function.is_nullable()
    }

    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        self.function.default_value(kind)
    }
}

/// The rows of one group, in order.
#[derive(Debug)]
struct Rows {
    function: AggregateFunctionExpr,
    codec: RowCodec,
    /// The given values that a row has, in its order.
    columns: Vec<usize>,
    /// Arguments that are constants.
    constants: Vec<Option<ScalarValue>>,
    reads: FoldRows,
    rows: BTreeMap<Box<[u8]>, u64>,
}

impl Rows {
    fn add(&mut self, row: &[u8], times: u64) {
        match self.rows.get_mut(row) {
            Some(known) => *known += times,
            None => drop(self.rows.insert(row.into(), times)),
        }
        match self.reads {
            FoldRows::First if self.rows.len() > 1 => drop(self.rows.pop_last()),
            FoldRows::Last if self.rows.len() > 1 => drop(self.rows.pop_first()),
            _ => {}
        }
    }

    /// The arguments of the function.
    fn arguments(&self) -> Result<Vec<ArrayRef>> {
        let times = |times: u64| match self.reads {
            FoldRows::All => times as usize,
            FoldRows::Once | FoldRows::First | FoldRows::Last => 1,
        };
        let rows = self.rows.iter();
        let rows: Vec<&[u8]> = rows
            .flat_map(|(row, n)| std::iter::repeat_n(&row[..], times(*n)))
            .collect();
        let many = rows.len();
        let columns = self.codec.decode(rows).map_err(outside)?;
        let argument = |(number, constant): (usize, &Option<ScalarValue>)| match constant {
            Some(constant) => constant.to_array_of_size(many),
            None => match self.columns.iter().position(|column| *column == number) {
                Some(place) => Ok(columns[place].clone()),
                None => exec_err!("an argument of {} is missing", self.function.name()),
            },
        };
        self.constants.iter().enumerate().map(argument).collect()
    }
}

fn outside(error: weir_engine::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl Accumulator for Rows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|column| values[*column].clone()).collect();
        let many = values.first().map_or(0, |values| values.len());
        let rows = self.codec.encode(&columns, many).map_err(outside)?;
        rows.iter().for_each(|row| self.add(row, 1));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut accumulator = self.function.create_accumulator()?;
        if !self.rows.is_empty() {
            accumulator.update_batch(&self.arguments()?)?;
        }
        accumulator.evaluate()
    }

    fn size(&self) -> usize {
        let row = self.rows.keys().next().map_or(0, |row| row.len() + 48);
        size_of_val(self) + self.rows.len() * row
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let rows = self.rows.keys().map(|row| ScalarValue::Binary(Some(row.to_vec())));
        let times = self.rows.values().map(|times| ScalarValue::UInt64(Some(*times)));
        let list = |values: Vec<ScalarValue>, kind| ScalarValue::List(ScalarValue::new_list_nullable(&values, kind));
        Ok(vec![
            list(rows.collect(), &DataType::Binary),
            list(times.collect(), &DataType::UInt64),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (rows, times) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for (rows, times) in rows.iter().flatten().zip(times.iter().flatten()) {
            let times = times.as_primitive::<UInt64Type>().values();
            for (row, times) in rows.as_binary::<i32>().iter().flatten().zip(times) {
                self.add(row, *times);
            }
        }
        Ok(())
    }
}
