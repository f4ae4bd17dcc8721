//! When everything is taken in, by what is durable: no clock, no guess.

use std::collections::{BTreeMap, BTreeSet};

use weir_engine::graph::NodeKind;
use weir_engine::pipeline::{LagRow, ViewState};
use weir_engine::relation::RelationId;
use weir_sql::statement::RelationKind;
use weir_state::pipelines::{self, PipelineRecord, SplitProgress};
use weir_state::{Epoch, changelog};

use super::{Rig, Trouble};
use crate::rows::Row;

/// The pipeline of each view.
type Hosts<'a> = BTreeMap<RelationId, &'a PipelineRecord>;

fn hosts(records: &[PipelineRecord]) -> Hosts<'_> {
    let mut hosts = Hosts::new();
    for record in records {
        hosts.extend(record.views.iter().map(|view| (*view, record)));
    }
    hosts
}

impl Rig {
    /// Waits until every view that runs has taken in, and committed, all that was fed: each topic
    /// to its end, the log of DML, and the views of other pipelines; and until sinks have delivered
    /// it. Views that are paused, or were seen to fail, are not waited for.
    ///
    /// # Errors
    /// If another view fails.
    pub fn settle(&mut self) -> Result<(), Trouble> {
        let mut failure = None;
        self.wait_until(|| {
            failure = self.unexpected_failure();
            if failure.is_some() { Ok(()) } else { self.settled() }
        })?;
        match failure {
            // When the store dies, everything fails.
            Some(_) if self.has_died() => Err(Trouble::Died),
            Some(failure) => Err(Trouble::Wrong(failure)),
            None => Ok(()),
        }
    }

    fn unexpected_failure(&self) -> Option<String> {
        let rows = self.instance().engine().pipelines();
        let failed = rows.into_iter().find_map(|row| match row.state {
            ViewState::Failed { cause, .. } if !self.failed.contains(&row.name) => Some((row.name, cause)),
            _ => None,
        });
        failed.map(|(name, cause)| format!("{name} has failed: {}", self.clean(&cause)))
    }

    /// Waits until views that were seen to fail have met their failure again, or have got over it.
    pub(super) fn fail_again(&mut self) -> Result<(), Trouble> {
        self.wait_until(|| {
            let records = pipelines::load(self.beneath.as_ref()).map_err(|error| error.to_string())?;
            let (hosts, catalog) = (hosts(&records), self.instance().catalog());
            for name in &self.failed {
                let view = catalog.find(name).map(|relation| relation.id);
                let runs = view
                    .filter(|view| !self.is_stopped(*view))
                    .and_then(|view| hosts.get(&view));
                runs.map_or(Ok(()), |record| self.has_taken_all(record, &hosts))?;
            }
            Ok(())
        })
    }

    /// Waits until every view that runs has taken in the log of DML. A session's SELECT waits for its
    /// own writes only, and one that begins with a new life has none.
    pub(super) fn take_in_dml(&mut self) -> Result<(), Trouble> {
        self.wait_until(|| {
            let records = pipelines::load(self.beneath.as_ref()).map_err(|error| error.to_string())?;
            let hosts = hosts(&records);
            let stopped = |record: &PipelineRecord| record.views.iter().all(|view| self.is_stopped(*view));
            let mut running = records.iter().filter(|record| !stopped(record));
            running.try_for_each(|record| self.has_taken_dml(record, &hosts))
        })
    }

    /// Whether a view is paused or failed, or rests on one that is. (At a start a view may also wait
    /// for its turn.)
    fn is_stopped(&self, view: RelationId) -> bool {
        match self.instance().engine().view_state(view) {
            Some(ViewState::Paused | ViewState::Failed { .. }) | None => true,
            Some(ViewState::Waiting { on }) => {
                let catalog = self.instance().catalog();
                catalog.find(&on).is_some_and(|read| self.is_stopped(read.id))
            }
            Some(ViewState::Running | ViewState::Attaching { .. }) => false,
        }
    }

    fn settled(&self) -> Result<(), String> {
        let engine = self.instance().engine();
        let records = pipelines::load(self.beneath.as_ref()).map_err(|error| error.to_string())?;
        let hosts = hosts(&records);
        let mut running = BTreeSet::new();
        for row in engine.pipelines() {
            match row.state {
                ViewState::Running => {
                    let host = hosts.get(&row.view);
                    let host = host.ok_or_else(|| format!("the first epoch of {}", row.name))?;
                    running.insert(host.id);
                }
                ViewState::Attaching { progress } => return Err(format!("{} to attach: {progress}", row.name)),
                _ if self.is_stopped(row.view) => {}
                _ => return Err(format!("{} to be started", row.name)),
            }
        }
        for record in records.iter().filter(|record| running.contains(&record.id)) {
            self.has_taken_all(record, &hosts)?;
        }
        self.sinks_delivered(&hosts)?;
        self.is_told()
    }

