//! The reader thread of a source: keeps a bounded queue filled.
//!
//! One thread per source and pipeline opens the connector (again and again while it can't be
//! reached), reads, and rings the pipeline's bell. When the queue is full it stops reading: that
//! is all of back-pressure. A pipeline that goes by hand ([`super::stepped`]) reads inline instead.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;

use crate::connector::{self, Marks, Positions, SourceConnector, SourceReader, SplitId, SplitRead, Wanted};
use crate::relation::SourceSpec;
use crate::{Error, Result};

/// Reads that may wait in the queue.
const QUEUE_READS: usize = 8;
/// Rows asked of the connector at once.
pub const READ_ROWS: usize = 16_384;
/// How long a read waits for records, and so how long stopping may take.
const READ_TIMEOUT: Duration = Duration::from_millis(250);
/// The same while splits are held back, since more may be let go on at any time.
const HELD_TIMEOUT: Duration = Duration::from_millis(5);
/// First and longest pause after an error that may pass.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Wakes a pipeline. Ringing twice is ringing once.
#[derive(Clone)]
pub struct Bell {
    rings: Sender<()>,
    /// How often who waits out a failure was told to try again at once.
    hurries: Arc<AtomicU64>,
}

impl Bell {
    /// A bell and the ear that hears it.
    pub fn new() -> (Bell, Receiver<()>) {
        let (rings, receiver) = bounded(1);
        let hurries = Arc::default();
        (Bell { rings, hurries }, receiver)
    }

    /// Rings.
    pub fn ring(&self) {
        let _ = self.rings.try_send(());
    }

    /// Has the pipeline's readers that wait out a failure try again at once.
    pub fn hurry(&self) {
        self.hurries.fetch_add(1, Ordering::Release);
    }
}

/// What a reader thread tells.
pub enum ReaderEvent {
    /// The source is open at these positions.
    Opened(Positions),
    /// A read.
    Read(SplitRead),
    /// It can't be read at present: where its splits end is not known any more.
    Away,
    /// An error that will not pass by itself. The thread has ended.
    Failed(Error),
}

/// A running reader thread.
pub struct ReaderHandle {
    events: Receiver<ReaderEvent>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Splits can be held back.
    holds: bool,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    committed: Mutex<Option<Positions>>,
    held: Mutex<Option<BTreeSet<SplitId>>>,
    ends: Mutex<Positions>,
    trouble: Mutex<Option<String>>,
}

/// Where a reader begins.
#[derive(Clone)]
pub struct Opening {
    /// The source.
    pub spec: Arc<SourceSpec>,
    /// Positions already reached; splits not named begin by the source's start mode.
    pub from: Positions,
    /// What was read there before.
    pub marks: Marks,
    /// Splits of these that have ended.
    pub ended: BTreeSet<SplitId>,
    /// What is to be delivered.
    pub wanted: Wanted,
    /// Rows asked of the connector at once.
    pub read_rows: usize,
}

impl ReaderHandle {
    /// Starts the thread.
    pub fn spawn(opening: Opening, bell: Bell) -> Result<ReaderHandle> {
        let connector = connector::source(&opening.spec.connector, &opening.spec.value_schema())?;
        let holds = connector.holds();
        let (sender, events) = bounded(QUEUE_READS);
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name(format!("read-{}", opening.spec.name))
            .spawn({
                let shared = shared.clone();
                move || run(connector, opening, &sender, &shared, &bell)
            })
            .map_err(Error::internal)?;
        Ok(ReaderHandle {
            events,
            shared,
            thread: Some(thread),
            holds,
        })
    }

    /// The next event, if one waits.
    pub fn try_next(&self) -> Option<ReaderEvent> {
        self.events.try_recv().ok()
    }

