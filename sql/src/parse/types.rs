//! Types as written into the few that Weir has.
//!
//! Every type has one form after parsing, whatever it was called: `INT4` is INT, `JSON` is JSONB.
//! Timestamps hold microseconds, so TIMESTAMP becomes TIMESTAMP(6). What would be accepted and then
//! not kept (the length of VARCHAR(20), the precision of TIMESTAMP(3)) is refused.

use sqlparser::ast::{ArrayElemTypeDef, DataType, ExactNumberInfo, ObjectName, StructField, TimezoneInfo};

use super::cursor::Cursor;
use crate::error::{Error, Result};

const TYPES: &str = "BOOLEAN, SMALLINT, INT, BIGINT (and UNSIGNED), REAL, DOUBLE PRECISION, DECIMAL(p, s), TEXT, BYTEA, \
     JSONB, UUID, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, arrays such as INT[], STRUCT<a INT> and \
     MAP<TEXT, INT>";
const MICROSECONDS: u64 = 6;
/// Digits of DECIMAL without precision, and those after its point.
const DECIMAL: (u64, i64) = (38, 10);
const MAX_DECIMAL_DIGITS: u64 = 38;

/// A type at the cursor.
pub(super) fn data_type(cursor: &mut Cursor) -> Result<DataType> {
    let (line, column) = cursor.place();
    let written = cursor.run(|parser| parser.parse_data_type())?;
    canonical(written).map_err(|message| Error::at(message, line, column))
}

/// The one form of a type; an error's message says what to write instead.
pub(super) fn canonical(written: DataType) -> Result<DataType, String> {
    use DataType::*;
    Ok(match written {
        Boolean | Bool => Boolean,
        TinyInt(None) => TinyInt(None),
        SmallInt(None) | Int2(None) => SmallInt(None),
        Int(None) | Integer(None) | Int4(None) => Int(None),
        BigInt(None) | Int8(None) => BigInt(None),
        TinyIntUnsigned(None) => TinyIntUnsigned(None),
        SmallIntUnsigned(None) | Int2Unsigned(None) => SmallIntUnsigned(None),
        IntUnsigned(None) | IntegerUnsigned(None) | Int4Unsigned(None) => IntUnsigned(None),
        BigIntUnsigned(None) | Int8Unsigned(None) => BigIntUnsigned(None),
        Real | Float4 | Float(ExactNumberInfo::Precision(1..=24)) => Real,
        DoublePrecision | Float8 | Double(ExactNumberInfo::None) => DoublePrecision,
        Float(ExactNumberInfo::None | ExactNumberInfo::Precision(25..=53)) => DoublePrecision,
        Numeric(digits) | Decimal(digits) | Dec(digits) => decimal(digits)?,
        Text | String(None) => Text,
        JSON | JSONB => JSONB,
        Varchar(None) | CharacterVarying(None) | CharVarying(None) => Text,
        Bytea | Bytes(None) => Bytea,
        Uuid => Uuid,
        Date => Date,
        Time(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => Time(None, TimezoneInfo::None),
        Timestamp(None | Some(MICROSECONDS), zone) => {
            let zone = match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => TimezoneInfo::None,
                TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => TimezoneInfo::WithTimeZone,
            };
            Timestamp(Some(MICROSECONDS), zone)
        }
        Interval {
            fields: None,
            precision: None,
        } => Interval {
            fields: None,
            precision: None,
        },
        Array(ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, _)) => {
            Array(ArrayElemTypeDef::SquareBracket(Box::new(canonical(*element)?), None))
        }
        Struct(fields, brackets) => {
            let fields = fields.into_iter().map(struct_field);
            Struct(fields.collect::<Result<_, _>>()?, brackets)
        }
        Map(key, value) => Map(Box::new(canonical(*key)?), Box::new(canonical(*value)?)),
        other => return Err(refused(&other)),
    })
}

fn struct_field(field: StructField) -> Result<StructField, String> {
    if field.field_name.is_none() {
        return Err("a field of a STRUCT needs a name: STRUCT<name TEXT>".into());
    }
    Ok(StructField {
        field_type: canonical(field.field_type)?,
        ..field
    })
}

fn decimal(digits: ExactNumberInfo) -> Result<DataType, String> {
    let (precision, scale) = match digits {
        ExactNumberInfo::None => DECIMAL,
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    if !(1..=MAX_DECIMAL_DIGITS).contains(&precision) {
        return Err(format!("DECIMAL has 1 to {MAX_DECIMAL_DIGITS} digits, not {precision}"));
    }
    if !(0..=precision as i64).contains(&scale) {
        return Err(format!(
            "DECIMAL({precision}, …) has 0 to {precision} digits after the point, not {scale}"
        ));
    }
    Ok(DataType::Decimal(ExactNumberInfo::PrecisionAndScale(precision, scale)))
}

/// What to write instead of a type that isn't there.
fn refused(written: &DataType) -> String {
    use DataType::*;
    match written {
        Varchar(_) | CharacterVarying(_) | CharVarying(_) | Char(_) | Character(_) | Nvarchar(_) | String(_) => {
            format!("{written} is not there, because lengths of text are not kept: write TEXT")
        }
        TinyInt(_) | SmallInt(_) | Int2(_) | Int(_) | Integer(_) | Int4(_) | BigInt(_) | Int8(_) => {
            format!("{written} is not there: whole numbers take no width")
        }
        Time(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
            "TIME WITH TIME ZONE is not there: write TIMESTAMPTZ or TIME".into()
        }
        Time(..) => format!("{written} is not there: write TIME"),
        Timestamp(Some(precision), _) => format!(
            "TIMESTAMP({precision}) is not there: timestamps hold microseconds; write TIMESTAMP, and \
             date_trunc('millisecond', …) to cut one"
        ),
        Datetime(_) | TimestampNtz(_) => format!("{written} is not there: write TIMESTAMP"),
        Interval { .. } => format!("{written} is not there: write INTERVAL"),
        Binary(_) | Varbinary(_) | Blob(_) | Bytes(_) => {
            format!("{written} is not there: write BYTEA")
        }
        Custom(name, _) => unknown(name),
        other => format!("{other} is not there; the types are {TYPES}"),
    }
}

fn unknown(name: &ObjectName) -> String {
    let folded = name.to_string().to_ascii_lowercase();
    if folded == "timestamp_ltz" {
        return "TIMESTAMP_LTZ is not there: write TIMESTAMPTZ".into();
    }
    format!("there is no type {name}; the types are {TYPES}")
}

/// TIMESTAMP in its one form.
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(Some(MICROSECONDS), TimezoneInfo::None)
}
