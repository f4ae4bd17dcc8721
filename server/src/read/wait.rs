//! Waiting before a read: for views that are catching up, and for the session's own writes.
//!
//! Whether a view answers is asked of a [`Moment`]: of the present, until it does, and of the one
//! that a transaction reads from.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_engine::pipeline::{Snapshot, ViewState};
use weir_engine::relation::RelationId;
use weir_sql::catalog::Definition;
use weir_state::DmlCommit;

use super::LOOK;
use super::catch_up::{self, CatchUp};
use crate::error::ErrorKind;
use crate::instance::Known;
use crate::session::{Context, State};
use crate::{Error, Result, system};

/// How long a view is waited for whose source is out of reach, before it is read as it is.
const OUT_OF_REACH: Duration = Duration::from_secs(10);

/// Asked while waiting: true if the client has gone.
type Gone<'a> = &'a dyn Fn() -> bool;

/// What is committed at one moment, and which views answered then.
pub struct Moment {
    /// What is committed.
    pub snapshot: Snapshot,
    /// The views that were attached, and the DML commit up to which tables were in each.
    attached: BTreeMap<RelationId, DmlCommit>,
}

impl Moment {
    /// The present.
    pub fn now(context: &Context) -> Result<Moment> {
        let engine = context.instance.engine();
        // First, so that the snapshot holds no less than is said of it.
        let attached = engine.attached();
        Ok(Moment {
            snapshot: engine.snapshot()?,
            attached,
        })
    }

    /// The first of `reads` that had no answer yet at this moment, or lacked what the session had
    /// written, and may have it by now: its name. A view that is stopped is read as it is.
    pub fn lacks(&self, context: &Context, reads: &[RelationId]) -> Result<Option<String>> {
        let known = context.instance.known();
        if !context.state.settings.lock().wait {
            return Ok(None);
        }
        for id in reads {
            let view = View::new(context, &known, *id);
            let runs = view.state().is_some() && view.stopped().is_none();
            if runs && !view.answers(self, &mut CatchUp::default())? {
                return Ok(Some(view.name));
            }
        }
        Ok(None)
    }
}

/// Waits until the views among `reads` can be read. A stopped view is not waited for: it is read
/// at its last epoch, with a notice.
pub fn until_ready(context: &Context, reads: &[RelationId], gone: Gone<'_>) -> Result<Vec<String>> {
    let known = context.instance.known();
    let wait = context.state.settings.lock().wait;
    let mut notices = Vec::new();
    let mut trouble_since = None;
    for id in reads {
        let view = View::new(context, &known, *id);
        if wait {
            notices.extend(view.until_ready(gone, &mut trouble_since)?);
        } else {
            notices.extend(view.as_it_is());
        }
    }
    Ok(notices)
}

/// Waits until the running ones of `views` have taken in the session's writes, and those of `sinks`
/// have delivered it.
pub fn flush(context: &Context, views: &[RelationId], sinks: &[RelationId], gone: Gone<'_>) -> Result<Vec<String>> {
    let known = context.instance.known();
    let mut notices = Vec::new();
    let mut trouble_since = None;
    for id in views {
        let view = View::new(context, &known, *id);
        if let Some(stopped) = view.stopped() {
            notices.push(format!("view '{}' {stopped}: it was not waited for", view.name));
        } else {
            notices.extend(view.until_ready(gone, &mut trouble_since)?);
        }
    }
    for id in sinks {
        notices.extend(delivered(context, &known, *id, gone)?);
    }
    Ok(notices)
}

