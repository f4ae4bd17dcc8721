//! What is committed, who follows it, and who waits for it.
//!
//! The committer publishes each epoch here; readers, sinks and subscribers wait here. Every change
//! is counted, so that nobody who looks and then waits misses one, and an engine where nothing
//! happens sleeps.
//!
//! **Right epochs.** A view over sources alone is right at each of its epochs. While a pipeline
//! follows a view that it is yet to meet, whatever rests on that view is right nowhere: an epoch
//! mixes two moments. So beside its last epoch each view has the last *right* one, and that is what
//! others are shown: they go from one right epoch to the next, and take what lies between as one
//! change.
//!
//! **Changelogs.** A view's changelog is written only while someone follows the view:
//! [`Publication::logged`] tells a pipeline which of its views those are. It waits for sinks and
//! other pipelines as long as they take. For clients it doesn't: one that has more than the
//! view's `changelog_limit`, or the engine's, to read is no follower any more, and learns it when it asks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use weir_state::{DmlCommit, Epoch, PipelineId, RelationId};

use super::backlog::Backlog;
use super::reader::Bell;
use crate::connector::Positions;
use crate::operator::Watermark;

/// The DML commit of those that no table reaches: later than all.
pub const NO_TABLES: DmlCommit = DmlCommit(u64::MAX);

/// What a client is given at once is of epochs with about so many bytes in the changelog.
const PART_BYTES: u64 = 8 << 20;

/// A view at an epoch of its pipeline.
#[derive(Debug, Clone, Copy)]
pub struct ViewNews {
    /// The last right epoch: this one, unless the view rests on one that its pipeline is yet to meet.
    pub right: Epoch,
    /// The result's watermark, if it has event time.
    pub watermark: Option<Watermark>,
    /// Nothing has come for a while of all that its event time hangs on.
    pub idle: bool,
    /// All is in that its event time comes from, and nothing of it is held back.
    pub at_end: bool,
    /// All its inputs were bounded and have ended: nothing more will change it.
    pub ended: bool,
}

/// An epoch of a pipeline.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// Bytes that it has added to changelogs.
    pub logged: BTreeMap<RelationId, u64>,
    /// The epoch.
    pub epoch: Epoch,
    /// Tables are in it up to this DML commit, directly or through views that it follows.
    pub dml: DmlCommit,
    /// The DML log was read up to this commit.
    pub dml_read: DmlCommit,
    /// The views that it holds.
    pub views: BTreeMap<RelationId, ViewNews>,
    /// Pipelines that this one has taken in.
    pub absorbed: Vec<PipelineId>,
    /// Up to where its sources are in it.
    pub positions: Arc<BTreeMap<RelationId, Positions>>,
}

/// A view's pipeline, as it is published.
#[derive(Debug, Clone)]
pub struct Host {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Its last epoch.
    pub epoch: Epoch,
    /// The view's last right epoch.
    pub right: Epoch,
    /// The DML commit of its last epoch.
    pub dml: DmlCommit,
    /// The view's watermark at the last epoch.
    pub watermark: Option<Watermark>,
    /// As of now nothing comes of all that its event time hangs on.
    pub idle: bool,
    /// As of now all of it is in, and nothing is held back.
    pub at_end: bool,
    /// All inputs of the view were bounded, have ended, and are in its last epoch.
    pub ended: bool,
    /// It agrees with all pipelines that it shares inputs with.
    pub attached: bool,
}

impl Host {
    /// Whether what the view holds is an answer that others may be shown.
    pub fn answers(&self) -> bool {
        self.attached && self.epoch > Epoch::ZERO
    }
}

/// Who reads a changelog.
struct Follower {
    /// The epoch that they have for good.
    delivered: Epoch,
    /// Of a client, the epoch that it has been given. It may come back to earlier ones for a while.
    read: Option<Epoch>,
    /// Rung when there is news; sinks and subscribers wait for the publication instead.
    bell: Option<Bell>,
}

/// Those who read one view's changelog.
#[derive(Default)]
struct Followed {
    /// All epochs after this one are in the changelog; `None` until the pipeline has begun it.
    logged_after: Option<Epoch>,
    followers: BTreeMap<String, Follower>,
    backlog: Backlog,
}

