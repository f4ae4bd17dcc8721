//! The supervisor: one thread per engine that attaches newcomers, starts stopped views again, stops
//! what rests on them, and trims logs that nobody needs any more. It sleeps until it is rung, or
//! until something is due.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use weir_state::pipelines::{self, PipelineRecord};
use weir_state::{PipelineId, RelationId, WriteBatch};

use super::attach;
use super::logs::Logs;
use super::record::{self, follower_name};
use super::runtime::Command;
use super::shared::{PipelineHandle, Shared, lag, shared_sources};
use crate::{Error, Result};

/// How often newcomers are looked at while there are any.
const TICK: Duration = Duration::from_millis(25);
/// How far apart two pipelines may be when the cut is made, in records.
const CLOSE: i64 = 200_000;
/// A newcomer that doesn't get nearer within this time is helped by holding its host.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after an attempt to attach that failed.
const RETRY_ATTACH: Duration = Duration::from_secs(1);
/// How often logs are looked at while they grow; also its longest sleep.
const LOGS_EVERY: Duration = Duration::from_secs(1);

/// What is remembered of a newcomer between looks.
struct Watch {
    lag: i64,
    since: Instant,
    not_before: Instant,
}

/// What it remembers between rounds.
struct Memory {
    watched: HashMap<PipelineId, Watch>,
    logs: Logs,
    logs_at: Instant,
}

impl Memory {
    fn new() -> Memory {
        Memory {
            watched: HashMap::new(),
            logs: Logs::default(),
            logs_at: Instant::now(),
        }
    }
}

/// Runs until the engine stops.
pub fn run(shared: &Arc<Shared>, ear: &Receiver<()>) {
    let mut memory = Memory::new();
    let mut busy = false;
    while !shared.is_stopping() {
        let retry = shared.relations.read().next_retry();
        let retry = retry.map(|at| at.saturating_duration_since(Instant::now()).max(TICK));
        let nap = if busy { TICK } else { LOGS_EVERY };
        let _ = ear.recv_timeout(retry.map_or(nap, |retry| retry.min(nap)));
        if shared.is_stopping() {
            return;
        }
        // Without this thread nothing would be attached or started again, and nobody would see why.
        let once = AssertUnwindSafe(|| round(shared, &mut memory));
        busy = catch_unwind(once).unwrap_or_else(|panic| {
            tracing::error!("{}", Error::panicked("the supervisor", &*panic));
            memory = Memory::new();
            false
        });
    }
}

/// Looks after everything once. True while there is something to look at again soon.
fn round(shared: &Arc<Shared>, memory: &mut Memory) -> bool {
    stop_resting(shared);
    let mut busy = attach_newcomers(shared, &mut memory.watched);
    match restart_parked(shared) {
        Ok(waiting) => busy |= waiting,
        Err(error) => tracing::error!("starting stopped views: {error}"),
    }
    if memory.logs_at.elapsed() >= LOGS_EVERY {
        memory.logs_at = Instant::now();
        shared.away.give_up(&shared.publication);
        if let Err(error) = memory.logs.tend(shared) {
            tracing::error!("trimming logs: {error}");
        }
    }
    busy
}

/// Views that rest on a stopped view of another pipeline stop too, as they do within one.
fn stop_resting(shared: &Shared) {
    for (_, pipeline) in shared.durable_pipelines() {
        let views = pipeline.status.lock().views.clone();
        let relations = shared.relations.read();
        let resting: Vec<RelationId> = views
            .iter()
            .copied()
            .filter(|view| relations.stopped_below(*view, &views).is_some())
            .collect();
        drop(relations);
        if !resting.is_empty() {
            let (done, wait) = bounded(1);
            let _one = shared.moves.lock();
            pipeline.send(Command::Detach {
                views: resting,
                keep: true,
                done,
            });
            let _ = wait.recv_timeout(Duration::from_secs(10));
        }
    }
}

