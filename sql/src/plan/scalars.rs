//! Scalar functions of DataFusion that need something around them before they may be called.
//!
//! - `round` of a decimal: its type hangs on whether the digits stand in the query, which the
//!   optimizer changes by folding constants. [`StableTypes`] notes it once, at the start.
//! - `round` of a DOUBLE rounds from halfway to the even number, `date_trunc` to milliseconds goes down before
//!   1970 too, a function of numbers that has no value, as `ln(-1)`, is an error, and `array_remove` takes all
//!   elements that are equal, all as in PostgreSQL.
//! - `array_length` of an array without elements is NULL, as in PostgreSQL.
//! - Functions that look for an element of an array are refused where it is a STRUCT, which they can't compare.
//! - Functions that make a large value of small ones (`repeat`, `range`, …) are refused before they
//!   take the memory: [`size`].

use std::sync::Arc;

use arrow::array::{ArrayRef, Scalar};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::nullif;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use datafusion::optimizer::AnalyzerRule;
use weir_engine::format::sql_type;

use super::rewrite;

mod characters;
mod elements;
mod floats;
mod octets;
mod quantified;
mod random_uuid;
pub mod size;
mod spans;
mod templated;
mod texts;

pub use quantified::incomparable;
use size::Growth;
pub use spans::{Scaled, divided_span, span};

/// Puts what is around functions in their place.
pub fn register(state: &mut SessionState) -> Result<()> {
    for (name, growth) in size::GROWING {
        wrap(state, name, Around::Size(growth))?;
    }
    state.register_udf(random_uuid::function(state)?)?;
    for name in floats::WITH_RANGE {
        wrap(state, name, Around::Range)?;
    }
    wrap(state, "round", Around::EvenFloats)?;
    wrap(state, "date_trunc", Around::Millis)?;
    wrap(state, "date_bin", Around::Stride)?;
    wrap(state, "array_remove", Around::Elements)?;
    wrap(state, "array_length", Around::NoLength)?;
    for name in COMPARING {
        wrap(state, name, Around::Comparing)?;
    }
    let own = templated::functions(state)?.into_iter().chain(quantified::functions());
    let own = own
        .chain([templated::to_number()])
        .chain(spans::functions())
        .chain(texts::functions());
    let own: Vec<Arc<ScalarUDF>> = own
        .chain(characters::functions())
        .chain(octets::functions(state)?)
        .collect();
    for own in own {
        state.register_udf(own)?;
    }
    Ok(())
}

/// Functions that look for an element, by a comparison that there is of single values and arrays only.
const COMPARING: [&str; 7] = [
    "array_position",
    "array_positions",
    "array_remove_n",
    "array_remove_all",
    "array_replace",
    "array_replace_n",
    "array_replace_all",
];

fn wrap(state: &mut SessionState, name: &str, around: Around) -> Result<()> {
    let plain = state.udf(name)?;
    state.register_udf(Arc::new(ScalarUDF::from(Wrapped { plain, around })))?;
    Ok(())
}

/// DataFusion's function, and what stands around it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Wrapped {
    plain: Arc<ScalarUDF>,
    around: Around,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Around {
    /// How large its result is.
    Size(Growth),
    /// Whether it has a value for its arguments.
    Range,
    /// How it rounds floats.
    EvenFloats,
    /// How it goes to milliseconds.
    Millis,
    /// Whether its length goes forward.
    Stride,
    /// Which elements it leaves out.
    Elements,
    /// That an array without elements has no length, as in PostgreSQL.
    NoLength,
    /// Whether what it looks for can be compared.
    Comparing,
    /// What its type takes for its second argument: a constant, or one that nothing is known of.
    Second(Option<ScalarValue>),
}

