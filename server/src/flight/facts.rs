//! What drivers may ask about the server itself: SqlInfo, and its types in the words of ODBC.

use std::sync::LazyLock;

use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{Nullable, Searchable, SqlInfo, SqlSupportedTransaction, XdbcDataType, XdbcDatetimeSubcode};

/// Answers to GetSqlInfo.
pub static SQL_INFO: LazyLock<SqlInfoData> = LazyLock::new(|| {
    let mut facts = SqlInfoDataBuilder::new();
    facts.append(SqlInfo::FlightSqlServerName, "Weir");
    facts.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    facts.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    facts.append(SqlInfo::FlightSqlServerReadOnly, false);
    facts.append(SqlInfo::FlightSqlServerSql, true);
    facts.append(SqlInfo::FlightSqlServerSubstrait, false);
    facts.append(
        SqlInfo::FlightSqlServerTransaction,
        SqlSupportedTransaction::Transaction as i32,
    );
    facts.append(SqlInfo::FlightSqlServerCancel, true);
    facts.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    facts.append(SqlInfo::SqlDdlCatalog, false);
    facts.append(SqlInfo::SqlDdlSchema, false);
    facts.append(SqlInfo::SqlDdlTable, true);
    facts.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    facts.append(SqlInfo::SqlSearchStringEscape, "\\");
    facts.append(SqlInfo::SqlSchemaTerm, "schema");
    facts.append(SqlInfo::SqlCatalogTerm, "catalog");
    facts.build().expect("facts of fixed types")
});

/// Answers to GetXdbcTypeInfo.
pub static TYPES: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| {
    let quoted = Some("'");
    let mut types = XdbcTypeInfoDataBuilder::new();
    let mut number = |name, code, digits, exact| {
        types.append(XdbcTypeInfo {
            column_size: Some(digits),
            unsigned_attribute: Some(false),
            fixed_prec_scale: exact,
            num_prec_radix: Some(10),
            ..plain(name, code, None)
        });
    };
    number("SMALLINT", XdbcDataType::XdbcSmallint, 5, true);
    number("INT", XdbcDataType::XdbcInteger, 10, true);
    number("BIGINT", XdbcDataType::XdbcBigint, 19, true);
    number("REAL", XdbcDataType::XdbcReal, 7, false);
    number("DOUBLE PRECISION", XdbcDataType::XdbcDouble, 15, false);
    types.append(XdbcTypeInfo {
        column_size: Some(76),
        create_params: Some(vec!["precision".into(), "scale".into()]),
        minimum_scale: Some(0),
        maximum_scale: Some(76),
        unsigned_attribute: Some(false),
        num_prec_radix: Some(10),
        ..plain("DECIMAL", XdbcDataType::XdbcDecimal, None)
    });
    types.append(plain("BOOLEAN", XdbcDataType::XdbcBit, None));
    types.append(XdbcTypeInfo {
        case_sensitive: true,
        ..plain("TEXT", XdbcDataType::XdbcVarchar, quoted)
    });
    types.append(plain("BYTEA", XdbcDataType::XdbcVarbinary, quoted));
    // ODBC has one code, 1, for DATE and YEAR.
    for (name, code, subcode) in [
        ("DATE", XdbcDataType::XdbcDate, XdbcDatetimeSubcode::XdbcSubcodeYear),
        ("TIME", XdbcDataType::XdbcTime, XdbcDatetimeSubcode::XdbcSubcodeTime),
        (
            "TIMESTAMP",
            XdbcDataType::XdbcTimestamp,
            XdbcDatetimeSubcode::XdbcSubcodeTimestamp,
        ),
    ] {
        types.append(XdbcTypeInfo {
            sql_data_type: XdbcDataType::XdbcDatetime,
            datetime_subcode: Some(subcode),
            ..plain(name, code, quoted)
        });
    }
    types.append(plain("INTERVAL", XdbcDataType::XdbcInterval, quoted));
    types.build().expect("types of fixed shape")
});

fn plain(name: &str, code: XdbcDataType, quote: Option<&str>) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.into(),
        local_type_name: Some(name.into()),
        data_type: code,
        sql_data_type: code,
        literal_prefix: quote.map(String::from),
        literal_suffix: quote.map(String::from),
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        ..XdbcTypeInfo::default()
    }
}