impl Followed {
    /// Takes in what an epoch has logged. Clients for which more than `limit` bytes wait besides it
    /// are taken out and given back; what a client has been given is kept for it within the limit only.
    fn add(&mut self, epoch: Epoch, right: Epoch, bytes: u64, limit: u64) -> Vec<String> {
        let Some(lowest) = self.clients().map(|client| client.delivered).min() else {
            // Nobody asks.
            self.backlog = Backlog::default();
            return Vec::new();
        };
        self.backlog.forget(lowest);
        self.backlog.add(epoch, right == epoch, bytes);
        let mut ended = Vec::new();
        for (name, follower) in &mut self.followers {
            let Some(read) = follower.read else { continue };
            if self.backlog.after(read) > limit.saturating_add(bytes) {
                ended.push(name.clone());
            } else if self.backlog.after(follower.delivered) > limit {
                follower.delivered = read.min(self.backlog.floor(limit)).max(follower.delivered);
            }
        }
        ended.iter().for_each(|name| {
            self.followers.remove(name);
        });
        ended
    }

    fn clients(&self) -> impl Iterator<Item = &Follower> {
        self.followers.values().filter(|follower| follower.read.is_some())
    }
}

#[derive(Default)]
struct State {
    /// Counts the changes.
    news: u64,
    pipelines: HashMap<PipelineId, News>,
    hosts: HashMap<RelationId, PipelineId>,
    attached: HashSet<PipelineId>,
    /// Where pipelines stand in the DML log, those that have no epoch yet included.
    dml_read: HashMap<PipelineId, DmlCommit>,
    followed: HashMap<RelationId, Followed>,
    /// Views whose last follower has gone and whose changelog is still there.
    abandoned: BTreeSet<RelationId>,
    /// Bytes that may wait for a client, of views that have a limit of their own.
    limits: HashMap<RelationId, u64>,
    /// Followers that were taken out because they read too slowly, and the limit that they passed, until
    /// they hear of it.
    outrun: BTreeMap<String, u64>,
    dml: DmlCommit,
}

impl State {
    fn host(&self, view: RelationId) -> Option<Host> {
        let pipeline = *self.hosts.get(&view)?;
        let news = self.pipelines.get(&pipeline)?;
        let ViewNews {
            right,
            watermark,
            idle,
            at_end,
            ended,
        } = *news.views.get(&view)?;
        Some(Host {
            pipeline,
            epoch: news.epoch,
            right,
            dml: news.dml,
            watermark,
            idle,
            at_end,
            ended,
            attached: self.attached.contains(&pipeline) && right == news.epoch,
        })
    }

    /// Counts what an epoch has logged, and ends those who are too far behind.
    fn count_logged(&mut self, news: &News, limit: u64) {
        for (view, bytes) in &news.logged {
            let (Some(followed), Some(state)) = (self.followed.get_mut(view), news.views.get(view)) else {
                continue;
            };
            let limit = self.limits.get(view).copied().unwrap_or(limit);
            let outrun = followed.add(news.epoch, state.right, *bytes, limit);
            self.outrun.extend(outrun.into_iter().map(|follower| (follower, limit)));
            if followed.followers.is_empty() {
                self.followed.remove(view);
                self.abandoned.insert(*view);
            }
        }
    }

    fn forget_pipeline(&mut self, pipeline: PipelineId) {
        self.pipelines.remove(&pipeline);
        self.attached.remove(&pipeline);
        self.dml_read.remove(&pipeline);
        self.hosts.retain(|_, host| *host != pipeline);
    }

    fn ring_followers(&self, views: impl Iterator<Item = RelationId>) {
        for followed in views.filter_map(|view| self.followed.get(&view)) {
            let bells = followed
                .followers
                .values()
                .filter_map(|follower| follower.bell.as_ref());
            bells.for_each(Bell::ring);
        }
    }
}

/// Committed epochs and their followers, shared by all threads of an engine.
pub struct Publication {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that may wait for a client, unless its view has a limit of its own.
    limit: u64,
}

