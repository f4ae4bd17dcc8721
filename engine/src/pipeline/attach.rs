//! The cut at which two pipelines become one.
//!
//! Both stop taking input. The host reads to where the further of the two stands and commits an
//! epoch; the newcomer reads to exactly the same positions and DML commit, and the host's
//! changelogs to that epoch, and commits. Where the host also follows views of the newcomer, it
//! takes in their changes, and so on, until nothing new is left on either side. Then they have seen
//! the same input, and the newcomer's views, with all they hold in memory, move into the host.
//! Until the host's next epoch is durable the store holds two consistent pipelines; after it, one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use weir_state::{Epoch, PipelineId, RelationId};

use super::runtime::{Command, Held, Targets};
use super::shared::{PipelineHandle, Shared};
use super::standing::Standing;
use crate::{Error, Result};

/// How long a pipeline may take to finish its step.
const HOLD: Duration = Duration::from_secs(30);
/// How long it may take to read the gap.
const RUN: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile whether the engine stops.
const LOOK: Duration = Duration::from_millis(50);

/// Makes `newcomer` a part of `host`. On an error both go on as they were.
pub fn attach(
    shared: &Arc<Shared>,
    host: (PipelineId, &PipelineHandle),
    newcomer: (PipelineId, &PipelineHandle),
) -> Result<()> {
    let _one = shared.moves.lock();
    let met = meet(shared, host, newcomer).and_then(|()| are_whole(shared, [host.1, newcomer.1]));
    if met.is_err() {
        host.1.send(Command::Release);
        newcomer.1.send(Command::Release);
    }
    met?;
    hand_over(shared, host, newcomer)
}

/// Brings both to the same moment, and holds them there.
fn meet(
    shared: &Shared,
    (host_id, host): (PipelineId, &PipelineHandle),
    (id, newcomer): (PipelineId, &PipelineHandle),
) -> Result<()> {
    let targets = meeting_point(&hold(shared, host)?, &hold(shared, newcomer)?);
    let with = |pipeline: PipelineId, epoch: Epoch| {
        let mut targets = targets.clone();
        let views = shared.publication.views_of(pipeline);
        targets.changelogs.extend(views.into_iter().map(|view| (view, epoch)));
        targets
    };
    let mut host_epoch = run_to(shared, host, targets.clone())?;
    loop {
        let epoch = run_to(shared, newcomer, with(host_id, host_epoch))?;
        let next = run_to(shared, host, with(id, epoch))?;
        if next == host_epoch {
            return Ok(());
        }
        host_epoch = next;
    }
}

/// An error if a view of theirs rests on one that has failed on the way here. It is stopped soon, and comes
/// back with that one: taken in alone it would have its host wait for a pipeline that waits for the host.
fn are_whole(shared: &Shared, pipelines: [&PipelineHandle; 2]) -> Result<()> {
    let relations = shared.relations.read();
    for pipeline in pipelines {
        let views = pipeline.status.lock().views.clone();
        let below = views
            .iter()
            .find_map(|view| relations.stopped_below(*view, &BTreeSet::new()));
        if let Some(below) = below {
            let cause = format!("view '{}', on which it rests, has stopped", below.spec.name);
            return Err(failed(&cause));
        }
    }
    Ok(())
}

fn hand_over(
    shared: &Arc<Shared>,
    (host_id, host): (PipelineId, &PipelineHandle),
    (id, newcomer): (PipelineId, &PipelineHandle),
) -> Result<()> {
    let (send, receive) = bounded(1);
    newcomer.send(Command::HandOver(send));
    let given = match answer(shared, &receive, HOLD) {
        Ok(given) => given,
        Err(error) => {
            host.send(Command::Release);
            return Err(error);
        }
    };
    // From here on there is no way back: the newcomer's thread has ended, and if the host fails,
    // the newcomer's views go down with it, to their own record.
    for entry in shared.relations.write().views.values_mut() {
        if entry.standing == Standing::Running(id) {
            entry.standing = Standing::Running(host_id);
        }
    }
    let (send, receive) = bounded(1);
    host.send(Command::Adopt(Box::new(given), send));
    answer(shared, &receive, RUN).inspect_err(|_| shared.publication.withdraw(id))
}

fn hold(shared: &Shared, pipeline: &PipelineHandle) -> Result<Held> {
    let (send, receive) = bounded(1);
    pipeline.send(Command::Hold(send));
    answer(shared, &receive, HOLD)
}

fn run_to(shared: &Shared, pipeline: &PipelineHandle, targets: Targets) -> Result<Epoch> {
    let (send, receive) = bounded(1);
    pipeline.send(Command::RunTo(targets, send));
    answer(shared, &receive, RUN)
}

fn answer<T>(shared: &Shared, receive: &Receiver<T>, patience: Duration) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match receive.recv_timeout(LOOK) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err(failed("it ended while it was to be attached")),
            Err(RecvTimeoutError::Timeout) if shared.is_stopping() => return Err(failed("the engine is stopping")),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                return Err(failed("it did not reach the point where it was to be attached"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn failed(cause: &str) -> Error {
    Error::Connector {
        place: "pipeline".to_string(),
        cause: cause.to_string(),
    }
}

/// For each split and changelog that both read the further position; where only one reads it, its
/// own.
fn meeting_point(host: &Held, newcomer: &Held) -> Targets {
    let mut positions = host.positions.clone();
    for (source, theirs) in &newcomer.positions {
        let ours = positions.entry(*source).or_default();
        for (split, position) in theirs {
            let at = ours.entry(split.clone()).or_insert(*position);
            *at = (*at).max(*position);
        }
    }
    let mut changelogs: BTreeMap<RelationId, Epoch> = host.changelogs.clone();
    for (view, epoch) in &newcomer.changelogs {
        let at = changelogs.entry(*view).or_insert(*epoch);
        *at = (*at).max(*epoch);
    }
    Targets {
        positions,
        dml: host.dml.max(newcomer.dml),
        changelogs,
    }
}
