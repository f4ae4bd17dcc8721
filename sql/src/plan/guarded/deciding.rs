//! How AND and OR are decided where operands fail.
//!
//! Every operand is first computed over all rows (or over the few that are still open), which is all
//! there is to it as long as nothing fails. One that failed is computed again when the others have
//! decided what they can, over the rows that they left open. If several still fail, each is taken
//! apart until it is known in which rows it does. A row is an error only if no operand decides it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, UInt32Array};
use arrow::compute::{and_kleene, or_kleene};
use datafusion::common::{DataFusionError, Result};

use super::Connective;

/// Computes an operand over the rows of these numbers, or over all.
pub type Operand<'a> = dyn Fn(Option<&UInt32Array>) -> Result<ArrayRef> + 'a;

/// Of so many open rows for one that is decided, an operand is computed over the open ones only.
const FEW: usize = 5;

/// What the operands make of `rows` rows.
pub fn decide(connective: Connective, operands: &[&Operand], rows: usize) -> Result<BooleanArray> {
    let known = BooleanArray::from(vec![!connective.deciding(); rows]);
    let mut verdict = Verdict { connective, known };
    let mut failed: Vec<(&Operand, DataFusionError)> = Vec::new();
    for operand in operands {
        if let Err(error) = verdict.take(operand) {
            failed.push((operand, error));
        }
    }
    let mut open = verdict.open().len();
    while open > 0 && !failed.is_empty() {
        let before = failed.len();
        let mut still = Vec::new();
        for (operand, _) in failed {
            if let Err(error) = verdict.take_where_open(operand) {
                still.push((operand, error));
            }
        }
        failed = still;
        let left = verdict.open().len();
        if failed.len() == before && left == open {
            return verdict.take_apart(failed);
        }
        open = left;
    }
    Ok(verdict.known)
}

/// The rows in which a condition holds, and those in which it fails.
pub fn holds_or_fails(condition: &Operand, rows: usize) -> Result<BooleanArray> {
    if let Ok(values) = condition(None) {
        return Ok(values.as_boolean().clone());
    }
    let all: UInt32Array = (0..rows as u32).collect();
    let mut found = Apart::default();
    found.look(condition, &all);
    let mut truth = BooleanBuilder::with_capacity(rows);
    for value in found.values {
        match value {
            Value::Known(known) => truth.append_option(known),
            Value::Fails => truth.append_value(true),
        }
    }
    Ok(truth.finish())
}

struct Verdict {
    connective: Connective,
    /// What the operands so far make of each row.
    known: BooleanArray,
}

impl Verdict {
    fn is_open(&self, row: usize) -> bool {
        self.known.is_null(row) || self.known.value(row) != self.connective.deciding()
    }

    /// The rows that no operand has decided.
    fn open(&self) -> UInt32Array {
        let rows = 0..self.known.len();
        rows.filter(|row| self.is_open(*row)).map(|row| row as u32).collect()
    }

    fn open_count(&self) -> usize {
        let truths = self.known.true_count();
        match self.connective {
            Connective::And => truths + self.known.null_count(),
            Connective::Or => self.known.len() - truths,
        }
    }

    fn take(&mut self, operand: &Operand) -> Result<()> {
        if self.open_count() * FEW < self.known.len() {
            return self.take_where_open(operand);
        }
        let values = operand(None)?;
        self.merge(values.as_boolean())
    }

    fn take_where_open(&mut self, operand: &Operand) -> Result<()> {
        let open = self.open();
        if open.is_empty() {
            return Ok(());
        }
        let values = operand(Some(&open))?;
        let values = values.as_boolean();
        let mut all = BooleanBuilder::with_capacity(self.known.len());
        let mut next = values.iter();
        for row in 0..self.known.len() {
            match self.is_open(row) {
                true => all.append_option(next.next().flatten()),
                false => all.append_value(self.connective.deciding()),
            }
        }
        self.merge(&all.finish())
    }

    fn merge(&mut self, values: &BooleanArray) -> Result<()> {
        self.known = match self.connective {
            Connective::And => and_kleene(&self.known, values)?,
            Connective::Or => or_kleene(&self.known, values)?,
        };
        Ok(())
    }

