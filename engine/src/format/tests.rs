//! Whichever columns are wanted of checked ones: the same records are bad, for the same cause.

use std::sync::Arc;

use arrow::array::BinaryArray;
use proptest::prelude::*;

use super::samples::{self, Draw};
use super::{Encoding, EncodingKind, Others, decoder, encoder};

proptest! {
    #[test]
    fn what_is_bad_hangs_on_the_record_alone(
        seed: u64,
        kinds in proptest::collection::vec(0usize..samples::TYPES, 1..6),
        csv: bool,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..6),
        wanted in proptest::collection::vec(any::<bool>(), 6),
    ) {
        let batch = samples::batch(&mut Draw::new(seed), &kinds, 5);
        let declared = batch.schema();
        let encoding = Encoding {
            kind: if csv { EncodingKind::Csv } else { EncodingKind::Json },
            options: Default::default(),
        };
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        encoder(&encoding, &declared).unwrap().encode(&batch, &mut out, &mut ends).unwrap();
        let mut start = 0;
        let record = |end: &usize| out[std::mem::replace(&mut start, *end)..*end].to_vec();
        let mut records: Vec<Vec<u8>> = ends.iter().map(record).collect();
        for (row, place, byte) in damage {
            let record = &mut records[row.index(5)];
            if !record.is_empty() {
                let place = place.index(record.len());
                record[place] = byte;
            }
        }
        let records = BinaryArray::from_iter_values(records);
        let all = decoder(&encoding, &declared, &declared, Others::Passed).unwrap().decode(&records).unwrap();
        let some: Vec<usize> = (0..kinds.len()).filter(|column| wanted[*column]).collect();
        let columns = Arc::new(declared.project(&some).unwrap());
        let mut checking = decoder(&encoding, &declared, &columns, Others::Checked).unwrap();
        // The second time over what the first has left.
        for _ in 0..2 {
            let decoded = checking.decode(&records).unwrap();
            prop_assert_eq!(&decoded.errors, &all.errors);
            prop_assert_eq!(decoded.columns.len(), some.len());
            for (column, place) in decoded.columns.iter().zip(&some) {
                prop_assert_eq!(column, &all.columns[*place]);
            }
        }
        // What is passed over may hide what is bad, and makes nothing bad.
        let passing = decoder(&encoding, &declared, &columns, Others::Passed).unwrap().decode(&records).unwrap();
        for error in &passing.errors {
            prop_assert!(all.errors.iter().any(|other| other.index == error.index), "{:?}", error);
        }
    }
}