    /// What a pipeline says of itself follows what it does, within some milliseconds.
    fn is_told(&self) -> Result<(), String> {
        let lag = self.instance().engine().lag();
        let untold = |row: &&LagRow| match row.end {
            Some(end) => row.position < end,
            // A reader that was just opened has yet to ask.
            None => self.is_in_reach(row.source),
        };
        match lag.iter().find(untold) {
            Some(row) => Err(format!("weir.lag to say that {} is read", row.name)),
            None => Ok(()),
        }
    }

    /// The topic of a memory source, by the name it has in scripts.
    fn topic_of(&self, source: RelationId) -> Option<String> {
        let spec = self.instance().engine().source(source)?;
        let topic = spec.connector.options.get("topic")?.strip_suffix(&self.suffix)?;
        self.topics.contains_key(topic).then(|| topic.to_string())
    }

    /// Whether all views that read a topic say that it is out of reach.
    pub(super) fn is_missed(&self, topic: &str) -> Result<(), String> {
        let catalog = self.instance().catalog();
        for row in self.instance().engine().pipelines() {
            let graph = catalog.by_id(row.view).and_then(|view| view.graph());
            let sources = graph.map(|graph| graph.relations()).unwrap_or_default();
            let reads = sources
                .into_iter()
                .any(|source| self.topic_of(source).as_deref() == Some(topic));
            if reads && matches!(row.state, ViewState::Running) && row.trouble.is_none() {
                return Err(format!("{} to miss {topic}", row.name));
            }
        }
        Ok(())
    }

    /// Whether a source is a memory topic that can be read at present.
    fn is_in_reach(&self, source: RelationId) -> bool {
        let topic = self.topic_of(source);
        topic.is_some_and(|topic| !self.away.contains(&topic))
    }

    /// Moves the clock on until the topics that are to be idle are, and what follows from that is durable.
    pub(super) fn be_idle(&mut self) -> Result<(), Trouble> {
        self.wait_until(|| self.is_idle())
    }

    fn is_idle(&self) -> Result<(), String> {
        if self.idle.is_empty() {
            return Ok(());
        }
        let engine = self.instance().engine();
        let (lag, views, catalog) = (engine.lag(), engine.pipelines(), self.instance().catalog());
        for view in views.iter().filter(|row| !self.is_stopped(row.view)) {
            let graph = catalog.by_id(view.view).and_then(|relation| relation.graph());
            for source in graph.map(|graph| graph.relations()).unwrap_or_default() {
                let Some(topic) = self.topic_of(source).filter(|topic| self.idle.contains(topic)) else {
                    continue;
                };
                // Without event time there is nothing that an idle one would hold back, or be told for.
                let Some(spec) = engine.source(source).filter(|spec| spec.watermark.is_some()) else {
                    continue;
                };
                let of_view = |row: &&LagRow| row.source == source && Some(row.pipeline) == view.pipeline;
                let splits = lag.iter().filter(of_view);
                if splits.clone().count() == 0 || splits.clone().any(|row| !row.idle) {
                    self.settings
                        .clock
                        .set(self.settings.clock.now_us() + spec.idle_timeout_ms as i64 * 1000);
                    engine.wake();
                    return Err(format!("{topic} to be idle for {}", view.name));
                }
            }
        }
        let records = pipelines::load(self.beneath.as_ref()).map_err(|error| error.to_string())?;
        let hosts = hosts(&records);
        for view in &views {
            let nodes = catalog
                .by_id(view.view)
                .and_then(|relation| Some(relation.graph()?.nodes.len()));
            let stored = hosts.get(&view.view).zip(nodes).and_then(|(record, nodes)| {
                record.extra["watermarks"][format!("{}:{}", view.view, nodes - 1)].as_i64()
            });
            if stored < view.watermark_us {
                return Err(format!("the watermark of {} to be durable", view.name));
            }
        }
        Ok(())
    }

