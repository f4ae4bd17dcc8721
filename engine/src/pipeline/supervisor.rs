//! The supervisor: one thread per engine that attaches newcomers, tries failed views again, and
//! trims logs that nobody needs any more.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_state::{DmlCommit, Epoch, PipelineId, RelationId, WriteBatch, changelog, dml, pipelines};

use super::attach;
use super::shared::{PipelineHandle, Shared, Standing, lag};
use crate::Result;

const TICK: Duration = Duration::from_millis(25);
/// How far behind a newcomer may be when the cut is made, in records.
const CLOSE: i64 = 200_000;
/// A newcomer that doesn't get nearer within this time is helped by holding its host.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after an attempt to attach that failed.
const RETRY_ATTACH: Duration = Duration::from_secs(2);
/// How often logs are trimmed.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// What is remembered of a newcomer between ticks.
struct Watch {
    lag: i64,
    since: Instant,
    not_before: Instant,
}

/// Runs until the engine stops.
pub fn run(shared: &Arc<Shared>) {
    let mut watched: HashMap<PipelineId, Watch> = HashMap::new();
    let mut trimmer = Trimmer::default();
    let mut last_trim = Instant::now();
    while !shared.is_stopping() {
        std::thread::sleep(TICK);
        attach_newcomers(shared, &mut watched);
        if let Err(error) = restart_parked(shared) {
            tracing::error!("starting stopped views: {error}");
        }
        if last_trim.elapsed() >= TRIM_EVERY {
            last_trim = Instant::now();
            if let Err(error) = trimmer.trim(shared) {
                tracing::error!("trimming logs: {error}");
            }
        }
    }
}

/// Looks for two pipelines that must be one, and makes the cut where the newcomer is close.
fn attach_newcomers(shared: &Arc<Shared>, watched: &mut HashMap<PipelineId, Watch>) {
    let pipelines: Vec<(PipelineId, PipelineHandle)> = shared
        .pipelines
        .read()
        .iter()
        .filter(|(_, p)| p.durable)
        .map(|(id, p)| (*id, p.clone()))
        .collect();
    watched.retain(|id, _| pipelines.iter().any(|(other, _)| other == id));
    for (id, newcomer) in &pipelines {
        let status = newcomer.status.lock();
        let (attached, ready) = (status.attached, !status.loading && status.opened);
        drop(status);
        // The host is the pipeline that is attached, and among attached ones the older.
        let host = pipelines.iter().find(|(other, host)| {
            let older = (!host.status.lock().attached, *other) < (!attached, *id);
            other != id && older && shared.related(host, newcomer)
        });
        let Some((host_id, host)) = host else {
            if !attached && ready {
                newcomer.status.lock().attached = true;
                newcomer.bell.ring();
            }
            continue;
        };
        if !ready || !is_close(host, newcomer, watched.entry(*id).or_insert_with(Watch::new)) {
            continue;
        }
        match attach::attach(shared, (*host_id, host), (*id, newcomer)) {
            Ok(()) => {
                watched.remove(id);
            }
            Err(error) => {
                tracing::warn!(pipeline = %id, "attaching will be tried again: {error}");
                if let Some(watch) = watched.get_mut(id) {
                    watch.not_before = Instant::now() + RETRY_ATTACH;
                }
            }
        }
        // The list of pipelines has changed: look again at the next tick.
        return;
    }
}

impl Watch {
    fn new() -> Watch {
        Watch {
            lag: i64::MAX,
            since: Instant::now(),
            not_before: Instant::now(),
        }
    }
}

/// True when the cut would hold the host only shortly, or when waiting doesn't help.
fn is_close(host: &PipelineHandle, newcomer: &PipelineHandle, watch: &mut Watch) -> bool {
    if Instant::now() < watch.not_before {
        return false;
    }
    let lag = lag(host, newcomer);
    if lag <= CLOSE {
        return true;
    }
    if watch.since.elapsed() < PATIENCE {
        return false;
    }
    let nearer = lag < watch.lag / 10 * 9;
    watch.lag = lag;
    watch.since = Instant::now();
    !nearer
}