impl ScalarUDFImpl for Wrapped {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.plain.coerce_types(given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.plain.return_type(given)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if self.around == Around::Comparing
            && let Some(item) = args
                .arg_fields
                .first()
                .and_then(|array| composite_item(array.data_type()))
        {
            return plan_err!(
                "{}() compares elements, which it can't do with {}; UNNEST the array and compare the fields",
                self.name(),
                sql_type(item)
            );
        }
        match (&self.around, args.scalar_arguments) {
            (Around::Second(known), [first, _]) => self.plain.return_field_from_args(ReturnFieldArgs {
                arg_fields: args.arg_fields,
                scalar_arguments: &[*first, known.as_ref()],
            }),
            _ => self.plain.return_field_from_args(args),
        }
    }

    fn is_strict(&self) -> bool {
        self.plain.is_strict() && self.around != Around::Elements
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (&self.around, &args.args[..]) {
            (Around::Size(growth), given) => growth.check(self.name(), given, args.number_rows)?,
            (Around::Stride, [stride, ..]) => spans::goes_forward(stride)?,
            (Around::Range, given) => {
                let given = given.to_vec();
                let made = self.plain.invoke_with_args(args)?;
                return floats::in_range(self.name(), &given, made);
            }
            (Around::Elements, [lists, value]) => {
                let (lists, value) = (lists.to_array(args.number_rows)?, value.to_array(args.number_rows)?);
                if let Some(left) = elements::removed(&lists, &value)? {
                    return Ok(ColumnarValue::Array(left));
                }
            }
            (Around::EvenFloats, [one]) if one.data_type().is_floating() => return floats::rounded(one),
            (Around::NoLength, _) => {
                let made = self.plain.invoke_with_args(args)?;
                return without_zeros(made);
            }
            (Around::Millis, [granularity, time]) => {
                if let Some(floored) = floats::to_millis(granularity, time)? {
                    return Ok(floored);
                }
            }
            _ => {}
        }
        self.plain.invoke_with_args(args)
    }
}

/// The type of an array's elements, or of theirs, where it is a STRUCT or MAP.
fn composite_item(array: &DataType) -> Option<&DataType> {
    match array {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => match item.data_type() {
            kind @ (DataType::Struct(_) | DataType::Map(..)) => Some(kind),
            inner => composite_item(inner),
        },
        _ => None,
    }
}

/// NULL in the place of each 0.
fn without_zeros(lengths: ColumnarValue) -> Result<ColumnarValue> {
    let is_scalar = matches!(lengths, ColumnarValue::Scalar(_));
    let lengths = lengths.into_array(1)?;
    let zero = new_zero(lengths.data_type())?;
    let some = nullif(&lengths, &eq(&lengths, &Scalar::new(zero))?)?;
    match is_scalar {
        true => ScalarValue::try_from_array(&some, 0).map(ColumnarValue::Scalar),
        false => Ok(ColumnarValue::Array(some)),
    }
}

fn new_zero(kind: &DataType) -> Result<ArrayRef> {
    ScalarValue::new_zero(kind)?.to_array()
}

/// Notes, before types are made to fit, which functions were given a constant that their type hangs
/// on.
#[derive(Debug)]
pub struct StableTypes;

impl AnalyzerRule for StableTypes {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| rewrite::expressions(node, noted))
            .map(|done| done.data)
    }

    fn name(&self) -> &str {
        "stable_types"
    }
}

fn noted(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = &expr else {
        return Ok(Transformed::no(expr));
    };
    let [_, second] = &args[..] else {
        return Ok(Transformed::no(expr));
    };
    let wrapped = func.inner().downcast_ref::<Wrapped>();
    if func.name() != "round" || wrapped.is_some_and(|wrapped| matches!(wrapped.around, Around::Second(_))) {
        return Ok(Transformed::no(expr));
    }
    let known = match second {
        Expr::Literal(value, _) => Some(value.clone()),
        _ => None,
    };
    let around = Around::Second(known);
    let plain = func.clone();
    let func = Arc::new(ScalarUDF::from(Wrapped { plain, around }));
    let args = args.clone();
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })))
}
