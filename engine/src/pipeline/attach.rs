//! The cut at which two pipelines become one.
//!
//! Both stop taking input. The host reads to where the further of the two stands and commits an
//! epoch; the newcomer reads to exactly the same positions, DML commit and changelogs, and
//! commits. Then they have seen the same input, and the newcomer's views, with all they hold in
//! memory, move into the host. Until the host's next epoch is durable the store holds two
//! consistent pipelines; after it, one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use weir_state::{Epoch, PipelineId};

use super::runtime::{Command, Held, Targets};
use super::shared::{PipelineHandle, Shared, Standing};
use crate::{Error, Result};

/// How long a pipeline may take to finish its step.
const HOLD: Duration = Duration::from_secs(30);
/// How long it may take to read the gap.
const RUN: Duration = Duration::from_secs(120);

/// Makes `newcomer` a part of `host`. On an error both go on as they were.
pub fn attach(
    shared: &Arc<Shared>,
    host: (PipelineId, &PipelineHandle),
    newcomer: (PipelineId, &PipelineHandle),
) -> Result<()> {
    let outcome = cut(shared, host, newcomer);
    if outcome.is_err() {
        host.1.send(Command::Release);
        newcomer.1.send(Command::Release);
    }
    outcome
}

fn cut(
    shared: &Arc<Shared>,
    (host_id, host): (PipelineId, &PipelineHandle),
    (id, newcomer): (PipelineId, &PipelineHandle),
) -> Result<()> {
    let at_host = hold(host)?;
    let at_newcomer = hold(newcomer)?;
    let targets = meeting_point(&at_host, &at_newcomer);
    let epoch = run_to(host, targets.clone())?;
    let views = host.status.lock().views.clone();
    let changelogs: BTreeMap<_, Epoch> = views.iter().map(|view| (*view, epoch)).collect();
    run_to(newcomer, Targets { changelogs, ..targets })?;
    let (send, receive) = bounded(1);
    newcomer.send(Command::HandOver(send));
    let given = answer(&receive, HOLD)?;
    let (send, receive) = bounded(1);
    host.send(Command::Adopt(Box::new(given), send));
    // From here on there is no way back: the newcomer's thread has ended.
    let adopted = answer(&receive, RUN).and_then(|outcome| outcome);
    let mut relations = shared.relations.write();
    for entry in relations.views.values_mut() {
        if entry.standing == Standing::Running(id) {
            entry.standing = Standing::Running(host_id);
        }
    }
    drop(relations);
    shared.publication.withdraw(id);
    adopted
}

fn hold(pipeline: &PipelineHandle) -> Result<Held> {
    let (send, receive) = bounded(1);
    pipeline.send(Command::Hold(send));
    answer(&receive, HOLD)
}

fn run_to(pipeline: &PipelineHandle, targets: Targets) -> Result<Epoch> {
    let (send, receive) = bounded(1);
    pipeline.send(Command::RunTo(targets, send));
    answer(&receive, RUN)
}

fn answer<T>(receive: &Receiver<T>, patience: Duration) -> Result<T> {
    receive.recv_timeout(patience).map_err(|_| Error::Connector {
        place: "pipeline".to_string(),
        cause: "it did not reach the point where it was to be attached".to_string(),
    })
}

/// For each split that both read the further position; where only one reads it, its own.
fn meeting_point(host: &Held, newcomer: &Held) -> Targets {
    let mut positions = host.positions.clone();
    for (source, theirs) in &newcomer.positions {
        let ours = positions.entry(*source).or_default();
        for (split, position) in theirs {
            let at = ours.entry(split.clone()).or_insert(*position);
            *at = (*at).max(*position);
        }
    }
    Targets {
        positions,
        dml: host.dml.max(newcomer.dml),
        changelogs: BTreeMap::new(),
    }
}