/// Starts views again that failed and whose pause is over, or that were resumed.
fn restart_parked(shared: &Arc<Shared>) -> Result<()> {
    let due: Vec<BTreeSet<RelationId>> = {
        let relations = shared.relations.read();
        let standing = |view: &RelationId| relations.views.get(view).map(|entry| &entry.standing);
        let ready = |views: &BTreeSet<RelationId>| {
            let now = Instant::now();
            let held = views.iter().any(|view| match standing(view) {
                Some(Standing::Paused) | Some(Standing::Failed { retry_at: None, .. }) => true,
                Some(Standing::Failed { retry_at: Some(at), .. }) => *at > now,
                _ => false,
            });
            // What they read must be running, or stopped among themselves.
            let resting = views.iter().filter_map(|view| relations.views.get(view)).any(|entry| {
                entry.spec.graph.relations().iter().any(|read| {
                    !views.contains(read) && standing(read).is_some_and(|s| !matches!(s, Standing::Running(_)))
                })
            });
            !held && !resting
        };
        relations
            .parked
            .iter()
            .filter(|parked| ready(&parked.views))
            .map(|parked| parked.views.clone())
            .collect()
    };
    for views in due {
        restart(shared, &views)?;
    }
    Ok(())
}

fn restart(shared: &Arc<Shared>, views: &BTreeSet<RelationId>) -> Result<()> {
    let (specs, record) = {
        let relations = shared.relations.read();
        let Some(parked) = relations.parked.iter().find(|parked| parked.views == *views) else {
            return Ok(());
        };
        let specs: Vec<_> = views
            .iter()
            .filter_map(|view| relations.views.get(view))
            .map(|entry| entry.spec.clone())
            .collect();
        (specs, parked.record.clone())
    };
    let id = match &record {
        Some(record) => {
            // The record, and the epoch it speaks of, may still be on their way to the disk.
            let stored = pipelines::load(shared.instance.store().as_ref())?;
            if !stored.iter().any(|stored| stored.id == record.id) {
                return Ok(());
            }
            record.id
        }
        None => shared.allocate_pipeline()?,
    };
    shared.relations.write().parked.retain(|parked| parked.views != *views);
    if specs.is_empty() {
        return Ok(());
    }
    shared.start_pipeline(id, specs, record, None)
}

/// Trims changelogs and the DML log behind their slowest readers.
#[derive(Default)]
struct Trimmer {
    changelogs: HashMap<RelationId, Epoch>,
    dml: DmlCommit,
}

impl Trimmer {
    fn trim(&mut self, shared: &Shared) -> Result<()> {
        let mut batch = WriteBatch::new();
        let needed: HashMap<RelationId, Epoch> = shared.publication.needed_after().into_iter().collect();
        for (view, after) in &needed {
            if self.changelogs.get(view).is_none_or(|done| done < after) && *after > Epoch::ZERO {
                changelog::trim(&mut batch, *view, *after);
                shared.publication.trimmed(*view, *after);
                self.changelogs.insert(*view, *after);
            }
        }
        let left: Vec<RelationId> = self
            .changelogs
            .keys()
            .copied()
            .filter(|v| !needed.contains_key(v))
            .collect();
        for view in left {
            self.changelogs.remove(&view);
            if let Some((_, host)) = shared.publication.host(view) {
                changelog::trim(&mut batch, view, host.epoch);
            }
        }
        let dml = self.dml_floor(shared)?;
        if dml > self.dml {
            dml::trim(&mut batch, dml);
            self.dml = dml;
        }
        if !batch.is_empty() {
            shared.instance.store().commit(batch)?;
        }
        Ok(())
    }

    /// The DML commit up to which everyone, running or stopped, has read.
    fn dml_floor(&self, shared: &Shared) -> Result<DmlCommit> {
        let running = shared.publication.dml_needed_after();
        // A pipeline that has not published yet may read from anywhere: wait for it.
        let unpublished = shared
            .pipelines
            .read()
            .values()
            .any(|pipeline| pipeline.status.lock().loading);
        if unpublished {
            return Ok(self.dml);
        }
        let records = pipelines::load(shared.instance.store().as_ref())?;
        Ok(records
            .iter()
            .map(|record| record.dml)
            .min()
            .unwrap_or(running)
            .min(running))
    }
}
