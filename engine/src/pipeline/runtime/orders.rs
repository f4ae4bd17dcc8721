//! What a pipeline does when it is told to.

use crossbeam_channel::Sender;

use super::{Command, Held, Mode, Runtime};
use crate::pipeline::source::SourceInput;
use crate::{Error, Result};

impl Runtime {
    /// False when the pipeline has ended.
    pub(super) fn obey(&mut self, command: Command) -> Result<bool> {
        self.untold = true;
        match command {
            Command::Hold(reply) => {
                self.mode = Mode::Held;
                let _ = reply.send(self.held());
            }
            Command::Release => self.mode = Mode::Running,
            Command::RunTo(targets, reply) => self.mode = Mode::RunningTo(targets, reply),
            Command::HandOver(reply) => {
                let given = self.hand_over();
                return match reply.send(given) {
                    Ok(()) => Ok(false),
                    Err(_) => Err(Error::State("nobody took over what it handed over".to_string())),
                };
            }
            Command::Adopt(given, reply) => {
                self.adopt(*given)?;
                self.mode = Mode::Running;
                let _ = reply.send(());
            }
            Command::Detach { views, keep, done } => {
                let views = self.dataflow.with_dependents(views.into_iter().collect());
                let views = views
                    .into_iter()
                    .filter(|v| self.dataflow.views().contains_key(v))
                    .collect();
                let parked = self.detach(&views, keep)?;
                let empty = self.dataflow.views().is_empty();
                if empty {
                    self.end_empty()?;
                } else {
                    self.commit_and_wait()?;
                }
                self.shared.tell_detached(&views, parked);
                let _ = done.send(());
                return Ok(!empty);
            }
            Command::Stop(done) => return self.stop(&done).map(|()| false),
        }
        Ok(true)
    }

    pub(super) fn stop(&mut self, done: &Sender<()>) -> Result<()> {
        let outcome = if self.start.durable {
            self.commit_and_wait()
        } else {
            Ok(())
        };
        self.sources.values_mut().for_each(SourceInput::end);
        self.sources.values_mut().for_each(SourceInput::close);
        self.shared.publication.withdraw(self.start.id);
        let _ = done.send(());
        outcome
    }

    fn held(&self) -> Held {
        Held {
            positions: self
                .sources
                .iter()
                .map(|(id, source)| (*id, source.progress.positions()))
                .collect(),
            dml: (!self.tables.is_empty()).then_some(self.dml),
            changelogs: self.follows.iter().map(|(id, follow)| (*id, follow.taken)).collect(),
        }
    }

    /// Answers a RunTo once its targets are reached and durable.
    pub(super) fn answer_run_to(&mut self) -> Result<()> {
        let Mode::RunningTo(targets, _) = &self.mode else {
            return Ok(());
        };
        let sources = targets
            .positions
            .iter()
            .all(|(relation, limits)| self.sources.get(relation).is_none_or(|source| source.reached(limits)));
        let logs = targets.changelogs.iter().all(|(relation, epoch)| {
            // A view that has stopped meanwhile gives nothing more; what rests on it will stop, too.
            let stopped = || self.shared.publication.host(*relation).is_none();
            let follow = self.follows.get(relation);
            follow.is_none_or(|follow| follow.taken >= *epoch || stopped())
        });
        let dml = self.tables.is_empty() || targets.dml.is_none_or(|dml| self.dml >= dml);
        if sources && logs && dml && self.loading.is_empty() && self.unopened.is_empty() && self.started {
            // Who follows a view of this pipeline reads tables no further than that view has. Where this one
            // follows back, neither would come further.
            let is_waited_for = || {
                let ours = self.dataflow.views();
                let follows_back = self.follows.values().any(|follow| follow.to_meet);
                follows_back && targets.changelogs.keys().any(|view| ours.contains_key(view))
            };
            if self.catching_up && self.dataflow.would_fail() && !is_waited_for() {
                // What is behind that point may correct it: it isn't to be judged there. Another cut is
                // tried when it has caught up.
                self.mode = Mode::Running;
                return Ok(());
            }
            self.commit_and_wait()?;
            if self.dataflow.views().is_empty() {
                // They failed at this; whoever waits hears of the end.
                return Ok(());
            }
            if let Mode::RunningTo(_, reply) = std::mem::replace(&mut self.mode, Mode::Held) {
                let _ = reply.send(self.last_epoch);
            }
        }
        Ok(())
    }
}
