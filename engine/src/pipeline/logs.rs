//! Keeping logs short: changelogs and the DML log are cut off behind their slowest readers.

use std::collections::BTreeMap;

use weir_state::{DmlCommit, Epoch, RelationId, WriteBatch, changelog, dml, history, pipelines};

use super::record;
use super::shared::Shared;
use super::standing::ViewEntry;
use crate::Result;

/// What is remembered of the logs between looks.
#[derive(Default)]
pub struct Logs {
    dml: DmlCommit,
}

impl Logs {
    /// Cuts off what everybody has.
    pub fn tend(&mut self, shared: &Shared) -> Result<()> {
        shorten_histories(shared)?;
        let mut batch = WriteBatch::new();
        let trims: BTreeMap<_, _> = shared.publication.trims().into_iter().collect();
        for (view, upto) in trims {
            changelog::trim(&mut batch, view, upto);
        }
        let dml = dml_floor(shared)?;
        if dml > self.dml {
            dml::trim(&mut batch, dml);
            self.dml = dml;
        }
        if !batch.is_empty() {
            shared.store.commit(batch)?;
        }
        Ok(())
    }
}

/// A history gives up what is older than it has to be, in parts of at least this share of its length.
const HISTORY_PARTS: i64 = 32;
/// And not more often than so, nor less often.
const HISTORY_STEP_US: std::ops::RangeInclusive<i64> = 1_000_000..=3_600_000_000;

/// Has views that keep a history give up what is too old. Its changelog is cut off at the next look.
fn shorten_histories(shared: &Shared) -> Result<()> {
    let views: Vec<(RelationId, i64)> = {
        let relations = shared.relations.read();
        let length = |entry: &ViewEntry| Some((entry.spec.relation, entry.spec.options.history_us?));
        relations.views.values().filter_map(length).collect()
    };
    let now_us = shared.options.clock.now_us();
    for (view, length_us) in views {
        let store = shared.store.as_ref();
        let horizon_us = now_us.saturating_sub(length_us);
        let step_us = (length_us / HISTORY_PARTS).clamp(*HISTORY_STEP_US.start(), *HISTORY_STEP_US.end());
        let begin_us = history::begins(store, view)?;
        // Asked before the history, so that an epoch that comes in between is not given up unseen.
        let host = shared.publication.host(view);
        let (Some(begin_us), Some(host)) = (begin_us, host) else {
            continue;
        };
        if horizon_us.saturating_sub(begin_us) < step_us {
            continue;
        }
        let next = history::next(store, view, horizon_us)?;
        let delivered = next.map_or(host.right, |(_, first)| Epoch(first.0.saturating_sub(1)));
        let mut batch = WriteBatch::new();
        history::begin(&mut batch, view, horizon_us, delivered);
        shared.store.commit(batch)?;
        shared.publication.advance(view, history::FOLLOWER, delivered);
    }
    Ok(())
}

/// The DML commit up to which everyone, running or stopped, has read.
fn dml_floor(shared: &Shared) -> Result<DmlCommit> {
    // First those that run: whoever stops meanwhile stands in the records by then.
    let running = shared.publication.dml_needed_after();
    let records = pipelines::load(shared.store.as_ref())?;
    let stopped = records.iter().map(record::dml_read).min();
    Ok(stopped.map_or(running, |stopped| stopped.min(running)))
}
