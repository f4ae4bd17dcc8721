//! How each view stands, and which views stopped together.
//!
//! Views that stop keep their state and their positions as of their last epoch. Those that stopped
//! at the same epoch of one pipeline are *parked* under one record, so that they start again
//! together, agreeing with each other. If only some of them may start, the record is cut in two.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_state::PipelineId;
use weir_state::RelationId;
use weir_state::pipelines::PipelineRecord;

use crate::Error;
use crate::relation::{SourceSpec, TableSpec, ViewSpec};

/// How long a failed view waits before it is tried again: first and longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The longest wait where the failure lies in what may pass, such as a full disk.
const LONGEST_PASSING: Duration = Duration::from_secs(5);
/// The same failure at the same position this often waits for RESUME.
const SAME_FAILURES: u32 = 3;

/// A registered view.
pub struct ViewEntry {
    pub spec: ViewSpec,
    pub standing: Standing,
    failures: Failures,
}

/// Where a view is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Running(PipelineId),
    Paused,
    Failed { cause: String, retry_at: Option<Instant> },
    Waiting,
}

#[derive(Default)]
struct Failures {
    same: u32,
    last: Option<(String, String)>,
}

/// Views that stopped together and will start together.
pub struct Parked {
    pub views: BTreeSet<RelationId>,
    /// The record under which they stopped; `None` if they had no epoch yet.
    pub record: Option<PipelineRecord>,
    /// The pipeline whose next commit stores the record; `None` where it is stored.
    pub stored_by: Option<PipelineId>,
    /// The pipeline in which they were when it went down and the store could not be read: whether they
    /// have a record, the store knows, and is asked before they start.
    pub unread: Option<PipelineId>,
}

/// All relations of an engine.
#[derive(Default)]
pub struct Relations {
    pub sources: HashMap<RelationId, Arc<SourceSpec>>,
    pub tables: HashMap<RelationId, Arc<TableSpec>>,
    pub views: HashMap<RelationId, ViewEntry>,
    pub parked: Vec<Parked>,
}

impl ViewEntry {
    /// Counts a failure and says when to try again. `position` is where it happened: the same
    /// failure at another place is a new one.
    pub fn fail(&mut self, error: &Error, position: &str) {
        let cause = error.to_string();
        let now = (cause.clone(), position.to_string());
        let failures = &mut self.failures;
        failures.same = if failures.last.as_ref() == Some(&now) {
            failures.same + 1
        } else {
            1
        };
        failures.last = Some(now);
        let pause = RETRY.0 * 2u32.saturating_pow(failures.same.saturating_sub(1).min(6));
        let retry_at = if error.may_pass() {
            Some(Instant::now() + pause.min(LONGEST_PASSING))
        } else {
            (failures.same < SAME_FAILURES).then(|| Instant::now() + pause.min(RETRY.1))
        };
        self.standing = Standing::Failed { cause, retry_at };
    }

    fn may_start(&self, now: Instant) -> bool {
        match &self.standing {
            Standing::Waiting => true,
            Standing::Failed { retry_at, .. } => retry_at.is_some_and(|at| at <= now),
            Standing::Paused | Standing::Running(_) => false,
        }
    }
}

impl Relations {
    /// Registers a view that isn't running yet.
    pub fn add_view(&mut self, spec: ViewSpec) {
        let entry = ViewEntry {
            standing: Standing::Waiting,
            failures: Failures::default(),
            spec,
        };
        self.views.insert(entry.spec.relation, entry);
    }

    /// Stopped views can't start for this. Paused ones stay paused.
    pub fn fail(&mut self, views: &BTreeSet<RelationId>, error: &Error) {
        let stopped = |entry: &&mut ViewEntry| matches!(entry.standing, Standing::Waiting | Standing::Failed { .. });
        let entries = self.views.iter_mut().filter(|(view, _)| views.contains(view));
        for entry in entries.map(|(_, entry)| entry).filter(stopped) {
            tracing::error!(view = entry.spec.name, "{error}");
            entry.fail(error, "");
        }
    }

    /// Forgets past failures of a view.
    pub fn forgive(&mut self, view: RelationId) {
        if let Some(entry) = self.views.get_mut(&view) {
            entry.failures = Failures::default();
        }
    }

    /// The pipeline in which a view runs.
    pub fn running(&self, view: RelationId) -> Option<PipelineId> {
        match self.views.get(&view)?.standing {
            Standing::Running(id) => Some(id),
            _ => None,
        }
    }

    /// What these views read, themselves left out.
    pub fn reads(&self, views: &BTreeSet<RelationId>) -> BTreeSet<RelationId> {
        let entries = views.iter().filter_map(|view| self.views.get(view));
        let mut reads: BTreeSet<RelationId> = entries.flat_map(|entry| entry.spec.graph.relations()).collect();
        reads.retain(|read| !views.contains(read));
        reads
    }

    /// A view that this one rests on, in the pipeline that they share or are to share, and that is
    /// stopped.
    pub fn stopped_below(&self, view: RelationId, besides: &BTreeSet<RelationId>) -> Option<&ViewEntry> {
        let entry = self.views.get(&view)?;
        let reads = entry.spec.graph.relations();
        reads
            .iter()
            .filter(|read| !besides.contains(read))
            .filter_map(|read| self.views.get(read))
            .find(|read| {
                read.spec.options.pipeline == entry.spec.options.pipeline
                    && !matches!(read.standing, Standing::Running(_))
            })
    }

    /// Notes views that stopped together.
    pub fn park(&mut self, views: BTreeSet<RelationId>, record: Option<PipelineRecord>, stored_by: Option<PipelineId>) {
        self.unpark(&views);
        if !views.is_empty() {
            self.parked.push(Parked {
                views,
                record,
                stored_by,
                unread: None,
            });
        }
    }

    /// Notes views that stopped with a pipeline, under a record that is yet to be read.
    pub fn park_unread(&mut self, views: BTreeSet<RelationId>, down: PipelineId) {
        self.park(views.clone(), None, None);
        let group = self.parked.iter_mut().find(|parked| parked.views == views);
        group.into_iter().for_each(|parked| parked.unread = Some(down));
    }

    /// Views are parked no longer.
    pub fn unpark(&mut self, views: &BTreeSet<RelationId>) {
        for parked in &mut self.parked {
            parked.views.retain(|view| !views.contains(view));
        }
        self.parked.retain(|parked| !parked.views.is_empty());
    }

    /// Of a parked group, those that may start now: neither held themselves nor resting on one
    /// that is.
    pub fn startable(&self, group: &BTreeSet<RelationId>) -> BTreeSet<RelationId> {
        let now = Instant::now();
        let free = |view: &RelationId| self.views.get(view).is_some_and(|entry| entry.may_start(now));
        let mut startable: BTreeSet<RelationId> = group.iter().copied().filter(free).collect();
        loop {
            let resting = startable
                .iter()
                .copied()
                .find(|view| self.stopped_below(*view, &startable).is_some());
            match resting {
                Some(view) => startable.remove(&view),
                None => return startable,
            };
        }
    }

    /// When the next failed view is to be tried again.
    pub fn next_retry(&self) -> Option<Instant> {
        let retry = |entry: &ViewEntry| match entry.standing {
            Standing::Failed { retry_at, .. } => retry_at,
            _ => None,
        };
        self.views.values().filter_map(retry).min()
    }
}
