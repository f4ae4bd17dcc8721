//! What rows show beside their pairs, by whether they have a partner.

use super::*;

impl Join {
    /// Emits what a side's changes show beside their pairs.
    pub(super) fn show(
        &self,
        is_left: bool,
        batch: &ChangeBatch,
        has_partner: impl Fn(usize) -> bool,
        output: &mut Vec<ChangeBatch>,
    ) -> Result<()> {
        let rows = 0..batch.num_rows();
        let wanted = match self.sides(is_left).0.shown {
            Shown::InPairs => return Ok(()),
            Shown::Marked => {
                let mark = rows.map(|row| Some(has_partner(row))).collect();
                let columns = batch.rows().columns().to_vec();
                let rows = self.shown_rows(is_left, columns, batch.num_rows(), Some(mark))?;
                output.push(batch.clone().with_rows(rows));
                return Ok(());
            }
            Shown::Alone => false,
            Shown::Paired => true,
        };
        let shown: Vec<u32> = rows
            .filter(|row| has_partner(*row) == wanted)
            .map(|row| row as u32)
            .collect();
        if shown.is_empty() {
            return Ok(());
        }
        let batch = match shown.len() == batch.num_rows() {
            true => batch.clone(),
            false => batch.take(&UInt32Array::from(shown))?,
        };
        let rows = self.shown_rows(is_left, batch.rows().columns().to_vec(), batch.num_rows(), None)?;
        output.push(batch.with_rows(rows));
        Ok(())
    }

    /// Emits what rows of the state show now, and takes back what they showed before.
    pub(super) fn show_turned(&self, is_left: bool, turned: &[Turned], output: &mut Vec<ChangeBatch>) -> Result<()> {
        let side = self.sides(is_left).0;
        for turned in turned.chunks(probe::PAIRS) {
            let table = &side.state.table;
            let keys = self
                .keys
                .decode(turned.iter().map(|row| side.join_key(table.key(row.slot))))?;
            let columns = side.columns(&keys, turned.iter().map(|row| row.row))?;
            let mut emit = |columns, mark, weight: &dyn Fn(&Turned) -> i64| -> Result<()> {
                let rows = self.shown_rows(is_left, columns, turned.len(), mark)?;
                let weights = turned.iter().map(weight).collect();
                output.push(ChangeBatch::new(rows, Weights::Each(weights)));
                Ok(())
            };
            let sign = |shown: bool| if shown { 1 } else { -1 };
            match side.shown {
                Shown::InPairs => {}
                Shown::Alone => emit(columns, None, &|row| sign(!row.has_partner) * row.weight)?,
                Shown::Paired => emit(columns, None, &|row| sign(row.has_partner) * row.weight)?,
                Shown::Marked => {
                    let mark = |flip: bool| turned.iter().map(|row| Some(row.has_partner != flip)).collect();
                    emit(columns.clone(), Some(mark(true)), &|row| -row.weight)?;
                    emit(columns, Some(mark(false)), &|row| row.weight)?;
                }
            }
        }
        Ok(())
    }

    /// Rows of the output of one side's columns.
    pub(super) fn shown_rows(
        &self,
        is_left: bool,
        mut columns: Vec<ArrayRef>,
        rows: usize,
        mark: Option<BooleanArray>,
    ) -> Result<RecordBatch> {
        if let Some(mark) = mark {
            columns.push(Arc::new(mark));
        }
        if self.spec.kind.pairs() {
            let other = self.sides(is_left).1;
            let nulls = other.types.iter().map(|data_type| new_null_array(data_type, rows));
            match is_left {
                true => columns.extend(nulls),
                false => columns = nulls.chain(columns).collect(),
            }
        }
        record_batch(self.schema.clone(), columns, rows)
    }
}
