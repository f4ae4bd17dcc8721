//! `to_char`, `to_date` and `to_timestamp`, whose templates are PostgreSQL's ([`templates`]) and not
//! `strftime`'s. With one argument the last two are DataFusion's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use weir_engine::format::calendar::US_PER_DAY;
use weir_engine::format::sql_type;

use crate::plan::clock::moment;
use crate::plan::templates::show::{self, Kind};
use crate::plan::templates::{self, Part, read};

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The functions, in the place of DataFusion's.
pub fn functions(state: &SessionState) -> Result<Vec<Arc<ScalarUDF>>> {
    let functions = [
        ("to_char", What::Show),
        ("to_date", What::Date),
        ("to_timestamp", What::Moment),
    ];
    let function = |(name, what)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        let plain = state.udf(name)?;
        Ok(Arc::new(ScalarUDF::from(Templated { what, plain, signature })))
    };
    functions.into_iter().map(function).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Show,
    Date,
    Moment,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Templated {
    what: What,
    /// DataFusion's function of the name.
    plain: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Templated {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match (self.what, given) {
            (What::Show, [kind, template]) if template.is_string() || template.is_null() => {
                let kind = match kind {
                    DataType::Date32 | DataType::Date64 | DataType::Null | DataType::Timestamp(_, None) => MICROS,
                    DataType::Timestamp(..) => moment(),
                    DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
                    kind if kind.is_numeric() => {
                        return plan_err!(
                            "to_char() of {} is not there yet; round() and CAST(… AS TEXT) show a number",
                            sql_type(kind)
                        );
                    }
                    kind => {
                        return plan_err!(
                            "to_char() takes a DATE, TIME, TIMESTAMP or TIMESTAMPTZ, not {}",
                            sql_type(kind)
                        );
                    }
                };
                Ok(vec![kind, DataType::Utf8])
            }
            (What::Show, _) => plan_err!("to_char() takes a time and a template: to_char(ts, 'YYYY-MM-DD HH24:MI')"),
            (_, [text, template])
                if (text.is_string() || text.is_null()) && (template.is_string() || template.is_null()) =>
            {
                Ok(vec![DataType::Utf8, DataType::Utf8])
            }
            (_, [one]) => Ok(vec![one.clone()]),
            _ => plan_err!(
                "{0}() takes a text and a template: {0}('29.02.2024', 'DD.MM.YYYY')",
                self.name()
            ),
        }
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match (self.what, given.len()) {
            (What::Show, _) => Ok(DataType::Utf8),
            (_, 1) => self.plain.return_type(given),
            (What::Date, _) => Ok(DataType::Date32),
            (What::Moment, _) => Ok(moment()),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [first, template] = &args.args[..] else {
            return self.plain.invoke_with_args(args);
        };
        let rows = args.number_rows;
        let templates = Templates::new(template, self.what)?;
        let column = first.to_array(rows)?;
        let made = match self.what {
            What::Show => shown(&column, &templates)?,
            What::Date | What::Moment => self.read(&column, &templates)?,
        };
        Ok(ColumnarValue::Array(made))
    }
}

impl Templated {
    fn read(&self, texts: &ArrayRef, templates: &Templates) -> Result<ArrayRef> {
        let texts = texts.as_string::<i32>();
        let value = |row: usize| -> Result<Option<i64>> {
            let (true, Some(template)) = (texts.is_valid(row), templates.of(row)?) else {
                return Ok(None);
            };
            let text = texts.value(row);
            let micros = read::read(template.as_ref(), text)
                .map_err(|why| exec_datafusion_err!("{}('{text}', …): {why}", self.name()))?;
            Ok(Some(micros))
        };
        let micros = (0..texts.len()).map(value);
        if self.what == What::Date {
            let day = |micros: Result<Option<i64>>| -> Result<Option<i32>> {
                let day = micros?.map(|micros| micros.div_euclid(US_PER_DAY));
                Ok(day.and_then(|day| i32::try_from(day).ok()))
            };
            let days = micros
                .map(day)
                .collect::<Result<arrow::array::PrimitiveArray<Date32Type>>>()?;
            return Ok(Arc::new(days));
        }
        let moments = micros.collect::<Result<arrow::array::PrimitiveArray<TimestampMicrosecondType>>>()?;
        Ok(Arc::new(moments.with_timezone("+00:00")))
    }
}

/// The template of each row, taken apart.
enum Templates {
    One(Option<Vec<Part>>),
    Each(ArrayRef, What),
}

impl Templates {
    fn new(template: &ColumnarValue, what: What) -> Result<Templates> {
        match template {
            ColumnarValue::Scalar(template) => match template.try_as_str() {
                Some(Some(template)) => Ok(Templates::One(Some(parsed(template, what)?))),
                _ => Ok(Templates::One(None)),
            },
            ColumnarValue::Array(column) => Ok(Templates::Each(cast(column, &DataType::Utf8)?, what)),
        }
    }

    fn of(&self, row: usize) -> Result<Option<std::borrow::Cow<'_, [Part]>>> {
        match self {
            Templates::One(parts) => Ok(parts.as_deref().map(Into::into)),
            Templates::Each(column, what) => match column.is_valid(row) {
                true => Ok(Some(parsed(column.as_string::<i32>().value(row), *what)?.into())),
                false => Ok(None),
            },
        }
    }
}

fn parsed(template: &str, what: What) -> Result<Vec<Part>> {
    let parts = templates::parse(template);
    let parts = match what {
        What::Show => parts,
        What::Date | What::Moment => parts.and_then(|parts| read::can_read(&parts).map(|()| parts)),
    };
    parts.map_err(|why| exec_datafusion_err!("{why}"))
}

fn shown(times: &ArrayRef, templates: &Templates) -> Result<ArrayRef> {
    let (micros, kind) = match times.data_type() {
        DataType::Time64(_) => (times.as_primitive::<Time64MicrosecondType>().values(), Kind::TimeOfDay),
        DataType::Timestamp(_, None) => (times.as_primitive::<TimestampMicrosecondType>().values(), Kind::Local),
        _ => (times.as_primitive::<TimestampMicrosecondType>().values(), Kind::Moment),
    };
    let mut made = StringBuilder::new();
    let mut text = String::new();
    for (row, micros) in micros.iter().enumerate() {
        let (true, Some(template)) = (times.is_valid(row), templates.of(row)?) else {
            made.append_null();
            continue;
        };
        if kind == Kind::TimeOfDay && show::needs_date(&template) {
            return exec_err!("to_char() of a TIME has hours, minutes and seconds only");
        }
        text.clear();
        show::write(&template, *micros, kind, &mut text);
        made.append_value(&text);
    }
    Ok(Arc::new(made.finish()))
}