    /// Whether an event waits.
    pub fn has_more(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether splits can be held back.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Has the connector give no more of these splits from its next read on, and of all others.
    pub fn hold(&self, splits: BTreeSet<SplitId>) {
        *self.shared.held.lock() = Some(splits);
    }

    /// Tells the connector, at its next read, that these positions are durable.
    pub fn committed(&self, positions: Positions) {
        *self.shared.committed.lock() = Some(positions);
    }

    /// Has the thread end after its present read.
    pub fn end(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Ends the thread and waits for it, so that its last committed positions are handed on.
    pub fn close(mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// Known ends of the splits.
    pub fn ends(&self) -> Positions {
        self.shared.ends.lock().clone()
    }

    /// The error that keeps the source from being read at present, if any.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().clone()
    }
}

/// Where a source is read.
#[derive(Clone)]
pub enum Place {
    /// On a thread of its own, which rings.
    Apart(Bell),
    /// By who asks for the next event.
    Inline,
}

/// An open source.
pub enum Reader {
    /// Read on a thread.
    Apart(ReaderHandle),
    /// Read when asked.
    Inline(Mutex<InlineReader>),
}

/// A source that is read by who asks for it.
pub struct InlineReader {
    rows: usize,
    reader: Box<dyn SourceReader>,
    waiting: VecDeque<ReaderEvent>,
}

impl Reader {
    /// Opens a source.
    pub fn open(opening: Opening, place: &Place) -> Result<Reader> {
        if let Place::Apart(bell) = place {
            return Ok(Reader::Apart(ReaderHandle::spawn(opening, bell.clone())?));
        }
        let connector = connector::source(&opening.spec.connector, &opening.spec.value_schema())?;
        let (reader, positions) = open_once(connector.as_ref(), &opening)?;
        Ok(Reader::Inline(Mutex::new(InlineReader {
            rows: opening.read_rows,
            reader,
            waiting: VecDeque::from([ReaderEvent::Opened(positions)]),
        })))
    }

    /// The next event, if one waits.
    pub fn try_next(&self) -> Option<ReaderEvent> {
        match self {
            Reader::Apart(handle) => handle.try_next(),
            Reader::Inline(inline) => inline.lock().next(),
        }
    }

    /// Whether an event is known to wait.
    pub fn has_more(&self) -> bool {
        match self {
            Reader::Apart(handle) => handle.has_more(),
            Reader::Inline(inline) => !inline.lock().waiting.is_empty(),
        }
    }

    /// Whether splits can be held back; read inline, they are not.
    pub fn holds(&self) -> bool {
        matches!(self, Reader::Apart(handle) if handle.holds())
    }

    /// Has the connector give no more of these splits, and of all others.
    pub fn hold(&self, splits: BTreeSet<SplitId>) {
        if let Reader::Apart(handle) = self {
            handle.hold(splits);
        }
    }

    /// Tells the connector that these positions are durable.
    pub fn committed(&self, positions: Positions) {
        match self {
            Reader::Apart(handle) => handle.committed(positions),
            Reader::Inline(inline) => inline.lock().reader.committed(&positions),
        }
    }

    /// Has it end, without waiting for that.
    pub fn end(&self) {
        if let Reader::Apart(handle) = self {
            handle.end();
        }
    }

    /// Ends it and waits for that.
    pub fn close(self) {
        if let Reader::Apart(handle) = self {
            handle.close();
        }
    }

    /// Known ends of the splits.
    pub fn ends(&self) -> Positions {
        match self {
            Reader::Apart(handle) => handle.ends(),
            Reader::Inline(inline) => inline.lock().reader.ends(),
        }
    }

    /// The error that keeps the source from being read at present, if any.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Reader::Apart(handle) => handle.trouble(),
            Reader::Inline(_) => None,
        }
    }
}

impl InlineReader {
    fn next(&mut self) -> Option<ReaderEvent> {
        if self.waiting.is_empty() {
            match self.reader.read(self.rows, Duration::ZERO) {
                Ok(reads) => self.waiting.extend(reads.into_iter().map(ReaderEvent::Read)),
                Err(error) => return Some(ReaderEvent::Failed(error)),
            }
        }
        self.waiting.pop_front()
    }
}

impl Drop for ReaderHandle {
    /// Nobody waits for the thread.
    fn drop(&mut self) {
        self.end();
    }
}

