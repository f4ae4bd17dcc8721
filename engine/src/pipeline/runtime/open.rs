//! Opening what a pipeline reads: sources at their positions, tables and views of other pipelines
//! from where the record says, or, for a new pipeline, from a snapshot in which they agree.

use std::collections::BTreeSet;

use weir_state::pipelines::PipelineRecord;
use weir_state::{DmlCommit, Epoch, RelationId};

use super::{Follow, Runtime};
use crate::pipeline::inputs;
use crate::pipeline::precedence;
use crate::pipeline::publication::NO_TABLES;
use crate::pipeline::reader::Place;
use crate::pipeline::record::{self, follower_name};
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::source::SourceInput;
use crate::relation::ViewSpec;
use crate::{Error, Result};

impl Runtime {
    /// Relations that the views read and that aren't views of this pipeline.
    pub(super) fn outside_relations(&self) -> BTreeSet<RelationId> {
        inputs::outside(&self.dataflow)
    }

    /// Opens what the views read outside this pipeline, or notes it to be opened from a snapshot.
    pub(super) fn open_inputs(&mut self) -> Result<()> {
        for relation in self.outside_relations() {
            if let Some(spec) = self.shared.source(relation) {
                let record = self.last_record.as_ref();
                let progress = record.map(|record| record::source_progress(record, relation));
                let place = Place::Apart(self.start.bell.clone());
                let source = SourceInput::new(spec, progress.unwrap_or_default(), place);
                self.sources.insert(relation, source);
            } else if let Some(table) = self.shared.table(relation) {
                if self.last_record.is_none() {
                    self.unopened.insert(relation);
                } else {
                    self.tables.insert(relation, table.stored());
                }
            } else if let Some(view) = self.shared.view(relation) {
                self.open_follow(&view);
            } else {
                return Err(Error::internal(format!("nobody knows relation {relation}")));
            }
        }
        if !self.tables.is_empty() && self.dml == NO_TABLES {
            return Err(Error::internal("a pipeline's record doesn't say where it reads tables"));
        }
        Ok(())
    }

    /// Begins to follow a view of another pipeline.
    fn open_follow(&mut self, view: &ViewSpec) {
        let record = self.last_record.as_ref();
        let taken = record.and_then(|record| record.changelogs.get(&view.relation)).copied();
        let (name, bell) = (follower_name(self.start.id), self.start.bell.clone());
        self.shared.publication.follow(view.relation, &name, taken, Some(bell));
        match taken {
            Some(taken) => {
                let dml = record.map_or(DmlCommit::ZERO, |record| record.dml);
                let follow = self.following(view, taken, dml);
                self.follows.insert(view.relation, follow);
            }
            None => {
                self.unopened.insert(view.relation);
            }
        }
        self.shared.ring_all();
    }

    fn following(&self, view: &ViewSpec, taken: Epoch, dml: DmlCommit) -> Follow {
        let own = self.dataflow.views().values().next();
        let same_name = own.is_none_or(|own| own.options.pipeline == view.options.pipeline);
        Follow {
            relation: view.stored(),
            taken,
            dml,
            behind: false,
            watermark: None,
            idle: false,
            ended: false,
            to_meet: self.start.durable && same_name,
        }
    }

    /// Begins to load what is read from a snapshot, once there is one in which all followed views
    /// are right and their changelogs have begun. False as long as there is none.
    pub(super) fn open_from_snapshot(&mut self) -> Result<bool> {
        if self.unopened.is_empty() {
            return Ok(true);
        }
        let views: Vec<ViewSpec> = self.unopened.iter().filter_map(|id| self.shared.view(*id)).collect();
        let (hosts, _) = self.shared.publication.hosts(views.iter().map(|view| view.relation));
        let begun = |view: &ViewSpec| {
            let after = self.shared.publication.logged_after(view.relation);
            let host = hosts.get(&view.relation).filter(|host| host.epoch > Epoch::ZERO);
            matches!((after, host), (Some(after), Some(host)) if host.right == host.epoch && host.epoch >= after)
        };
        if !views.iter().all(begun) {
            return Ok(false);
        }
        let snapshot = Snapshot::new(self.shared.store.snapshot())?;
        let mut dml = snapshot.dml();
        let mut follows = Vec::new();
        for view in &views {
            let record = snapshot.pipeline_of(view.relation)?;
            // The store may be an epoch further than what was published.
            let right = |record: &PipelineRecord| record::right(record, view.relation) == record.epoch;
            let Some(record) = record.filter(right) else {
                return Ok(false);
            };
            // What others wait for is as far as its own sources were.
            let others_wait = self.precedence.values().any(|first| first.contains(&view.relation));
            if others_wait && !record::is_caught_up(&record) {
                return Ok(false);
            }
            // DML that changes nothing in the view is told of the epoch that there is.
            let told = hosts.get(&view.relation).filter(|host| host.epoch == record.epoch);
            let upto = told.map_or(record.dml, |host| host.dml.max(record.dml));
            dml = dml.min(upto);
            follows.push(self.following(view, record.epoch, upto));
        }
        let reads_tables = self.unopened.iter().any(|id| self.shared.table(*id).is_some());
        if reads_tables && dml < weir_state::dml::trimmed(snapshot.reader())? {
            // The views have just gone further, or were resumed and will: what they tell next is in the log.
            return Ok(false);
        }
        for follow in follows {
            let (id, relation) = (follow.relation.relation, &follow.relation);
            self.loading
                .push((id, snapshot.scan(relation, &relation.all_columns())?));
            let name = follower_name(self.start.id);
            self.shared.publication.advance(id, &name, follow.taken);
            self.follows.insert(id, follow);
        }
        for table in self.unopened.iter().filter_map(|id| self.shared.table(*id)) {
            let table = table.stored();
            let rows = snapshot.scan_table_at(&table, &table.all_columns(), dml)?;
            self.loading.push((table.relation, rows));
            self.tables.insert(table.relation, table);
            self.dml = dml;
        }
        self.unopened.clear();
        Ok(true)
    }

    /// Plans the dataflow for the present views and inputs.
    pub(super) fn plan(&mut self) -> Result<()> {
        inputs::plan(&mut self.dataflow, &mut self.sources, self.shared.options.step_rows)?;
        self.precedence = precedence::of(self.dataflow.views());
        Ok(())
    }
}
