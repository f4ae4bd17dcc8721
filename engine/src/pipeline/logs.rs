//! Keeping logs short: changelogs and the DML log are cut off behind their slowest readers.

use std::collections::BTreeMap;

use weir_state::{DmlCommit, WriteBatch, changelog, dml, pipelines};

use super::record;
use super::shared::Shared;
use crate::Result;

/// What is remembered of the logs between looks.
#[derive(Default)]
pub struct Logs {
    dml: DmlCommit,
}

impl Logs {
    /// Cuts off what everybody has.
    pub fn tend(&mut self, shared: &Shared) -> Result<()> {
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

/// The DML commit up to which everyone, running or stopped, has read.
fn dml_floor(shared: &Shared) -> Result<DmlCommit> {
    // First those that run: whoever stops meanwhile stands in the records by then.
    let running = shared.publication.dml_needed_after();
    let records = pipelines::load(shared.store.as_ref())?;
    let stopped = records.iter().map(record::dml_read).min();
    Ok(stopped.map_or(running, |stopped| stopped.min(running)))
}
