//! `to_char`, `to_number`, `to_date` and `to_timestamp`, whose templates are PostgreSQL's ([`templates`]) and not
//! `strftime`'s. With one argument the last two are DataFusion's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use weir_engine::format::calendar::US_PER_DAY;
use weir_engine::format::json::value;
use weir_engine::format::sql_type;

use crate::plan::checked;
use crate::plan::clock::moment;
use crate::plan::templates::amounts::{self, Amount};
use crate::plan::templates::show::{self, Kind};
use crate::plan::templates::{self, Part, lengths, read};

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
                    DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
                    kind if kind.is_numeric() => kind.clone(),
                    kind => {
                        return plan_err!(
                            "to_char() takes a number, DATE, TIME, TIMESTAMP, TIMESTAMPTZ or INTERVAL, not {}",
                            sql_type(kind)
                        );
                    }
                };
                Ok(vec![kind, DataType::Utf8])
            }
            (What::Show, _) => {
                plan_err!("to_char() takes a time or number and a template: to_char(ts, 'YYYY-MM-DD HH24:MI')")
            }
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
        if self.what == What::Show && first.data_type().is_numeric() {
            return Ok(ColumnarValue::Array(shown_numbers(
                &first.to_array(rows)?,
                template,
                rows,
            )?));
        }
        let templates = Templates::new(template, self.what)?;
        let column = first.to_array(rows)?;
        let made = match self.what {
            What::Show if matches!(column.data_type(), DataType::Interval(_)) => shown_lengths(&column, &templates)?,
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

fn shown_numbers(numbers: &ArrayRef, template: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    let texts = checked::column_as(numbers, &DataType::Utf8)?;
    let mut made = StringBuilder::new();
    by_template(&texts, template, rows, |template, given| match given.zip(template) {
        Some((text, template)) => {
            let mut out = String::new();
            let plain = value::number(text).filter(|_| text.ends_with(|c: char| c.is_ascii_digit()));
            template.write(plain.as_deref().unwrap_or(text), &mut out);
            made.append_value(out);
            Ok(())
        }
        None => {
            made.append_null();
            Ok(())
        }
    })?;
    Ok(Arc::new(made.finish()))
}

/// Each text with its template; none where either is NULL.
fn by_template(
    texts: &ArrayRef,
    template: &ColumnarValue,
    rows: usize,
    mut each: impl FnMut(Option<&Amount>, Option<&str>) -> Result<()>,
) -> Result<()> {
    let templates = cast(&template.to_array(rows)?, &DataType::Utf8)?;
    let mut known: Option<(String, Amount)> = None;
    for (text, template) in texts.as_string::<i32>().iter().zip(templates.as_string::<i32>()) {
        let Some(template) = template else {
            each(None, None)?;
            continue;
        };
        if known.as_ref().is_none_or(|(written, _)| written != template) {
            let amount = amounts::parse(template).map_err(|why| exec_datafusion_err!("{why}"))?;
            known = Some((template.to_string(), amount));
        }
        each(known.as_ref().map(|(_, amount)| amount), text)?;
    }
    Ok(())
}

/// What `to_number` gives.
const NUMBER: DataType = DataType::Decimal128(38, 10);

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToNumber {
    signature: Signature,
    documentation: Documentation,
}

/// `to_number`, which DataFusion has not.
pub fn to_number() -> Arc<ScalarUDF> {
    let documentation = Documentation::builder(
        DocSection::default(),
        "The number that a text spells by a template.",
        "to_number(text, template)",
    );
    Arc::new(ScalarUDF::from(ToNumber {
        signature: Signature::user_defined(Volatility::Immutable),
        documentation: documentation.build(),
    }))
}

impl ScalarUDFImpl for ToNumber {
    fn name(&self) -> &str {
        "to_number"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [one, other] if [one, other].iter().all(|kind| kind.is_string() || kind.is_null()) => {
                Ok(vec![DataType::Utf8, DataType::Utf8])
            }
            _ => plan_err!("to_number() takes a text and a template: to_number('1,234.50', '9,999.99')"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(NUMBER)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = args.args[0].to_array(args.number_rows)?;
        let mut read = StringBuilder::new();
        by_template(&texts, &args.args[1], args.number_rows, |template, text| {
            read.append_option(match template.zip(text) {
                Some((template, text)) => Some(template.read(text).map_err(|why| exec_datafusion_err!("{why}"))?),
                None => None,
            });
            Ok(())
        })?;
        let read: ArrayRef = Arc::new(read.finish());
        Ok(ColumnarValue::Array(checked::column_as(&read, &NUMBER)?))
    }
}

fn shown_lengths(intervals: &ArrayRef, templates: &Templates) -> Result<ArrayRef> {
    let mut made = StringBuilder::new();
    let mut text = String::new();
    for (row, interval) in intervals.as_primitive::<IntervalMonthDayNanoType>().iter().enumerate() {
        let (Some(interval), Some(template)) = (interval, templates.of(row)?) else {
            made.append_null();
            continue;
        };
        if lengths::needs_calendar(&template) {
            return exec_err!(
                "to_char() of an INTERVAL has years, months, days, hours, minutes and seconds only: it belongs to no day of \
                 the calendar"
            );
        }
        text.clear();
        lengths::write(&template, interval, &mut text);
        made.append_value(&text);
    }
    Ok(Arc::new(made.finish()))
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