/// Waits until a sink has delivered what is there, and what its own query is still to take in. A
/// notice tells of one that doesn't deliver.
fn delivered(context: &Context, known: &Known, id: RelationId, gone: Gone<'_>) -> Result<Option<String>> {
    let Some(relation) = known.catalog.by_id(id) else {
        return Ok(None);
    };
    let Definition::Sink(sink) = &relation.definition else {
        return Ok(None);
    };
    let left_out = |why: &str| Ok(Some(format!("sink '{}' {why}: it was not waited for", relation.name)));
    let engine = context.instance.engine();
    let waiting = Waiting(&context.state);
    let mut trouble_since = None;
    if !relation.paused && sink.follow == id && View::new(context, known, id).stopped().is_none() {
        View::new(context, known, id).until_ready(gone, &mut trouble_since)?;
    }
    let upto = engine.right_epoch(sink.follow).unwrap_or_default();
    loop {
        let standing = system::standing(&context.instance, known, relation);
        let detail = standing.detail.unwrap_or_default();
        match standing.state {
            "PAUSED" => return left_out("is paused"),
            "FAILED" => return left_out(&format!("has failed ({detail})")),
            _ => {}
        }
        if engine.sink_status(id).is_some_and(|status| status.delivered >= upto) {
            return Ok(None);
        }
        leave_if(context, gone)?;
        match standing.state {
            "WAITING" => {
                if trouble_since.get_or_insert_with(Instant::now).elapsed() >= OUT_OF_REACH {
                    return left_out(&format!("waits ({detail})"));
                }
                waiting.tell(format!("sink '{}': {detail}", relation.name));
            }
            _ => {
                trouble_since = None;
                waiting.tell(format!("sink '{}': still delivering", relation.name));
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends a wait that is of no use any more.
fn leave_if(context: &Context, gone: Gone<'_>) -> Result<()> {
    if gone() {
        return Err(Error::new(ErrorKind::Cancelled, "the client has gone"));
    }
    if context.instance.is_closed() {
        return Err(Error::unavailable("this instance has been shut down"));
    }
    Ok(())
}

/// The session's last commit to a table that `view` rests on.
fn written(state: &State, known: &Known, view: RelationId) -> DmlCommit {
    let written = state.written.lock();
    known
        .tables_below(view)
        .iter()
        .filter_map(|table| written.get(table).copied())
        .max()
        .unwrap_or(DmlCommit::ZERO)
}

struct View<'a> {
    context: &'a Context,
    known: &'a Known,
    id: RelationId,
    name: String,
    /// The session's last commit that the view must hold.
    written: DmlCommit,
}

impl<'a> View<'a> {
    fn new(context: &'a Context, known: &'a Known, id: RelationId) -> View<'a> {
        View {
            context,
            known,
            id,
            name: known.name_of(id).unwrap_or_default().to_string(),
            written: written(&context.state, known, id),
        }
    }

    fn state(&self) -> Option<ViewState> {
        self.context.instance.engine().view_state(self.id)
    }

    /// Why it doesn't run, in words; `None` where it does, or is no view.
    fn stopped(&self) -> Option<String> {
        match self.state()? {
            ViewState::Running | ViewState::Attaching { .. } => None,
            // It is about to start.
            ViewState::Waiting { on } if on.is_empty() => None,
            ViewState::Paused => Some("is paused".to_string()),
            ViewState::Failed { cause, .. } => Some(format!("has failed ({cause})")),
            ViewState::Waiting { on } => Some(format!("waits for '{on}', which is stopped")),
        }
    }

    fn as_it_is(&self) -> Option<String> {
        if let Some(stopped) = self.stopped() {
            return Some(format!(
                "view '{}' {stopped}: its rows are those of its last epoch",
                self.name
            ));
        }
        match self.state()? {
            ViewState::Attaching { progress } => Some(format!("view '{}' is still catching up: {progress}", self.name)),
            _ => None,
        }
    }

    /// Waits until the view has what it must have. A notice tells of one that stands still: stopped,
    /// or waiting for a source that has been out of reach since a time too long ago.
    fn until_ready(&self, gone: Gone<'_>, trouble_since: &mut Option<Instant>) -> Result<Option<String>> {
        let waiting = Waiting(&self.context.state);
        let mut catch_up = CatchUp::default();
        // Not a relation that a pipeline keeps: nothing to wait for.
        while self.state().is_some() {
            if let Some(stopped) = self.stopped() {
                return self.stopped_read(&stopped).map(Some);
            }
            let engine = self.context.instance.engine();
            if engine.wait_for(self.id, self.written, LOOK) {
                if self.answers(&Moment::now(self.context)?, &mut catch_up)? {
                    break;
                }
                std::thread::sleep(LOOK / 10);
            }
            leave_if(self.context, gone)?;
            if let Some(trouble) = self.trouble() {
                if trouble_since.get_or_insert_with(Instant::now).elapsed() >= OUT_OF_REACH {
                    return self.stopped_read(&format!("waits ({trouble})")).map(Some);
                }
                waiting.tell(format!("view '{}': {trouble}", self.name));
            } else {
                *trouble_since = None;
                waiting.tell(self.progress());
            }
        }
        Ok(None)
    }

    /// What keeps a source from being read, of this view or of one that it rests on.
    fn trouble(&self) -> Option<String> {
        let below = catch_up::below(self.known, self.id);
        let rows = self.context.instance.engine().pipelines().into_iter();
        let mut rows = rows.filter(|row| row.view == self.id || below.contains(&row.view));
        rows.find_map(|row| row.trouble)
    }

    fn progress(&self) -> String {
        let engine = self.context.instance.engine();
        let row = engine.pipelines().into_iter().find(|row| row.view == self.id);
        if let Some(ViewState::Attaching { progress }) = self.state() {
            return format!("view '{}': {progress}", self.name);
        }
        let pipeline = row.and_then(|row| row.pipeline);
        let lag = engine.lag().into_iter().filter(|lag| Some(lag.pipeline) == pipeline);
        let behind: i64 = lag.filter_map(|lag| Some((lag.end? - lag.position).max(0))).sum();
        format!("view '{}': {behind} records behind", self.name)
    }

    /// Whether the view has its first answer at a moment, and what the session had written.
    fn answers(&self, moment: &Moment, catch_up: &mut CatchUp) -> Result<bool> {
        match moment.attached.get(&self.id) {
            Some(holds) if *holds >= self.written => catch_up.is_done(&moment.snapshot, self.known, self.id),
            _ => Ok(false),
        }
    }

    /// What is said of a view that stands still, and is read as it is.
    fn stopped_read(&self, stopped: &str) -> Result<String> {
        let engine = self.context.instance.engine();
        let record = engine.snapshot()?.pipeline_of(self.id)?;
        let holds = record.map_or(DmlCommit::ZERO, |record| engine.dml_in(self.id, &record));
        let lacking = match holds < self.written {
            true => ", which lacks what this session has written",
            false => "",
        };
        Ok(format!(
            "view '{}' {stopped}: its rows are those of its last epoch{lacking}",
            self.name
        ))
    }
}

/// Tells what a session is waiting for, as long as it lives.
struct Waiting<'a>(&'a State);

impl Waiting<'_> {
    fn tell(&self, what: String) {
        *self.0.waiting.lock() = Some(what);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.0.waiting.lock() = None;
    }
}
