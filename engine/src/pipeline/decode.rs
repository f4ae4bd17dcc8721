//! From a read of a split to a change batch of the source's columns.
//!
//! One [`SourceDecoder`] serves one task. It decodes only the columns that some view of the
//! pipeline needs (its [`Layout`]), adds metadata and generated columns, follows the split's
//! watermark, and judges bad records by the source's policy.
//!
//! Under `skip` a view's answer must not hang on what other views read beside it. So there all
//! declared columns are looked at, read or not, and a bad record is one for every view. Under `fail` what
//! nobody reads costs nothing: a view fails at a record that is bad for its own layout.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array, MapBuilder, MapFieldNames,
    PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder, TimestampMicrosecondArray,
    builder::BinaryBuilder, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{self, CastOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;

use crate::change::ChangeBatch;
use crate::connector::{Payload, Records, SplitRead, Wanted};
use crate::error::BadRecord;
use crate::float;
use crate::format::{self, Decoder, Encoding, EncodingKind, Envelope, Others};
use crate::relation::{ColumnOrigin, Metadata, OnError, SourceSpec, WATERMARK_COLUMN};
use crate::{Error, Result};

/// Name of the hidden last column of an UPSERT source: true for a tombstone.
pub const TOMBSTONE_COLUMN: &str = "weir_tombstone";

/// Which columns of a source a pipeline needs: the union over its views.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Declared columns by index, ascending.
    pub columns: Vec<usize>,
    /// The hidden watermark column is needed.
    pub with_watermark: bool,
}

impl Layout {
    /// Adds what one more reader needs.
    pub fn widen(&mut self, columns: &[usize], with_watermark: bool) {
        self.columns.extend(columns);
        self.columns.sort_unstable();
        self.columns.dedup();
        self.with_watermark |= with_watermark;
    }

    /// Where `columns`, then the watermark column if asked, then the tombstone column of an
    /// UPSERT source, stand in a batch of this layout.
    pub fn projection(&self, spec: &SourceSpec, columns: &[usize], with_watermark: bool) -> Result<Vec<usize>> {
        let mut places = Vec::with_capacity(columns.len() + 2);
        for column in columns {
            places.push(
                self.columns
                    .binary_search(column)
                    .map_err(|_| Error::internal("a column is not in the layout"))?,
            );
        }
        let mut next = self.columns.len();
        if self.with_watermark {
            if with_watermark {
                places.push(next);
            }
            next += 1;
        }
        if spec.envelope == Envelope::Upsert {
            places.push(next);
        }
        Ok(places)
    }
}

/// What became of one read.
pub struct DecodedRead {
    /// The rows that decoded.
    pub rows: ChangeBatch,
    /// Records passed over, with the cause (policy `skip`).
    pub skipped: Vec<BadRecord>,
}

/// Decodes reads of one source for one task.
pub struct SourceDecoder {
    spec: Arc<SourceSpec>,
    layout: Layout,
    schema: SchemaRef,
    /// Declared columns that must be built: the layout's, and what generated columns, the
    /// watermark and NOT NULL checks refer to. Others that are decoded are only checked under `skip`.
    needed: Vec<bool>,
    value: Side,
    key: Side,
}

/// The decoder of record values or keys, and the declared columns it fills.
struct Side {
    decoder: Option<Box<dyn Decoder>>,
    columns: Vec<usize>,
}

/// Whether a column is of one side.
type IsOf = fn(&ColumnOrigin) -> bool;
const OF_VALUE: IsOf = |origin| matches!(origin, ColumnOrigin::Value);
const OF_KEY: IsOf = |origin| matches!(origin, ColumnOrigin::Key);

impl SourceDecoder {
    /// A decoder for the columns of `layout`.
    pub fn new(spec: Arc<SourceSpec>, layout: Layout) -> Result<Self> {
        let needed = needed_columns(&spec, &layout);
        let side = |encoding: Option<&Encoding>, is_of: IsOf| -> Result<Side> {
            let declared: Vec<usize> = (0..needed.len()).filter(|i| is_of(&spec.origins[*i])).collect();
            let columns: Vec<usize> = declared.iter().copied().filter(|i| needed[*i]).collect();
            let (declared, wanted) = (project(&spec.schema, &declared), project(&spec.schema, &columns));
            let decoder = encoding.map(|encoding| format::decoder(encoding, &declared, &wanted, others(&spec)));
            Ok(Side {
                decoder: decoder.transpose()?,
                columns,
            })
        };
        let value = side((!makes_rows(&spec)).then_some(&spec.value_encoding), OF_VALUE)?;
        let reads_keys = decodes_keys(&spec, &needed);
        let key = side(spec.key_encoding.as_ref().filter(|_| reads_keys), OF_KEY)?;
        let schema = output_schema(&spec, &layout);
        Ok(SourceDecoder {
            spec,
            layout,
            schema,
            needed,
            value,
            key,
        })
    }

