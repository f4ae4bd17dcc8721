//! A subscriber of a view, over crashes: whatever it was sent must sum up to the view's rows.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::StreamExt;
use weir_server::{Body, RowStream};

use super::{Rig, Trouble, runtime};
use crate::rows::{self, Bag};

/// How long one look at a stream waits.
const GLANCE: Duration = Duration::from_millis(20);

/// What a subscriber of one view knows.
#[derive(Default)]
pub struct Watch {
    /// The view's rows when they were last agreed on.
    agreed: Bag,
    /// The last epoch in them.
    epoch: Option<i64>,
    stream: Option<RowStream>,
    /// What the stream's changes are added to: nothing, for a stream that began with the view's
    /// rows.
    base: Bag,
    /// What has come since rows were last agreed on.
    news: Vec<RecordBatch>,
}

impl Watch {
    /// The stream has ended with its session. What came since rows were last agreed on may be half
    /// of an epoch: it is asked for again.
    pub(super) fn interrupt(&mut self) {
        self.stream = None;
        self.news.clear();
    }

    /// The sum of all that came, and the last epoch in it.
    fn sum(&self) -> Result<(Bag, Option<i64>), Trouble> {
        let (mut bag, mut last) = (self.base.clone(), None);
        let number = |text: &str| {
            let parsed = text.parse::<i64>();
            parsed.map_err(|_| Trouble::Wrong(format!("'{text}' is no number of an epoch or a weight")))
        };
        for mut row in self.news.iter().flat_map(rows::of_batch) {
            let weight = number(&row.pop().unwrap_or_default())?;
            let epoch = number(&row.pop().unwrap_or_default())?;
            if last.or(self.epoch).is_some_and(|last| epoch < last) {
                return Err(Trouble::Wrong(format!("epoch {epoch} came after {last:?}")));
            }
            last = Some(epoch);
            rows::add(&mut bag, row, weight);
        }
        Ok((bag, last.or(self.epoch)))
    }
}

impl Rig {
    /// What has changed in a view since this was last called, by a subscription; the first call
    /// gives its rows. Fails if the sum of what the subscription sent does not become the view's
    /// rows. Call it when everything is settled.
    pub fn changes(&mut self, view: &str) -> Result<Bag, Trouble> {
        let mut watch = self.watches.remove(view).unwrap_or_default();
        let outcome = self.follow(view, &mut watch);
        let changes = match outcome {
            Ok((content, epoch)) => {
                let changes = rows::difference(&content, &watch.agreed);
                watch.news.clear();
                watch.base = content.clone();
                (watch.agreed, watch.epoch) = (content, epoch);
                Ok(changes)
            }
            Err(trouble) => {
                watch.interrupt();
                Err(trouble)
            }
        };
        self.watches.insert(view.to_string(), watch);
        changes
    }

    /// Reads the subscription until the sum of its changes is the view's rows.
    fn follow(&mut self, view: &str, watch: &mut Watch) -> Result<(Bag, Option<i64>), Trouble> {
        let present = rows::bag(self.rows(&format!("SELECT * FROM \"{view}\""))?);
        if watch.stream.is_none() {
            self.subscribe(view, watch)?;
        }
        let begun = Instant::now();
        loop {
            let (content, epoch) = watch.sum()?;
            if content == present {
                return Ok((content, epoch));
            }
            if self.has_died() {
                return Err(Trouble::Died);
            }
            if begun.elapsed() > self.settings.patience {
                let wrong = rows::difference(&content, &present);
                return Err(Trouble::Wrong(format!(
                    "the changes of {view} don't sum up to its rows; they have too much (+) or lack (-):\n{}",
                    rows::change_lines(&wrong).join("\n")
                )));
            }
            self.receive(view, watch)?;
        }
    }

    /// Goes on behind the last epoch, where the changes since then are still kept; else anew, with
    /// the view's rows.
    fn subscribe(&mut self, view: &str, watch: &mut Watch) -> Result<(), Trouble> {
        if let Some(epoch) = watch.epoch
            && let Ok(stream) = self.open_subscription(&format!("SUBSCRIBE TO \"{view}\" AS OF {epoch}"))
        {
            watch.stream = Some(stream);
            watch.base = watch.agreed.clone();
            return Ok(());
        }
        watch.stream = Some(self.open_subscription(&format!("SUBSCRIBE TO \"{view}\""))?);
        watch.base = Bag::new();
        Ok(())
    }

    fn open_subscription(&mut self, sql: &str) -> Result<RowStream, Trouble> {
        let session = self.session().clone();
        let answer = self.wait(session.run(sql))?;
        match answer.map_err(Trouble::Refused)?.body {
            Body::Push(rows, _) => Ok(rows),
            other => Err(Trouble::Wrong(format!("{sql} answered {other:?}"))),
        }
    }

    /// Takes what the subscription has to give by now.
    fn receive(&mut self, view: &str, watch: &mut Watch) -> Result<(), Trouble> {
        let Some(stream) = &mut watch.stream else {
            return Err(Trouble::Wrong(format!("the subscription of {view} ended by itself")));
        };
        let next = runtime().block_on(async { tokio::time::timeout(GLANCE, stream.stream.next()).await });
        match next {
            Err(_) => {}
            Ok(Some(Ok(batch))) => watch.news.push(batch),
            Ok(_) if self.has_died() => return Err(Trouble::Died),
            Ok(Some(Err(error))) => return Err(Trouble::Refused(error)),
            Ok(None) => watch.stream = None,
        }
        Ok(())
    }
}
