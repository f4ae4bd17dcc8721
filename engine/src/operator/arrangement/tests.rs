//! Weighted rows against a map, through saves and loads.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::table::{Save, Slots};

type Model = BTreeMap<Vec<u8>, i64>;

fn begun(keep: Keep, slots: u32) -> WeightedRows {
    let mut rows = WeightedRows::new(keep);
    (0..slots).for_each(|slot| rows.reset(Slot(slot)));
    rows
}

fn content(rows: &WeightedRows, slot: Slot) -> Model {
    let mut found = Model::new();
    for id in rows.of(slot) {
        assert!(rows.weight(id) > 0);
        *found.entry(rows.bytes_of(id).to_vec()).or_default() += rows.weight(id);
        if rows.keep == Keep::WithPartners {
            assert_eq!(rows.partners(id), i64::from(rows.bytes_of(id)[0]));
        }
    }
    assert_eq!(rows.total(slot), found.values().sum::<i64>());
    found
}

proptest! {
    /// Slot 0 is changed and saved; slot 1 is loaded from the saves each time.
    #[test]
    fn saves_give_back_what_was_there(
        keep in prop_oneof![Just(Keep::Unordered), Just(Keep::Ordered), Just(Keep::WithPartners)],
        steps in prop::collection::vec((0u8..40, -2i64..4, 0u8..12), 0..400),
    ) {
        let mut rows = begun(keep, 2);
        let mut model = Model::new();
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        for (row, weight, save) in steps {
            let bytes = vec![row; 1 + usize::from(row) % 5];
            let there = model.get(&bytes).copied().unwrap_or(0);
            let weight = weight.max(-there);
            if weight != 0 {
                let id = rows.add(Slot(0), &bytes, weight).unwrap();
                if keep == Keep::WithPartners && weight > 0 {
                    rows.set_partners(Slot(0), id, i64::from(row));
                }
                *model.entry(bytes).or_default() += weight;
                model.retain(|_, weight| *weight != 0);
            }
            prop_assert_eq!(rows.is_empty(Slot(0)), model.is_empty());
            if save > 1 || model.is_empty() {
                continue;
            }
            let mut chunk = Vec::new();
            if save == 0 || chunks.is_empty() {
                rows.save(Slot(0), Save::Whole, &mut chunk).unwrap();
                chunks.clear();
            } else {
                rows.save(Slot(0), Save::Delta, &mut chunk).unwrap();
            }
            if !chunk.is_empty() {
                chunks.push(chunk);
            }
            rows.reset(Slot(1));
            for chunk in &chunks {
                rows.load(Slot(1), chunk).unwrap();
            }
            prop_assert_eq!(content(&rows, Slot(0)), model.clone());
            prop_assert_eq!(content(&rows, Slot(1)), model.clone());
            let mut nothing = Vec::new();
            rows.save(Slot(1), Save::Delta, &mut nothing).unwrap();
            prop_assert!(nothing.is_empty());
            if keep != Keep::Unordered {
                prop_assert!(rows.of(Slot(1)).map(|id| rows.bytes_of(id)).is_sorted());
            }
            rows.compact().unwrap();
        }
        // All memory comes back.
        rows.reset(Slot(0));
        rows.reset(Slot(1));
        prop_assert_eq!(rows.live_rows, 0);
        prop_assert_eq!(rows.unused.len(), rows.rows.len());
    }
}

#[test]
fn bytes_that_are_no_rows_are_refused() {
    let mut whole = Vec::new();
    let mut rows = begun(Keep::Ordered, 2);
    rows.add(Slot(0), b"abc", 300).unwrap();
    rows.save(Slot(0), Save::Whole, &mut whole).unwrap();
    for cut in 2..whole.len() {
        rows.reset(Slot(1));
        assert!(
            matches!(rows.load(Slot(1), &whole[..cut]), Err(Error::State(_))),
            "cut at {cut}"
        );
    }
    whole[0] += 1;
    rows.reset(Slot(1));
    let Err(Error::State(message)) = rows.load(Slot(1), &whole) else {
        panic!("another version")
    };
    assert!(message.contains("version 2"), "{message}");
}

#[test]
fn a_row_deleted_too_often_is_refused() {
    for keep in [Keep::Unordered, Keep::Ordered] {
        let mut rows = begun(keep, 1);
        rows.add(Slot(0), b"a", 2).unwrap();
        assert!(matches!(rows.add(Slot(0), b"a", -3), Err(Error::Internal(_))));
        assert!(matches!(rows.add(Slot(0), b"b", -1), Err(Error::Internal(_))));
    }
}

#[test]
fn memory_of_rows_that_went_is_used_again() {
    let mut rows = begun(Keep::Unordered, 1);
    let mut out = Vec::new();
    for round in 0u32..200 {
        for row in 0u32..1000 {
            rows.add(Slot(0), format!("{row} in round {round}").as_bytes(), 1)
                .unwrap();
        }
        if round > 0 {
            for row in 0u32..1000 {
                rows.add(Slot(0), format!("{row} in round {}", round - 1).as_bytes(), -1)
                    .unwrap();
            }
        }
        out.clear();
        rows.save(Slot(0), Save::Delta, &mut out).unwrap();
        rows.compact().unwrap();
    }
    assert_eq!(rows.live_rows, 1000);
    assert!(rows.bytes() < 1_000_000, "{}", rows.bytes());
}