impl Publication {
    /// With nothing in it. More than `limit` bytes don't wait for a client.
    pub fn new(limit: u64) -> Publication {
        Publication {
            state: Mutex::default(),
            changed: Condvar::default(),
            limit,
        }
    }

    fn tell<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let answer = change(&mut state);
        state.news += 1;
        drop(state);
        self.changed.notify_all();
        answer
    }

    /// Publishes a pipeline's epoch.
    pub fn publish(&self, pipeline: PipelineId, news: News) {
        self.tell(|state| {
            for absorbed in &news.absorbed {
                state.forget_pipeline(*absorbed);
            }
            state
                .hosts
                .retain(|view, host| *host != pipeline || news.views.contains_key(view));
            state.hosts.extend(news.views.keys().map(|view| (*view, pipeline)));
            state.dml_read.insert(pipeline, news.dml_read);
            state.count_logged(&news, self.limit);
            state.ring_followers(news.views.keys().copied());
            state.pipelines.insert(pipeline, news);
        });
    }

    /// A pipeline is gone.
    pub fn withdraw(&self, pipeline: PipelineId) {
        self.tell(|state| state.forget_pipeline(pipeline));
    }

    /// A pipeline shares no input with another that it doesn't agree with.
    pub fn attach(&self, pipeline: PipelineId) {
        self.tell(|state| state.attached.insert(pipeline));
    }

    /// Whether a pipeline is attached, be it published yet or not.
    pub fn is_attached(&self, pipeline: PipelineId) -> bool {
        self.state.lock().attached.contains(&pipeline)
    }

    /// Publishes a DML commit.
    pub fn publish_dml(&self, commit: DmlCommit) {
        self.tell(|state| state.dml = commit);
    }

    /// The last DML commit.
    pub fn dml(&self) -> DmlCommit {
        self.state.lock().dml
    }

    /// A pipeline that is to begin reads the DML log from now on, if it reads tables.
    pub fn hold_dml(&self, pipeline: PipelineId) {
        let mut state = self.state.lock();
        let now = state.dml;
        state.dml_read.insert(pipeline, now);
    }

    /// The lowest DML commit after which the log is still needed: by some running pipeline, or to show a table
    /// as it was at the epoch of some view, to who begins to read both.
    pub fn dml_needed_after(&self) -> DmlCommit {
        let state = self.state.lock();
        let shown = state.pipelines.values().map(|news| news.dml);
        let lowest = state.dml_read.values().copied().chain(shown).min();
        lowest.unwrap_or(state.dml).min(state.dml)
    }

    /// The pipeline that holds a view.
    pub fn host(&self, view: RelationId) -> Option<Host> {
        self.state.lock().host(view)
    }

    /// The views of a pipeline's last epoch.
    pub fn views_of(&self, pipeline: PipelineId) -> Vec<RelationId> {
        let state = self.state.lock();
        let news = state.pipelines.get(&pipeline);
        news.into_iter().flat_map(|news| news.views.keys().copied()).collect()
    }

    /// The positions of a pipeline's last epoch.
    pub fn positions(&self, pipeline: PipelineId) -> Option<Arc<BTreeMap<RelationId, Positions>>> {
        let state = self.state.lock();
        state.pipelines.get(&pipeline).map(|news| news.positions.clone())
    }

    /// The pipelines that hold these views, and the last DML commit, all at one moment.
    pub fn hosts(&self, views: impl Iterator<Item = RelationId>) -> (BTreeMap<RelationId, Host>, DmlCommit) {
        let state = self.state.lock();
        let hosts = views.filter_map(|view| Some((view, state.host(view)?))).collect();
        (hosts, state.dml)
    }

    /// The views that are attached and have an epoch, and the DML commit up to which tables are in each.
    pub fn attached(&self) -> BTreeMap<RelationId, DmlCommit> {
        let state = self.state.lock();
        let host = |view: &RelationId| state.host(*view).filter(Host::answers).map(|host| (*view, host.dml));
        state.hosts.keys().filter_map(host).collect()
    }

    /// Waits until `ready` gives something, at most until `deadline`. Whatever else `ready` looks
    /// at, its change must be followed by a [`Publication::nudge`].
    pub fn wait<T>(&self, deadline: Instant, mut ready: impl FnMut(&Publication) -> Option<T>) -> Option<T> {
        loop {
            let seen = self.state.lock().news;
            if let Some(found) = ready(self) {
                return Some(found);
            }
            let mut state = self.state.lock();
            while state.news == seen {
                if self.changed.wait_until(&mut state, deadline).timed_out() {
                    return None;
                }
            }
        }
    }

    /// Wakes those who wait, to look again.
    pub fn nudge(&self) {
        self.tell(|_| ());
    }

    /// Registers a follower that has `delivered`; or, with `None`, one that will take a snapshot
    /// once the changelog has begun.
    pub fn follow(&self, view: RelationId, follower: &str, delivered: Option<Epoch>, bell: Option<Bell>) {
        let mut state = self.state.lock();
        state.abandoned.remove(&view);
        let followed = state.followed.entry(view).or_default();
        if let Some(epoch) = delivered {
            // Whoever has an epoch was promised a changelog from there.
            followed.logged_after = Some(followed.logged_after.map_or(epoch, |old| old.min(epoch)));
        }
        let delivered = delivered.unwrap_or(Epoch::ZERO);
        followed.followers.insert(
            follower.to_string(),
            Follower {
                delivered,
                read: None,
                bell,
            },
        );
    }

    /// Registers a follower that has `delivered`, if the changelog is complete from there; else
    /// nothing happens, and the answer is false.
    pub fn resume(&self, view: RelationId, follower: &str, delivered: Epoch) -> bool {
        let mut state = self.state.lock();
        let Some(followed) = state.followed.get_mut(&view) else {
            return false;
        };
        let kept = followed.logged_after.is_some_and(|after| after <= delivered);
        if kept {
            let (read, bell) = (None, None);
            followed
                .followers
                .insert(follower.to_string(), Follower { delivered, read, bell });
        }
        kept
    }

    /// A follower is a client and has been given what came up to an epoch: from here on not more than
    /// the limit waits for it.
    pub fn has_read(&self, view: RelationId, follower: &str, epoch: Epoch) {
        if let Some(followed) = self.state.lock().followed.get_mut(&view)
            && let Some(follower) = followed.followers.get_mut(follower)
        {
            follower.read = Some(epoch);
        }
    }

    /// Gives a view a limit of its own for what may wait for a client.
    pub fn set_limit(&self, view: RelationId, bytes: Option<u64>) {
        let mut state = self.state.lock();
        match bytes {
            Some(bytes) => state.limits.insert(view, bytes),
            None => state.limits.remove(&view),
        };
    }

    /// The limit that a client has passed, if it was taken out for that.
    pub fn outran(&self, follower: &str) -> Option<u64> {
        self.state.lock().outrun.get(follower).copied()
    }

    /// Up to where a client that has an epoch of a view reads on: to `last`, or less if that is more
    /// than it should be given at once.
    pub fn read_upto(&self, view: RelationId, after: Epoch, last: Epoch) -> Epoch {
        let state = self.state.lock();
        let bytes = PART_BYTES.min(state.limits.get(&view).copied().unwrap_or(self.limit));
        let backlog = state.followed.get(&view).map(|followed| &followed.backlog);
        backlog.map_or(last, |backlog| backlog.within(after, last, bytes))
    }

    /// Whether anybody follows a view.
    pub fn is_followed(&self, view: RelationId) -> bool {
        self.state.lock().followed.contains_key(&view)
    }

    /// Notes how far a follower has come.
    pub fn advance(&self, view: RelationId, follower: &str, delivered: Epoch) {
        if let Some(followed) = self.state.lock().followed.get_mut(&view)
            && let Some(follower) = followed.followers.get_mut(follower)
        {
            follower.delivered = delivered;
        }
    }

    /// A follower leaves. Without any the changelog ends.
    pub fn unfollow(&self, view: RelationId, follower: &str) {
        let mut state = self.state.lock();
        state.outrun.remove(follower);
        if let Some(followed) = state.followed.get_mut(&view) {
            followed.followers.remove(follower);
            if followed.followers.is_empty() {
                state.followed.remove(&view);
                state.abandoned.insert(view);
            }
        }
    }

    /// A follower leaves all that it follows.
    pub fn unfollow_all(&self, follower: &str) {
        let views: Vec<RelationId> = self.state.lock().followed.keys().copied().collect();
        views.into_iter().for_each(|view| self.unfollow(view, follower));
    }

    /// A view was dropped, and its changelog with it.
    pub fn forget(&self, view: RelationId) {
        self.tell(|state| {
            state.followed.remove(&view);
            state.abandoned.remove(&view);
            state.limits.remove(&view);
        });
    }

    /// Of `views`, those whose changes must be logged. Where a changelog begins now, it holds all
    /// that came after `last_checkpoint`.
    pub fn logged(&self, views: impl Iterator<Item = RelationId>, last_checkpoint: Epoch) -> BTreeSet<RelationId> {
        let mut state = self.state.lock();
        let mut logged = BTreeSet::new();
        let mut begun = Vec::new();
        for view in views {
            if let Some(followed) = state.followed.get_mut(&view) {
                if followed.logged_after.is_none() {
                    followed.logged_after = Some(last_checkpoint);
                    begun.push(view);
                }
                logged.insert(view);
            }
        }
        if !begun.is_empty() {
            state.news += 1;
            state.ring_followers(begun.into_iter());
            drop(state);
            self.changed.notify_all();
        }
        logged
    }

    /// The epoch after which a view's changelog is complete, if it is kept.
    pub fn logged_after(&self, view: RelationId) -> Option<Epoch> {
        let state = self.state.lock();
        state.followed.get(&view).and_then(|followed| followed.logged_after)
    }

    /// What may be cut off the changelogs: views, and the epoch up to which nobody needs them.
    /// Changelogs that nobody follows go up to the last epoch; whoever follows from now on begins
    /// after that.
    pub fn trims(&self) -> Vec<(RelationId, Epoch)> {
        let mut state = self.state.lock();
        let mut trims = Vec::new();
        for (view, followed) in &mut state.followed {
            let lowest = followed.followers.values().map(|follower| follower.delivered).min();
            if let (Some(lowest), Some(after)) = (lowest, &mut followed.logged_after)
                && lowest > *after
            {
                *after = lowest;
                trims.push((*view, lowest));
            }
        }
        let abandoned: Vec<RelationId> = state.abandoned.iter().copied().collect();
        for view in abandoned {
            if let Some(host) = state.host(view) {
                trims.push((view, host.epoch));
                state.abandoned.remove(&view);
            }
        }
        trims
    }

    /// Names of the followers of a view and the epochs they have.
    pub fn followers(&self, view: RelationId) -> Vec<(String, Epoch)> {
        let state = self.state.lock();
        let followers = state.followed.get(&view).map(|followed| followed.followers.iter());
        followers
            .into_iter()
            .flatten()
            .map(|(name, follower)| (name.clone(), follower.delivered))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dml_log_reaches_back_to_what_is_shown() {
        let publication = Publication::new(0);
        publication.publish_dml(DmlCommit(9));
        assert_eq!(publication.dml_needed_after(), DmlCommit(9));
        let tell = |pipeline, dml, dml_read| {
            let news = News {
                dml,
                dml_read,
                ..News::default()
            };
            publication.publish(PipelineId(pipeline), news);
        };
        tell(1, NO_TABLES, NO_TABLES);
        tell(2, DmlCommit(7), DmlCommit(7));
        // It reads no table, but follows a view that does, and is behind.
        tell(3, DmlCommit(5), NO_TABLES);
        assert_eq!(publication.dml_needed_after(), DmlCommit(5));
        tell(3, DmlCommit(8), NO_TABLES);
        assert_eq!(publication.dml_needed_after(), DmlCommit(7));
        publication.withdraw(PipelineId(2));
        assert_eq!(publication.dml_needed_after(), DmlCommit(8));
    }
}
