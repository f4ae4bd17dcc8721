//! Scalar functions of DataFusion that need something around them before they may be called.
//!
//! - `round` of a decimal: its type hangs on whether the digits stand in the query, which the
//!   optimizer changes by folding constants. [`StableTypes`] notes it once, at the start.
//! - `round` of a DOUBLE rounds from halfway to the even number, `date_trunc` to milliseconds goes down before
//!   1970 too, a function of numbers that has no value, as `ln(-1)`, is an error, and `array_remove` takes all
//!   elements that are equal, all as in PostgreSQL.
//! - Functions that make a large value of small ones (`repeat`, `range`, …) are refused before they
//!   take the memory: [`size`].

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use datafusion::optimizer::AnalyzerRule;

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