    /// What readers must deliver for `layout`.
    pub fn wanted(spec: &SourceSpec, layout: &Layout) -> Wanted {
        let needed = needed_columns(spec, layout);
        let uses = |test: fn(&ColumnOrigin) -> bool| (0..needed.len()).any(|i| needed[i] && test(&spec.origins[i]));
        let columns: Vec<usize> = (0..needed.len())
            .filter(|i| needed[*i] && matches!(spec.origins[*i], ColumnOrigin::Value))
            .collect();
        Wanted {
            keys: spec.envelope == Envelope::Upsert
                || decodes_keys(spec, &needed)
                || uses(|origin| matches!(origin, ColumnOrigin::Metadata(Metadata::Key))),
            headers: uses(|origin| matches!(origin, ColumnOrigin::Metadata(Metadata::Header(_) | Metadata::Headers))),
            columns: makes_rows(spec).then(|| project(&spec.schema, &columns)),
        }
    }

    /// Decodes a read. `watermark` is the split's, before and after (microseconds; `None` before
    /// the first row).
    pub fn decode(&mut self, read: &SplitRead, watermark: &mut Option<i64>) -> Result<DecodedRead> {
        let count = read.payload.len();
        let mut bad: Vec<(usize, String)> = Vec::new();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.spec.schema.fields().len()];
        let mut tombstones = None;
        match &read.payload {
            Payload::Rows { rows, .. } => {
                for (place, column) in self.value.columns.iter().enumerate() {
                    columns[*column] = Some(rows.column(place).clone());
                }
            }
            Payload::Records(records) => {
                self.value.decode(&records.values, &mut columns, &mut bad, "")?;
                self.key.decode(&records.keys, &mut columns, &mut bad, "key: ")?;
                tombstones = self.judge_tombstones(records, &mut bad);
            }
        }
        columns
            .iter_mut()
            .flatten()
            .for_each(|column| *column = float::one_form(column));
        self.add_metadata(read, &mut columns, &mut bad)?;
        let declared = self.add_generated(&mut columns, count, tombstones.as_ref(), &mut bad)?;
        self.check_not_null(&declared, tombstones.as_ref(), &mut bad);
        let before = self.follow_watermark(&declared, &mut bad, watermark)?;
        let skipped = self.apply_policy(read, &mut bad)?;
        let mut output: Vec<ArrayRef> = self
            .layout
            .columns
            .iter()
            .map(|i| declared.column(*i).clone())
            .collect();
        if let Some(before) = before {
            output.push(before);
        }
        if self.spec.envelope == Envelope::Upsert {
            let flags = tombstones.unwrap_or_else(|| BooleanArray::new(BooleanBuffer::new_unset(count), None));
            output.push(Arc::new(flags));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), output, &options)?;
        let mut rows = ChangeBatch::inserts(rows);
        if !bad.is_empty() {
            let mut keep = vec![true; count];
            bad.iter().for_each(|(index, _)| keep[*index] = false);
            rows = rows.filter(&BooleanArray::from(keep))?;
        }
        Ok(DecodedRead { rows, skipped })
    }

    /// Which records are tombstones; those that mean nothing here become bad records.
    fn judge_tombstones(&self, records: &Records, bad: &mut Vec<(usize, String)>) -> Option<BooleanArray> {
        let upsert = self.spec.envelope == Envelope::Upsert;
        if records.values.null_count() > 0 && !upsert {
            let raw = matches!(self.spec.value_encoding.kind, EncodingKind::Bytes | EncodingKind::Text);
            let looked_at = !self.value.columns.is_empty() || others(&self.spec) == Others::Checked;
            if !raw && looked_at && self.spec.origins.iter().any(OF_VALUE) {
                let cause = "the record has no value (a tombstone); FORMAT UPSERT reads those as deletes";
                bad.extend(
                    (0..records.values.len())
                        .filter(|i| records.values.is_null(*i))
                        .map(|i| (i, cause.to_string())),
                );
            }
        }
        if !upsert {
            return None;
        }
        let flags = match records.values.nulls() {
            Some(nulls) => !nulls.inner(),
            None => BooleanBuffer::new_unset(records.values.len()),
        };
        Some(BooleanArray::new(flags, None))
    }

    /// Fills METADATA columns.
    fn add_metadata(
        &self,
        read: &SplitRead,
        columns: &mut [Option<ArrayRef>],
        bad: &mut Vec<(usize, String)>,
    ) -> Result<()> {
        let count = read.payload.len();
        for (index, origin) in self.spec.origins.iter().enumerate() {
            let ColumnOrigin::Metadata(metadata) = origin else {
                continue;
            };
            if !self.needed[index] {
                continue;
            }
            let records = match &read.payload {
                Payload::Records(records) => Some(records),
                Payload::Rows { .. } => None,
            };
            let array: ArrayRef = match metadata {
                Metadata::Topic => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                    &*read.split.topic,
                    count,
                ))),
                Metadata::Partition => Arc::new(Int32Array::from_value(read.split.partition, count)),
                Metadata::Offset => Arc::new(Int64Array::from_iter_values(
                    (0..count).map(|i| read.payload.position(i)),
                )),
                Metadata::Timestamp => match records {
                    Some(records) => Arc::new(TimestampMicrosecondArray::from_iter(
                        records
                            .timestamps_ms
                            .iter()
                            .map(|ms| (*ms >= 0).then(|| ms.saturating_mul(1000))),
                    )),
                    None => new_null_array(&DataType::Timestamp(TimeUnit::Microsecond, None), count),
                },
                Metadata::Key => match records {
                    Some(records) => Arc::new(records.keys.clone()),
                    None => new_null_array(&DataType::Binary, count),
                },
                Metadata::Header(name) => Arc::new(header_column(records, name, count)),
                Metadata::Headers => headers_column(records, count)?,
            };
            let wanted = self.spec.schema.field(index).data_type();
            columns[index] = Some(if array.data_type() == wanted {
                array
            } else {
                self.cast_metadata(&array, index, bad)?
            });
        }
        Ok(())
    }

    fn cast_metadata(&self, array: &ArrayRef, index: usize, bad: &mut Vec<(usize, String)>) -> Result<ArrayRef> {
        let field = self.spec.schema.field(index);
        let (name, tells_apart) = (field.name(), self.spec.key.contains(&index));
        let cast: ArrayRef = match (field.data_type(), array.as_binary_opt::<i32>()) {
            (DataType::Utf8, Some(bytes)) => {
                // Bytes that are no text would otherwise stop the source for a column that is only
                // looked at: they are shown with replacement characters. But no two keys may become one.
                let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
                    Err(_) if tells_apart => None,
                    _ => Some(String::from_utf8_lossy(bytes).into_owned()),
                };
                Arc::new(bytes.iter().map(|value| value.and_then(text)).collect::<StringArray>())
            }
            _ => compute::cast(array, field.data_type()).map_err(|error| {
                Error::Config(format!(
                    "source '{}', metadata column '{name}': {error}",
                    self.spec.name
                ))
            })?,
        };
        if cast.null_count() > array.null_count() {
            let kind = format::sql_type(field.data_type());
            let lost = (0..cast.len()).filter(|row| cast.is_null(*row) && array.is_valid(*row));
            bad.extend(lost.map(|row| (row, format!("metadata column '{name}': the value is no {kind}"))));
        }
        Ok(cast)
    }

    /// Computes GENERATED columns in order and returns all declared columns; those not needed are
    /// null. A tombstone has no row of which one could be bad.
    fn add_generated(
        &self,
        columns: &mut [Option<ArrayRef>],
        count: usize,
        tombstones: Option<&BooleanArray>,
        bad: &mut Vec<(usize, String)>,
    ) -> Result<RecordBatch> {
        let nullable: SchemaRef = Arc::new(Schema::new(
            self.spec
                .schema
                .fields()
                .iter()
                .map(|f| f.as_ref().clone().with_nullable(true))
                .collect::<Vec<Field>>(),
        ));
        let fill = |columns: &[Option<ArrayRef>]| -> Result<RecordBatch> {
            let arrays = columns
                .iter()
                .zip(nullable.fields())
                .map(|(column, field)| {
                    column
                        .clone()
                        .unwrap_or_else(|| new_null_array(field.data_type(), count))
                })
                .collect();
            let options = RecordBatchOptions::new().with_row_count(Some(count));
            Ok(RecordBatch::try_new_with_options(nullable.clone(), arrays, &options)?)
        };
        let mut rows = fill(columns)?;
        for (index, origin) in self.spec.origins.iter().enumerate() {
            if let (ColumnOrigin::Generated(expr), true) = (origin, self.needed[index]) {
                let field = nullable.field(index);
                let mut fails = |row: usize, error: Error| {
                    if tombstones.is_none_or(|flags| !flags.value(row)) {
                        bad.push((row, format!("generated column '{}': {error}", field.name())));
                    }
                };
                columns[index] = Some(computed(expr, &rows, field.data_type(), &mut fails)?);
                rows = fill(columns)?;
            }
        }
        Ok(rows)
    }

    fn check_not_null(&self, rows: &RecordBatch, tombstones: Option<&BooleanArray>, bad: &mut Vec<(usize, String)>) {
        let upsert = self.spec.envelope == Envelope::Upsert;
        let is_key = |column: &usize| upsert && self.spec.key.contains(column);
        let columns = self
            .spec
            .not_null
            .iter()
            .chain(self.spec.key.iter().filter(|c| is_key(c)));
        for column in columns {
            let array = rows.column(*column);
            if array.null_count() == 0 {
                continue;
            }
            for row in (0..array.len()).filter(|row| array.is_null(*row)) {
                let tombstone = tombstones.is_some_and(|flags| flags.value(row));
                if tombstone && !is_key(column) {
                    continue;
                }
                let name = self.spec.schema.field(*column).name();
                let cause = if is_key(column) {
                    format!(
                        "key column '{name}' is null; an UPSERT record needs its key (KEY ENCODE, or a METADATA key column)"
                    )
                } else {
                    format!("column '{name}' is NOT NULL, but the record has no value for it")
                };
                bad.push((row, cause));
            }
        }
    }

    /// Moves the split's watermark over the rows; returns the hidden column if it is wanted.
    fn follow_watermark(
        &self,
        rows: &RecordBatch,
        bad: &mut Vec<(usize, String)>,
        watermark: &mut Option<i64>,
    ) -> Result<Option<ArrayRef>> {
        let Some(spec) = &self.spec.watermark else {
            return Ok(None);
        };
        let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
        let name = self.spec.schema.field(spec.column).name();
        let mut fails = |row: usize, error: Error| bad.push((row, format!("watermark for '{name}': {error}")));
        let bounds = computed(&spec.bound, rows, &kind, &mut fails)?;
        let bounds: &TimestampMicrosecondArray = bounds.as_primitive();
        let mut skip = vec![false; if bad.is_empty() { 0 } else { rows.num_rows() }];
        bad.iter().for_each(|(index, _)| skip[*index] = true);
        let mut current = watermark.unwrap_or(i64::MIN);
        let mut before = Vec::with_capacity(if self.layout.with_watermark { rows.num_rows() } else { 0 });
        for row in 0..rows.num_rows() {
            if self.layout.with_watermark {
                before.push(current);
            }
            if bounds.is_valid(row) && (skip.is_empty() || !skip[row]) {
                current = current.max(bounds.value(row));
            }
        }
        *watermark = (current != i64::MIN).then_some(current);
        if !self.layout.with_watermark {
            return Ok(None);
        }
        let known = NullBuffer::from_iter(before.iter().map(|value| *value != i64::MIN));
        Ok(Some(Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(
            before.into(),
            Some(known),
        ))))
    }

    /// Policy `fail`: the first bad record is the error. Policy `skip`: they are returned.
    fn apply_policy(&self, read: &SplitRead, bad: &mut Vec<(usize, String)>) -> Result<Vec<BadRecord>> {
        if bad.is_empty() {
            return Ok(Vec::new());
        }
        bad.sort_by_key(|(index, _)| *index);
        bad.dedup_by_key(|(index, _)| *index);
        let record = |(index, cause): &(usize, String)| BadRecord {
            source: self.spec.name.clone(),
            topic: read.split.topic.to_string(),
            partition: read.split.partition,
            offset: read.payload.position(*index),
            cause: cause.clone(),
            value: match &read.payload {
                Payload::Records(records) if records.values.is_valid(*index) => {
                    let value = records.values.value(*index);
                    value[..value.len().min(BadRecord::MAX_BYTES)].to_vec()
                }
                _ => Vec::new(),
            },
        };
        match self.spec.on_error {
            OnError::Fail => Err(Error::Record(Box::new(record(&bad[0])))),
            OnError::Skip => Ok(bad.iter().map(record).collect()),
        }
    }
}

