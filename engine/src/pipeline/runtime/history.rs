//! What an epoch notes of the past of its views, so that they can be read as they were.
//!
//! The first epoch of a view that keeps a history begins it: from there on its changelog is followed
//! ([`weir_state::history`]). Each later one that changed the view notes when. Epochs that mix two moments are no
//! answer, so what they change is noted with the next right one.

use std::collections::{BTreeMap, BTreeSet};

use weir_state::{Epoch, RelationId, WriteBatch, history};

use super::Runtime;
use crate::Result;

/// What is known here of the histories of this pipeline's views.
pub(super) type Histories = BTreeMap<RelationId, Noted>;

/// One view's.
pub(super) struct Noted {
    /// The last moment noted. The clock may be set back; a history isn't.
    last_us: i64,
    /// The first epoch that changed the view and isn't noted yet.
    since: Option<Epoch>,
}

impl Runtime {
    /// Notes an epoch, which has `logged` so many bytes of changes, and of which `mixed` views are not right.
    pub(super) fn note_history(
        &mut self,
        epoch: Epoch,
        logged: &BTreeMap<RelationId, u64>,
        mixed: &BTreeSet<RelationId>,
        batch: &mut WriteBatch,
    ) -> Result<()> {
        let keeping = self
            .dataflow
            .views()
            .values()
            .filter(|view| view.options.history_us.is_some());
        let views: Vec<RelationId> = keeping.map(|view| view.relation).collect();
        self.histories.retain(|view, _| views.contains(view));
        let now_us = self.clock_us();
        for view in views {
            let changed = logged.get(&view).is_some_and(|bytes| *bytes > 0);
            let noted = match self.histories.remove(&view) {
                Some(noted) => Some(noted),
                None => self.noted_before(view, now_us)?,
            };
            let is_right = !mixed.contains(&view);
            let noted = match noted {
                None if is_right => self.begin_history(view, now_us, epoch, batch),
                None => continue,
                Some(noted) => noted.after(view, (now_us, epoch), changed, is_right, batch),
            };
            self.histories.insert(view, noted);
        }
        Ok(())
    }

    fn begin_history(&self, view: RelationId, now_us: i64, epoch: Epoch, batch: &mut WriteBatch) -> Noted {
        history::begin(batch, view, now_us, epoch);
        let publication = &self.shared.publication;
        publication.follow(view, history::FOLLOWER, Some(epoch), None);
        Noted {
            last_us: now_us,
            since: None,
        }
    }

    /// What an earlier life of a view has noted; `None` if its history has yet to begin.
    fn noted_before(&self, view: RelationId, now_us: i64) -> Result<Option<Noted>> {
        let store = self.start.home.as_ref();
        let Some(begin_us) = history::begins(store, view)? else {
            return Ok(None);
        };
        let last = history::last(store, view, now_us)?.map(|(at_us, _)| at_us);
        let right = self.right.get(&view).copied().unwrap_or(Epoch::ZERO);
        Ok(Some(Noted {
            last_us: last.unwrap_or(begin_us),
            // Mixed epochs may have come after that.
            since: Some(Epoch(right.0 + 1)),
        }))
    }
}

impl Noted {
    fn after(
        self,
        view: RelationId,
        (now_us, epoch): (i64, Epoch),
        changed: bool,
        is_right: bool,
        batch: &mut WriteBatch,
    ) -> Noted {
        let since = self.since.or(changed.then_some(epoch));
        let (Some(first), true) = (since, is_right) else {
            return Noted { since, ..self };
        };
        // What comes at the same moment belongs to the change that is noted there.
        if now_us > self.last_us {
            history::note(batch, view, now_us, first);
        }
        Noted {
            last_us: now_us.max(self.last_us),
            since: None,
        }
    }
}
