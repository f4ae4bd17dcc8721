//! Plays the events as if they happened now, only quicker: a clock of event time runs, and what
//! has happened by then is written to Kafka.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weir_server::broker::{Record, TopicWriter};

use super::data::Event;

/// How often it looks what is due.
const TICK: Duration = Duration::from_millis(20);

/// A running player; it ends when this is dropped.
pub struct Player {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    minute: AtomicU32,
    done: AtomicBool,
    stop: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Player {
    /// Begins to play, so many minutes of event time in a second.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn start(events: Vec<Event>, writer: TopicWriter, minutes_per_second: u32) -> std::io::Result<Player> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = thread::Builder::new().name("player".to_string()).spawn(move || {
            if let Err(error) = play(&events, &writer, minutes_per_second, &theirs) {
                *theirs.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
            theirs.done.store(true, Ordering::Release);
        })?;
        Ok(Player {
            shared,
            thread: Some(thread),
        })
    }

    /// The clock of event time, in minutes since January began.
    pub fn minute(&self) -> u32 {
        self.shared.minute.load(Ordering::Relaxed)
    }

    /// True when everything is written, or writing has failed.
    pub fn is_done(&self) -> bool {
        self.shared.done.load(Ordering::Acquire)
    }

    /// Why it stopped early.
    pub fn failure(&self) -> Option<String> {
        self.shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed already.
            let _ = thread.join();
        }
    }
}

fn play(events: &[Event], writer: &TopicWriter, speed: u32, shared: &Shared) -> weir_server::Result<()> {
    let start = Instant::now();
    let mut rest = events;
    while !rest.is_empty() && !shared.stop.load(Ordering::Relaxed) {
        let minute = (start.elapsed().as_secs_f64() * f64::from(speed)) as u32;
        let (due, later) = rest.split_at(rest.partition_point(|event| event.minute <= minute));
        for event in due {
            let record = Record {
                key: Some(event.key.as_bytes()),
                value: Some(event.value.as_bytes()),
                ..Record::default()
            };
            writer.send(event.topic.name(), &record)?;
        }
        writer.flush()?;
        rest = later;
        shared.minute.store(minute, Ordering::Relaxed);
        thread::sleep(TICK);
    }
    Ok(())
}