impl Side {
    fn decode(
        &mut self,
        records: &BinaryArray,
        columns: &mut [Option<ArrayRef>],
        bad: &mut Vec<(usize, String)>,
        prefix: &str,
    ) -> Result<()> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        let decoded = decoder.decode(records)?;
        for (column, array) in self.columns.iter().zip(decoded.columns) {
            columns[*column] = Some(array);
        }
        bad.extend(
            decoded
                .errors
                .into_iter()
                .map(|e| (e.index, format!("{prefix}{}", e.cause))),
        );
        Ok(())
    }
}

/// The schema of a source's batches under a layout.
fn output_schema(spec: &SourceSpec, layout: &Layout) -> SchemaRef {
    let mut fields: Vec<Field> = layout
        .columns
        .iter()
        .map(|i| spec.schema.field(*i).clone().with_nullable(true))
        .collect();
    if layout.with_watermark {
        fields.push(Field::new(
            WATERMARK_COLUMN,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            true,
        ));
    }
    if spec.envelope == Envelope::Upsert {
        fields.push(Field::new(TOMBSTONE_COLUMN, DataType::Boolean, true));
    }
    Arc::new(Schema::new(fields))
}

/// Whether the source's connector makes columns, so that there is nothing to decode.
fn makes_rows(spec: &SourceSpec) -> bool {
    matches!(spec.connector.connector.as_str(), "datagen" | "nexmark")
}