    fn has_taken_all(&self, record: &PipelineRecord, hosts: &Hosts) -> Result<(), String> {
        self.has_taken_dml(record, hosts)?;
        if weir_engine::pipeline::due_us(record).is_some_and(|due_us| due_us <= self.settings.clock.now_us()) {
            return Err(format!("pipeline {} to do what is due by the clock", record.id));
        }
        for source in self.read_by(record, RelationKind::Source) {
            let splits = record.positions.get(&source.to_string());
            self.is_read(source, splits.unwrap_or(&BTreeMap::new()))?;
        }
        Ok(())
    }

    /// Whether a pipeline has taken in the log of DML, where it reads tables, and the views of others.
    fn has_taken_dml(&self, record: &PipelineRecord, hosts: &Hosts) -> Result<(), String> {
        let dml = self.instance().engine().last_dml();
        // How far it has read the log itself. `record.dml` may stay behind: where the views that it
        // follows took in a commit that changed nothing in them, no epoch comes of it.
        let read = weir_engine::pipeline::dml_read(record);
        if read < dml && !self.read_by(record, RelationKind::Table).is_empty() {
            return Err(format!("pipeline {} to take in DML commit {dml}", record.id));
        }
        for (view, taken) in &record.changelogs {
            let epoch = hosts.get(view).map_or(Epoch::ZERO, |host| host.epoch);
            // Epochs in which the view did not change are no reason for one in its followers.
            let left = changelog::read(self.beneath.as_ref(), *view, *taken, epoch);
            if epoch > *taken && left.map_err(|error| error.to_string())?.next().is_some() {
                return Err(format!("pipeline {} to follow view {view} to epoch {epoch}", record.id));
            }
            self.has_taken_watermark(record, *view, hosts)?;
        }
        Ok(())
    }

    /// Whether a pipeline knows how far the event time of a view of another has come.
    fn has_taken_watermark(&self, record: &PipelineRecord, view: RelationId, hosts: &Hosts) -> Result<(), String> {
        let catalog = self.instance().catalog();
        let told = |record: &PipelineRecord, of: RelationId, node: usize| {
            record.extra["watermarks"][format!("{of}:{node}")].as_i64()
        };
        let graph = |of: RelationId| catalog.by_id(of).and_then(|relation| relation.graph().cloned());
        let (Some(host), Some(followed)) = (hosts.get(&view), graph(view)) else {
            return Ok(());
        };
        if !followed.output().has_watermark {
            return Ok(());
        }
        let watermark = told(host, view, followed.nodes.len() - 1);
        for reader in &record.views {
            let nodes = graph(*reader).map(|graph| graph.nodes).unwrap_or_default();
            for (place, node) in nodes.iter().enumerate() {
                let reads = matches!(&node.kind, NodeKind::Input(input) if input.relation == view);
                if reads && told(record, *reader, place) < watermark {
                    return Err(format!("pipeline {} to know the watermark of view {view}", record.id));
                }
            }
        }
        Ok(())
    }

    /// The relations of a kind that a pipeline's views read, whether they are opened yet or not.
    fn read_by(&self, record: &PipelineRecord, kind: RelationKind) -> BTreeSet<RelationId> {
        let catalog = self.instance().catalog();
        let views = record.views.iter().filter_map(|view| catalog.by_id(*view));
        let graphs = views.filter_map(|view| view.graph());
        let reads: BTreeSet<RelationId> = graphs.flat_map(|graph| graph.relations()).collect();
        let is_wanted = |id: &RelationId| catalog.by_id(*id).is_some_and(|relation| relation.kind == kind);
        reads.into_iter().filter(is_wanted).collect()
    }

    fn is_read(&self, id: RelationId, splits: &BTreeMap<String, SplitProgress>) -> Result<(), String> {
        let Some(spec) = self.instance().engine().source(id) else {
            return Ok(());
        };
        let Some(topic) = self.topic_of(id) else {
            return self.is_read_elsewhere(id, &spec.name, splits);
        };
        let ends = &self.topics[&topic];
        for (partition, end) in ends.iter().enumerate() {
            let progress = splits.get(&partition.to_string()).copied().unwrap_or_default();
            if progress.position < *end && !progress.ended {
                return Err(format!(
                    "partition {partition} of {} to be read from {} to {end}",
                    spec.name, progress.position
                ));
            }
            if self.ended.contains(&topic) && !progress.ended {
                return Err(format!("partition {partition} of {} to end", spec.name));
            }
        }
        Ok(())
    }