    /// Decides by operands that each fail in some of the open rows.
    fn take_apart(mut self, mut failed: Vec<(&Operand, DataFusionError)>) -> Result<BooleanArray> {
        if failed.len() == 1 {
            return Err(failed.remove(0).1);
        }
        let open = self.open();
        let mut fails = vec![false; self.known.len()];
        for (operand, _) in &failed {
            let mut found = Apart::default();
            found.look(operand, &open);
            let mut all = BooleanBuilder::with_capacity(self.known.len());
            let mut next = found.values.iter().zip(open.values());
            let mut coming = next.next();
            for (row, fails) in fails.iter_mut().enumerate() {
                let value = match coming {
                    Some((value, at)) if *at as usize == row => {
                        coming = next.next();
                        value
                    }
                    _ => &Value::Known(Some(!self.connective.deciding())),
                };
                match value {
                    Value::Known(known) => all.append_option(*known),
                    Value::Fails => {
                        *fails = true;
                        all.append_value(!self.connective.deciding());
                    }
                }
            }
            self.merge(&all.finish())?;
        }
        match (0..fails.len()).any(|row| fails[row] && self.is_open(row)) {
            true => Err(failed.remove(0).1),
            false => Ok(self.known),
        }
    }
}

enum Value {
    Known(Option<bool>),
    Fails,
}

/// A condition's value in each row, found by halving what fails.
#[derive(Default)]
struct Apart {
    values: Vec<Value>,
}

impl Apart {
    fn look(&mut self, condition: &Operand, rows: &UInt32Array) {
        match condition(Some(rows)) {
            Ok(values) => self.values.extend(values.as_boolean().iter().map(Value::Known)),
            Err(_) if rows.len() <= 1 => self.values.extend((0..rows.len()).map(|_| Value::Fails)),
            Err(_) => {
                let half = rows.len() / 2;
                self.look(condition, &rows.slice(0, half));
                self.look(condition, &rows.slice(half, rows.len() - half));
            }
        }
    }
}

/// A column of the given rows, or of all.
pub fn of_rows(column: &ArrayRef, rows: Option<&UInt32Array>) -> Result<ArrayRef> {
    match rows {
        Some(rows) => Ok(arrow::compute::take(column.as_ref(), rows, None)?),
        None => Ok(Arc::clone(column)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operand of these values, where 'x' fails.
    fn operand(values: &'static str) -> impl Fn(Option<&UInt32Array>) -> Result<ArrayRef> {
        move |rows| {
            let all: UInt32Array = (0..values.len() as u32).collect();
            let rows = rows.unwrap_or(&all);
            let value = |row: &u32| match values.as_bytes()[*row as usize] {
                b't' => Ok(Some(true)),
                b'f' => Ok(Some(false)),
                b'n' => Ok(None),
                _ => Err(DataFusionError::Execution(values.to_string())),
            };
            let values: Vec<Option<bool>> = rows.values().iter().map(value).collect::<Result<_>>()?;
            Ok(Arc::new(BooleanArray::from(values)))
        }
    }

    fn decided(connective: Connective, operands: &[&'static str]) -> Result<String> {
        let operands: Vec<_> = operands.iter().map(|values| operand(values)).collect();
        let rows = operands[0](None).map_or(4, |values| values.len());
        let operands: Vec<&Operand> = operands.iter().map(|operand| operand as &Operand).collect();
        let decided = decide(connective, &operands, rows)?;
        let letter = |value: Option<bool>| match value {
            Some(true) => 't',
            Some(false) => 'f',
            None => 'n',
        };
        Ok(decided.iter().map(letter).collect())
    }

    #[test]
    fn what_is_decided_is_no_error() {
        use Connective::{And, Or};
        assert_eq!(decided(And, &["ftfn", "xtxt"]).unwrap(), "ftfn");
        assert_eq!(decided(And, &["xtxt", "ftfn"]).unwrap(), "ftfn");
        assert_eq!(decided(Or, &["xfxt", "tftn"]).unwrap(), "tftt");
        // Each decides where the other fails.
        assert_eq!(decided(And, &["xftn", "fxtn"]).unwrap(), "fftn");
        assert_eq!(decided(Or, &["xtff", "txfn"]).unwrap(), "ttfn");
        assert_eq!(decided(And, &["xftt", "txtt", "fftn"]).unwrap(), "fftn");
    }

    #[test]
    fn what_nobody_decides_is_an_error() {
        use Connective::{And, Or};
        assert!(decided(And, &["ttff", "xttt"]).is_err());
        assert!(decided(And, &["nttt", "xttt"]).is_err());
        assert!(decided(Or, &["fttt", "xttt"]).is_err());
        assert!(decided(And, &["xftt", "xfff"]).is_err());
        assert!(decided(Or, &["xxtt", "xtff"]).is_err());
    }

    #[test]
    fn a_condition_lets_pass_what_fails() {
        let condition = operand("tfnxxf");
        let passing = holds_or_fails(&condition, 6).unwrap();
        let passing: Vec<Option<bool>> = passing.iter().collect();
        assert_eq!(
            passing,
            [Some(true), Some(false), None, Some(true), Some(true), Some(false)]
        );
    }
}