/// What a decoder does with columns that nobody reads.
fn others(spec: &SourceSpec) -> Others {
    match spec.on_error {
        OnError::Fail => Others::Passed,
        OnError::Skip => Others::Checked,
    }
}

/// Whether records' keys are decoded.
fn decodes_keys(spec: &SourceSpec, needed: &[bool]) -> bool {
    let all = others(spec) == Others::Checked;
    (0..needed.len()).any(|i| OF_KEY(&spec.origins[i]) && (needed[i] || all))
}

/// An expression's values over the rows. Where some can't be computed, those are NULL, and `fails` is
/// told of them.
fn computed(
    expr: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
    kind: &DataType,
    fails: &mut dyn FnMut(usize, Error),
) -> Result<ArrayRef> {
    if let Ok(values) = computed_at_once(expr, rows, kind) {
        return Ok(values);
    }
    let mut values = vec![new_null_array(kind, 0)];
    for row in 0..rows.num_rows() {
        let value = computed_at_once(expr, &rows.slice(row, 1), kind);
        values.push(value.unwrap_or_else(|error| {
            fails(row, error);
            new_null_array(kind, 1)
        }));
    }
    let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    Ok(compute::concat(&values)?)
}

fn computed_at_once(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch, kind: &DataType) -> Result<ArrayRef> {
    let value = expr.evaluate(rows)?.into_array(rows.num_rows())?;
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(float::one_form(&compute::cast_with_options(&value, kind, &strict)?))
}