/// Looks for two pipelines that must be one, and makes the cut where they are close. True while
/// there is something to look for.
fn attach_newcomers(shared: &Arc<Shared>, watched: &mut HashMap<PipelineId, Watch>) -> bool {
    let pipelines = shared.durable_pipelines();
    watched.retain(|id, _| pipelines.iter().any(|(other, _)| other == id));
    let mut more = false;
    for (id, newcomer) in &pipelines {
        let attached = shared.publication.is_attached(*id);
        // The host is the pipeline that is attached, and among attached ones the older.
        let host = pipelines.iter().find(|(other, host)| {
            let older = (!shared.publication.is_attached(*other), *other) < (!attached, *id);
            other != id && older && shared.related(host, newcomer)
        });
        let Some((host_id, host)) = host else {
            if !attached {
                shared.publication.attach(*id);
                newcomer.bell.ring();
            }
            continue;
        };
        more = true;
        if !is_close(host, newcomer, watched.entry(*id).or_insert_with(Watch::new)) {
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
        // The list of pipelines has changed.
        return true;
    }
    more
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

/// True when the cut would hold the two only shortly, or when waiting doesn't help.
fn is_close(host: &PipelineHandle, newcomer: &PipelineHandle, watch: &mut Watch) -> bool {
    if Instant::now() < watch.not_before || !host.has_loaded() || !newcomer.has_loaded() {
        return false;
    }
    let Some(sources) = shared_sources(host, newcomer) else {
        return false;
    };
    let (behind, ahead) = lag(host, newcomer);
    let lag = behind + ahead;
    if lag > 0 && (host.lacks(&sources) || newcomer.lacks(&sources)) {
        return false;
    }
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

/// Starts all stopped views that may run, and then those that rested on them.
pub fn start_stopped(shared: &Arc<Shared>) -> Result<()> {
    let stopped = || {
        shared
            .relations
            .read()
            .parked
            .iter()
            .map(|parked| parked.views.len())
            .sum::<usize>()
    };
    loop {
        let before = stopped();
        restart_parked(shared)?;
        if stopped() >= before {
            return Ok(());
        }
    }
}

/// Starts views again that failed and whose pause is over, or that were resumed. True while there
/// is something that could not be done yet.
fn restart_parked(shared: &Arc<Shared>) -> Result<bool> {
    let due: Vec<(BTreeSet<RelationId>, BTreeSet<RelationId>)> = {
        let relations = shared.relations.read();
        let groups = relations.parked.iter().map(|parked| &parked.views);
        groups
            .map(|group| (group.clone(), relations.startable(group)))
            .filter(|(_, startable)| !startable.is_empty())
            .collect()
    };
    let mut more = false;
    for (group, startable) in due {
        more |= !restart(shared, &group, &startable)?;
    }
    Ok(more)
}

/// Starts some of a parked group; false if that can't be yet.
fn restart(shared: &Arc<Shared>, group: &BTreeSet<RelationId>, startable: &BTreeSet<RelationId>) -> Result<bool> {
    let _one = shared.moves.lock();
    let (specs, record, unread, reads, left_reads) = {
        let relations = shared.relations.read();
        let Some(parked) = relations.parked.iter().find(|parked| parked.views == *group) else {
            return Ok(true);
        };
        if relations.startable(group) != *startable {
            return Ok(false);
        }
        let entries = startable.iter().filter_map(|view| relations.views.get(view));
        let specs: Vec<_> = entries.map(|entry| entry.spec.clone()).collect();
        let left: BTreeSet<RelationId> = group.difference(startable).copied().collect();
        (
            specs,
            parked.record.clone(),
            parked.unread,
            relations.reads(startable),
            relations.reads(&left),
        )
    };
    if let Some(down) = unread {
        shared.read_again(down, group);
        return Ok(false);
    }
    let stored = pipelines::load(shared.store.as_ref())?;
    let Some(record) = record else {
        let mut named = stored.iter().flat_map(|record| &record.views);
        if named.any(|view| startable.contains(view)) {
            let why = "the store has an epoch of a view that would start anew; nothing of it was deleted";
            shared.relations.write().fail(startable, &Error::internal(why));
            return Ok(false);
        }
        shared.clear_unborn(startable)?;
        shared.start_pipeline(shared.allocate_pipeline()?, specs, None, None)?;
        return Ok(true);
    };
    // The record, and the epoch it speaks of, may still be on their way to the disk.
    if !stored.iter().any(|stored| stored.id == record.id) {
        return Ok(false);
    }
    let left: BTreeSet<RelationId> = group.difference(startable).copied().collect();
    let record = if left.is_empty() {
        record
    } else {
        let (starting, staying) = part(shared, &record, (startable, &reads), (&left, &left_reads))?;
        shared.relations.write().park(left, Some(staying), None);
        starting
    };
    shared.start_pipeline(record.id, specs, Some(record), None)?;
    Ok(true)
}

/// Cuts a stored record in two: views that go, under a new id, and those that stay.
pub fn part(
    shared: &Shared,
    record: &PipelineRecord,
    (going, going_reads): (&BTreeSet<RelationId>, &BTreeSet<RelationId>),
    (staying, staying_reads): (&BTreeSet<RelationId>, &BTreeSet<RelationId>),
) -> Result<(PipelineRecord, PipelineRecord)> {
    let going = record::restrict(record, shared.allocate_pipeline()?, going, going_reads);
    let staying = record::restrict(record, record.id, staying, staying_reads);
    for record in [&going, &staying] {
        let follower = follower_name(record.id);
        for (view, epoch) in &record.changelogs {
            shared.publication.follow(*view, &follower, Some(*epoch), None);
        }
    }
    let left = record
        .changelogs
        .keys()
        .filter(|view| !staying.changelogs.contains_key(view));
    left.for_each(|view| shared.publication.unfollow(*view, &follower_name(record.id)));
    let mut batch = WriteBatch::new();
    pipelines::put(&mut batch, &going);
    pipelines::put(&mut batch, &staying);
    shared.store.commit(batch)?;
    Ok((going, staying))
}