fn run(
    connector: Arc<dyn SourceConnector>,
    opening: Opening,
    sender: &Sender<ReaderEvent>,
    shared: &Shared,
    bell: &Bell,
) {
    let Some((mut reader, positions)) = open(connector.as_ref(), &opening, sender, shared, bell) else {
        return;
    };
    if !send(sender, ReaderEvent::Opened(positions), shared, bell) {
        return;
    }
    let mut pause = PAUSE.0;
    let mut timeout = READ_TIMEOUT;
    while !shared.stop.load(Ordering::Acquire) {
        if let Some(held) = shared.held.lock().take() {
            reader.hold(&held);
            timeout = if held.is_empty() { READ_TIMEOUT } else { HELD_TIMEOUT };
        }
        if let Some(positions) = shared.committed.lock().take() {
            reader.committed(&positions);
        }
        match reader.read(opening.read_rows, timeout) {
            Ok(reads) => {
                pause = PAUSE.0;
                if !reads.is_empty() && shared.trouble.lock().take().is_some() {
                    bell.ring();
                }
                *shared.ends.lock() = reader.ends();
                for read in reads {
                    if !send(sender, ReaderEvent::Read(read), shared, bell) {
                        return;
                    }
                }
            }
            Err(error) if error.may_pass() => {
                if !send(sender, ReaderEvent::Away, shared, bell) {
                    return;
                }
                wait_out(&error, &opening.spec, &mut pause, shared, bell);
            }
            Err(error) => {
                send(sender, ReaderEvent::Failed(error), shared, bell);
                return;
            }
        }
    }
    if let Some(positions) = shared.committed.lock().take() {
        reader.committed(&positions);
    }
}

/// Opens the source, and says where it begins.
fn open_once(connector: &dyn SourceConnector, opening: &Opening) -> Result<(Box<dyn SourceReader>, Positions)> {
    let rest = connector.without(&opening.ended);
    let connector = rest.as_deref().unwrap_or(connector);
    let mut positions = connector.resolve(&opening.spec.start)?;
    positions.extend(opening.from.iter().map(|(split, at)| (split.clone(), *at)));
    let until = connector.resolve_bound(&opening.spec.bound)?;
    connector.recognise(&opening.marks)?;
    let reader = connector.open(&positions, until.as_ref(), &opening.wanted)?;
    Ok((reader, positions))
}

/// Opens the source, waiting for as long as it can't be reached.
fn open(
    connector: &dyn SourceConnector,
    opening: &Opening,
    sender: &Sender<ReaderEvent>,
    shared: &Shared,
    bell: &Bell,
) -> Option<(Box<dyn SourceReader>, Positions)> {
    let mut pause = PAUSE.0;
    while !shared.stop.load(Ordering::Acquire) {
        match open_once(connector, opening) {
            Ok(opened) => {
                *shared.trouble.lock() = None;
                return Some(opened);
            }
            Err(error) if error.may_pass() => wait_out(&error, &opening.spec, &mut pause, shared, bell),
            Err(error) => {
                send(sender, ReaderEvent::Failed(error), shared, bell);
                return None;
            }
        }
    }
    None
}

fn wait_out(error: &Error, spec: &SourceSpec, pause: &mut Duration, shared: &Shared, bell: &Bell) {
    let text = error.to_string();
    let news = shared
        .trouble
        .lock()
        .replace(text.clone())
        .is_none_or(|old| old != text);
    if news {
        tracing::warn!(source = spec.name, "{text}; trying again");
        bell.ring();
    }
    let hurries = || bell.hurries.load(Ordering::Acquire);
    let before = hurries();
    let mut left = *pause;
    *pause = (*pause * 2).min(PAUSE.1);
    while left > Duration::ZERO && !shared.stop.load(Ordering::Acquire) {
        if hurries() != before {
            *pause = PAUSE.0;
            return;
        }
        let nap = left.min(Duration::from_millis(50));
        std::thread::sleep(nap);
        left -= nap;
    }
}

/// Sends, waiting for room; false when the reader is to stop.
fn send(sender: &Sender<ReaderEvent>, event: ReaderEvent, shared: &Shared, bell: &Bell) -> bool {
    let mut event = event;
    loop {
        if shared.stop.load(Ordering::Acquire) {
            return false;
        }
        event = match sender.try_send(event) {
            Ok(()) => {
                bell.ring();
                return true;
            }
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(back)) => back,
        };
        match sender.send_timeout(event, Duration::from_millis(50)) {
            Ok(()) => {
                bell.ring();
                return true;
            }
            Err(crossbeam_channel::SendTimeoutError::Timeout(back)) => event = back,
            Err(crossbeam_channel::SendTimeoutError::Disconnected(_)) => return false,
        }
    }
}
