//! What is committed, and who follows it.
//!
//! The committer publishes each epoch here; readers, sinks and subscribers wait here. A view's
//! changelog is written only while someone follows the view: [`Publication::logged`] tells a
//! pipeline which of its views those are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use weir_state::{DmlCommit, Epoch, PipelineId, RelationId};

/// A pipeline's last committed epoch.
#[derive(Debug, Clone, Default)]
pub struct PublishedPipeline {
    /// The epoch.
    pub epoch: Epoch,
    /// The DML commit at which it ends.
    pub dml: DmlCommit,
    /// The views that it holds.
    pub views: BTreeSet<RelationId>,
    /// Every input was bounded and has ended.
    pub ended: bool,
    /// The views agree with the pipelines that they share inputs with.
    pub attached: bool,
}

/// Those who read one view's changelog.
#[derive(Debug, Default)]
struct Followed {
    /// All epochs after this one are in the changelog; `None` until the pipeline has begun it.
    logged_after: Option<Epoch>,
    /// The epoch each follower has.
    followers: BTreeMap<String, Epoch>,
}

#[derive(Debug, Default)]
struct State {
    pipelines: HashMap<PipelineId, PublishedPipeline>,
    followed: HashMap<RelationId, Followed>,
    dml: DmlCommit,
}

/// Committed epochs and their followers, shared by all threads of an engine.
#[derive(Debug, Default)]
pub struct Publication {
    state: Mutex<State>,
    changed: Condvar,
}

impl Publication {
    /// Publishes a pipeline's state.
    pub fn publish(&self, pipeline: PipelineId, news: PublishedPipeline) {
        self.state.lock().pipelines.insert(pipeline, news);
        self.changed.notify_all();
    }

    /// A pipeline is gone.
    pub fn withdraw(&self, pipeline: PipelineId) {
        self.state.lock().pipelines.remove(&pipeline);
        self.changed.notify_all();
    }

    /// Publishes a DML commit.
    pub fn publish_dml(&self, commit: DmlCommit) {
        self.state.lock().dml = commit;
        self.changed.notify_all();
    }

    /// The last DML commit.
    pub fn dml(&self) -> DmlCommit {
        self.state.lock().dml
    }

    /// The pipeline that holds a view, and what it has published.
    pub fn host(&self, view: RelationId) -> Option<(PipelineId, PublishedPipeline)> {
        let state = self.state.lock();
        state
            .pipelines
            .iter()
            .find(|(_, p)| p.views.contains(&view))
            .map(|(id, p)| (*id, p.clone()))
    }

    /// Waits until `ready` gives something, at most until `deadline`.
    pub fn wait<T>(&self, deadline: Instant, mut ready: impl FnMut(&Publication) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = ready(self) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            // Bounded naps: `ready` may depend on more than this state.
            let mut state = self.state.lock();
            self.changed.wait_for(&mut state, left.min(Duration::from_millis(20)));
        }
    }

    /// Wakes those who wait, to look again.
    pub fn nudge(&self) {
        self.changed.notify_all();
    }

    /// Registers a follower that has `delivered`; or, with `None`, one that will take a snapshot
    /// once the changelog has begun.
    pub fn follow(&self, view: RelationId, follower: &str, delivered: Option<Epoch>) {
        let mut state = self.state.lock();
        let followed = state.followed.entry(view).or_default();
        if let Some(epoch) = delivered {
            // Whoever has an epoch was promised a changelog from there.
            followed.logged_after = Some(followed.logged_after.map_or(epoch, |old| old.min(epoch)));
        }
        followed
            .followers
            .insert(follower.to_string(), delivered.unwrap_or(Epoch::ZERO));
    }

    /// Notes how far a follower has come.
    pub fn advance(&self, view: RelationId, follower: &str, delivered: Epoch) {
        if let Some(followed) = self.state.lock().followed.get_mut(&view)
            && let Some(epoch) = followed.followers.get_mut(follower)
        {
            *epoch = delivered;
        }
    }

    /// A follower leaves. Without any the changelog ends.
    pub fn unfollow(&self, view: RelationId, follower: &str) {
        let mut state = self.state.lock();
        if let Some(followed) = state.followed.get_mut(&view) {
            followed.followers.remove(follower);
            if followed.followers.is_empty() {
                state.followed.remove(&view);
            }
        }
    }

    /// Of `views`, those whose changes must be logged. Where a changelog begins now, it holds all
    /// that came after `last_checkpoint`.
    pub fn logged(&self, views: impl Iterator<Item = RelationId>, last_checkpoint: Epoch) -> BTreeSet<RelationId> {
        let mut state = self.state.lock();
        let mut logged = BTreeSet::new();
        let mut begun = false;
        for view in views {
            if let Some(followed) = state.followed.get_mut(&view) {
                if followed.logged_after.is_none() {
                    followed.logged_after = Some(last_checkpoint);
                    begun = true;
                }
                logged.insert(view);
            }
        }
        drop(state);
        if begun {
            self.changed.notify_all();
        }
        logged
    }

    /// The epoch after which a view's changelog is complete, if it is kept.
    pub fn logged_after(&self, view: RelationId) -> Option<Epoch> {
        self.state
            .lock()
            .followed
            .get(&view)
            .and_then(|followed| followed.logged_after)
    }

    /// Views that are followed, with the lowest epoch that a follower has.
    pub fn needed_after(&self) -> Vec<(RelationId, Epoch)> {
        let state = self.state.lock();
        let lowest = |followed: &Followed| followed.followers.values().min().copied();
        state
            .followed
            .iter()
            .filter_map(|(view, followed)| Some((*view, lowest(followed)?)))
            .collect()
    }

    /// After a trim: a changelog begins later than it did.
    pub fn trimmed(&self, view: RelationId, upto: Epoch) {
        if let Some(followed) = self.state.lock().followed.get_mut(&view) {
            followed.logged_after = followed.logged_after.map(|after| after.max(upto));
        }
    }

    /// The lowest DML commit that some pipeline still needs the log after.
    pub fn dml_needed_after(&self) -> DmlCommit {
        let state = self.state.lock();
        state
            .pipelines
            .values()
            .map(|p| p.dml)
            .min()
            .unwrap_or(state.dml)
            .min(state.dml)
    }
}