fn needed_columns(spec: &SourceSpec, layout: &Layout) -> Vec<bool> {
    let mut needed = vec![false; spec.schema.fields().len()];
    layout
        .columns
        .iter()
        .chain(&spec.not_null)
        .for_each(|i| needed[*i] = true);
    if spec.envelope == Envelope::Upsert {
        spec.key.iter().for_each(|i| needed[*i] = true);
    }
    if others(spec) == Others::Checked {
        let generated = |i: &usize| matches!(spec.origins[*i], ColumnOrigin::Generated(_));
        (0..needed.len()).filter(generated).for_each(|i| needed[i] = true);
    }
    if let Some(watermark) = &spec.watermark {
        collect_columns(&watermark.bound)
            .iter()
            .for_each(|column| needed[column.index()] = true);
    }
    for index in (0..needed.len()).rev() {
        if let (true, ColumnOrigin::Generated(expr)) = (needed[index], &spec.origins[index]) {
            collect_columns(expr)
                .iter()
                .for_each(|column| needed[column.index()] = true);
        }
    }
    needed
}

fn project(schema: &Schema, columns: &[usize]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(|i| schema.field(*i).clone()).collect::<Vec<_>>(),
    ))
}

fn header_column(records: Option<&Records>, name: &str, count: usize) -> BinaryArray {
    let headers = records.and_then(|r| r.headers.as_ref());
    let value = |row: usize| {
        headers
            .and_then(|all| all[row].iter().rev().find(|(key, _)| key == name))
            .and_then(|(_, value)| value.as_deref())
    };
    BinaryArray::from_iter((0..count).map(value))
}

fn headers_column(records: Option<&Records>, count: usize) -> Result<ArrayRef> {
    let names = MapFieldNames {
        entry: "entries".into(),
        key: "key".into(),
        value: "value".into(),
    };
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), BinaryBuilder::new());
    for row in 0..count {
        for (key, value) in records
            .and_then(|r| r.headers.as_ref())
            .map_or(&[][..], |all| &all[row][..])
        {
            map.keys().append_value(key);
            map.values().append_option(value.as_deref());
        }
        map.append(true)?;
    }
    Ok(Arc::new(map.finish()))
}