    /// Files and generators: read once, to their end; or as far as they are known to reach.
    fn is_read_elsewhere(
        &self,
        source: RelationId,
        name: &str,
        splits: &BTreeMap<String, SplitProgress>,
    ) -> Result<(), String> {
        let lag = self.instance().engine().lag();
        let end = |split: &str| {
            let mut of_split = lag.iter().filter(|row| row.source == source && row.split == split);
            of_split.find_map(|row| row.end)
        };
        if splits.is_empty() {
            return Err(format!("{name} to be opened"));
        }
        for (split, progress) in splits {
            if !progress.ended && end(split).is_none_or(|end| progress.position < end) {
                return Err(format!("split {split} of {name} to be read to its end"));
            }
        }
        Ok(())
    }

    fn sinks_delivered(&self, hosts: &Hosts) -> Result<(), String> {
        use weir_sql::catalog::Definition;
        for relation in self.instance().catalog().iter() {
            let Definition::Sink(sink) = &relation.definition else {
                continue;
            };
            let status = self.instance().engine().sink_status(relation.id);
            let (Some(status), Some(host)) = (status, hosts.get(&sink.follow)) else {
                continue;
            };
            if status.delivered < host.epoch {
                return Err(format!(
                    "sink {} to deliver epoch {}: {status:?}",
                    relation.name, host.epoch
                ));
            }
        }
        Ok(())
    }

    /// Waits until a view has failed, and says why.
    pub fn failure(&mut self, view: &str) -> Result<String, Trouble> {
        let mut found = String::new();
        self.wait_until(|| {
            let rows = self.instance().engine().pipelines();
            let row = rows.into_iter().find(|row| row.name == view);
            match row.map(|row| row.state) {
                Some(ViewState::Failed { cause, .. }) => {
                    found = self.clean(&cause);
                    Ok(())
                }
                Some(state) => Err(format!("{view} to fail; it is {state:?}")),
                None => Err(format!("a view {view}")),
            }
        })?;
        self.failed.insert(view.to_string());
        Ok(found)
    }

    /// Checks views against the batch answer of their own queries, over what was fed so far, and
    /// the sum of their changes against their rows. Without names: all that run.
    pub fn verify(&mut self, names: &[String]) -> Result<(), Trouble> {
        use weir_sql::catalog::Definition;
        use weir_sql::statement::Statement;
        self.settle()?;
        let running: BTreeSet<String> = self
            .instance()
            .engine()
            .pipelines()
            .into_iter()
            .map(|row| row.name)
            .collect();
        let mut wanted = Vec::new();
        for relation in self.instance().catalog().iter() {
            let asked_for = names.contains(&relation.name) || (names.is_empty() && running.contains(&relation.name));
            if !asked_for || !matches!(relation.definition, Definition::MaterializedView(_)) {
                continue;
            }
            let parsed = weir_sql::parse::parse_one(&relation.sql);
            if let Ok(Statement::CreateMaterializedView(view)) = parsed {
                wanted.push((relation.name.clone(), view.query.text.clone()));
            }
        }
        for (name, query) in wanted {
            self.compare(&name, &query)?;
        }
        Ok(())
    }

    /// Settles; fails where a view is not the batch answer of a query.
    pub fn equal(&mut self, view: &str, query: &str) -> Result<(), Trouble> {
        self.settle()?;
        self.compare(view, query)
    }

    /// The time that it is, in SQL: a SELECT looks at the machine's clock.
    fn now(&self) -> String {
        let us = self.settings.clock.now_us();
        format!("(TIMESTAMP '1970-01-01 00:00:00' + INTERVAL '{us} microseconds')")
    }

    fn compare(&mut self, view: &str, query: &str) -> Result<(), Trouble> {
        let kept = self.rows(&format!("SELECT * FROM \"{view}\""))?;
        let asked = match self.settings.clock.is_fixed() {
            true => self.rows(&query.replace("now()", &self.now()))?,
            false => self.rows(query)?,
        };
        agree(view, kept, asked)?;
        self.changes(view)?;
        Ok(())
    }
}

/// Fails where a view's rows are not those of its query.
fn agree(name: &str, kept: Vec<Row>, asked: Vec<Row>) -> Result<(), Trouble> {
    use crate::rows::{bag, change_lines, difference, without_roundings};
    let wrong = without_roundings(difference(&bag(kept), &bag(asked)));
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Trouble::Wrong(format!(
        "{name} is not the answer of its query; it has too much (+) or lacks (-):\n{}",
        change_lines(&wrong).join("\n")
    )))
}
