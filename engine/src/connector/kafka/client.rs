//! A librdkafka consumer as Weir uses it: partitions assigned by hand, records taken in batches,
//! errors in the words of the event that explains them.
//!
//! A call to librdkafka that fails because of the network or a wrong password only says that it
//! timed out. What really happened comes as an *error event*, on the client's main queue. So every
//! client keeps the most telling event since it last worked ([`Context`]), and errors are made
//! from that. Records come on the consumer queue, which is read apart from the main queue.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::bindings as native;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::types::{RDKafkaRespErr, RDKafkaType};
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};

use super::properties::config_error;
use crate::{Error, Result};

/// What a client has heard of its connection.
#[derive(Default)]
pub(super) struct Context {
    events: Mutex<Events>,
}

#[derive(Default)]
struct Events {
    /// Something failed since the connection was last seen to work.
    trouble: bool,
    /// The most telling event since then.
    words: Option<(Weight, String)>,
    /// An error after which the client does nothing any more.
    fatal: Option<String>,
}

/// How much an event explains.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Summary,
    Connection,
    Final,
}

impl Context {
    /// True if something failed since [`Context::works`] was last called.
    pub(super) fn in_trouble(&self) -> bool {
        self.events.lock().trouble
    }

    /// Notes that the connection was seen to work.
    pub(super) fn works(&self) {
        let mut events = self.events.lock();
        events.trouble = false;
        events.words = None;
    }

    /// The most telling event since the connection last worked.
    pub(super) fn words(&self) -> Option<String> {
        self.events.lock().words.as_ref().map(|(_, words)| words.clone())
    }

    /// The error that has ended the client, if there was one.
    pub(super) fn fatal(&self) -> Option<String> {
        self.events.lock().fatal.clone()
    }

    /// True if waiting won't help: a wrong password, a certificate that isn't trusted.
    fn hopeless(&self) -> bool {
        let events = self.events.lock();
        events.fatal.is_some() || matches!(events.words, Some((Weight::Final, _)))
    }

    /// True if there was an error event of a connection, or of all of them.
    fn unreachable(&self) -> bool {
        self.events.lock().words.is_some()
    }

    fn note(&self, code: c_int, reason: &str) {
        let weight = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int {
            Weight::Summary
        } else if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTHENTICATION as c_int
            || code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__SSL as c_int
        {
            Weight::Final
        } else {
            Weight::Connection
        };
        let mut events = self.events.lock();
        events.trouble = true;
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__FATAL as c_int {
            events.fatal = Some(plain(reason));
        }
        if events.words.as_ref().is_none_or(|(known, _)| *known <= weight) {
            events.words = Some((weight, plain(reason)));
        }
    }
}

/// An event's reason without librdkafka's remarks on its own state.
fn plain(reason: &str) -> String {
    let end = reason.find(" (after ").unwrap_or(reason.len());
    let words = reason[..end].trim();
    // "sasl_ssl://localhost:9092/bootstrap: Connect to …": protocol and inner name tell nothing.
    match words.split_once(": ") {
        Some((broker, rest)) if broker.contains('/') && !broker.contains(' ') => {
            let address = broker.rsplit("://").next().unwrap_or(broker);
            let address = address.split('/').next().unwrap_or(address);
            format!("{address}: {rest}")
        }
        _ => words.to_string(),
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level as c_int, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        self.note(code as c_int, reason);
    }
}

fn log_line(level: c_int, facility: &str, line: &str) {
    // Failed connections become errors of those who use the client; no need to say it twice.
    if level <= 4 && facility != "FAIL" && facility != "ERROR" {
        tracing::warn!(target: "kafka", "{facility}: {line}");
    } else {
        tracing::debug!(target: "kafka", "{facility}: {line}");
    }
}

/// # Safety
/// `text` is null or ends with a zero and outlives the result.
unsafe fn text<'a>(text: *const c_char) -> std::borrow::Cow<'a, str> {
    if text.is_null() {
        return "".into();
    }
    // SAFETY: as promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

extern "C" fn on_error(_: *mut native::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: `Client` sets the opaque pointer to its context and outlives its callbacks.
    let (context, reason) = unsafe { (&*(opaque as *const Context), text(reason)) };
    context.note(code, &reason);
}

extern "C" fn on_log(_: *const native::rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    // SAFETY: librdkafka gives strings that live as long as the call.
    let (facility, line) = unsafe { (text(facility), text(line)) };
    log_line(level, &facility, &line);
}

extern "C" fn on_commit(
    _: *mut native::rd_kafka_t,
    code: RDKafkaRespErr,
    _: *mut native::rd_kafka_topic_partition_list_t,
    _: *mut c_void,
) {
    if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && code != RDKafkaRespErr::RD_KAFKA_RESP_ERR__NO_OFFSET {
        // Group offsets serve lag tools only; Weir's own positions are in its checkpoints.
        tracing::warn!(target: "kafka", "committing group offsets: {}", describe(code));
    }
}

/// librdkafka's description of a code.
pub(super) fn describe(code: RDKafkaRespErr) -> String {
    // SAFETY: the result is a static string.
    unsafe { text(native::rd_kafka_err2str(code)) }.into_owned()
}

/// librdkafka's description of a code.
pub(super) fn code_words(code: RDKafkaErrorCode) -> String {
    RDKafkaRespErr::try_from(code as i32).map_or_else(|_| code.to_string(), describe)
}

/// What a failed call says, as short as can be.
pub(super) fn words(error: &KafkaError) -> String {
    match (error, error.rdkafka_error_code()) {
        (KafkaError::AdminOp(code), _) => code_words(*code),
        (_, Some(code)) => code_words(code),
        _ => error.to_string(),
    }
}

/// A message taken from the consumer queue: a record, or an error of a partition.
pub(super) struct Message<'a>(&'a native::rd_kafka_message_t);

impl Message<'_> {
    /// The error that this message is, with its words; none for a record.
    pub(super) fn error(&self) -> Option<(RDKafkaRespErr, String)> {
        if self.0.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let words = match self.value() {
            Some(words) => String::from_utf8_lossy(words).into_owned(),
            None => describe(self.0.err),
        };
        Some((self.0.err, words))
    }

    /// Stands for the topic and is cheap to compare; the same as long as partitions of the topic
    /// are assigned. Zero where an error is about no topic.
    pub(super) fn topic_handle(&self) -> usize {
        self.0.rkt as usize
    }

    pub(super) fn topic(&self) -> Option<String> {
        if self.0.rkt.is_null() {
            return None;
        }
        // SAFETY: the message holds a reference to its topic.
        Some(unsafe { text(native::rd_kafka_topic_name(self.0.rkt)) }.into_owned())
    }

    pub(super) fn partition(&self) -> i32 {
        self.0.partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.0.offset
    }

    pub(super) fn value(&self) -> Option<&[u8]> {
        bytes(self.0.payload, self.0.len)
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        bytes(self.0.key, self.0.key_len)
    }

    /// Milliseconds since the epoch, -1 where the record has no time.
    pub(super) fn timestamp_ms(&self) -> i64 {
        // SAFETY: the message is alive; a null pointer for the kind is allowed.
        unsafe { native::rd_kafka_message_timestamp(self.0, ptr::null_mut()) }
    }

    /// Headers in their order.
    pub(super) fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let none = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        let mut found = Vec::new();
        // SAFETY: headers belong to the message, which is alive; names and values are copied.
        unsafe {
            let mut headers = ptr::null_mut();
            if native::rd_kafka_message_headers(self.0, &mut headers) != none {
                return found;
            }
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            while native::rd_kafka_header_get_all(headers, found.len(), &mut name, &mut value, &mut size) == none {
                let value = bytes(value.cast_mut(), size).map(<[u8]>::to_vec);
                found.push((text(name).into_owned(), value));
            }
        }
        found
    }
}

fn bytes<'a>(start: *mut c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka gives null or as many bytes; callers tie the lifetime to the message.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}

/// How many messages are taken from the queue at once.
const BATCH: usize = 1024;

/// A consumer and its queue.
pub(super) struct Consumer {
    client: Client<Context>,
    queue: *mut native::rd_kafka_queue_t,
    batch: Vec<*mut native::rd_kafka_message_t>,
    brokers: String,
}

// SAFETY: librdkafka's clients and queues may be used from any thread; `batch` holds pointers only
// within a call.
unsafe impl Send for Consumer {}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: the queue is ours and must go before its client.
        unsafe { native::rd_kafka_queue_destroy(self.queue) }
    }
}

impl Consumer {
    /// A consumer without partitions; connects in the background.
    pub(super) fn new(config: &ClientConfig, brokers: &str) -> Result<Self> {
        let settings = config.create_native_config().map_err(config_error)?;
        // SAFETY: the settings are alive, the callbacks have the types they must have.
        unsafe {
            native::rd_kafka_conf_set_error_cb(settings.ptr(), Some(on_error));
            native::rd_kafka_conf_set_log_cb(settings.ptr(), Some(on_log));
            native::rd_kafka_conf_set_offset_commit_cb(settings.ptr(), Some(on_commit));
        }
        let kind = RDKafkaType::RD_KAFKA_CONSUMER;
        let client = Client::new(config, settings, kind, Context::default())
            .map_err(|error| Error::Config(format!("kafka: {error}")))?;
        // SAFETY: the client is alive; a consumer with a group has this queue.
        let queue = unsafe { native::rd_kafka_queue_get_consumer(client.native_ptr()) };
        if queue.is_null() {
            return Err(Error::internal("a Kafka consumer without a queue"));
        }
        Ok(Self {
            client,
            queue,
            batch: Vec::with_capacity(BATCH),
            brokers: brokers.to_string(),
        })
    }

    /// What the client heard of its connection, callbacks included that were still waiting.
    pub(super) fn context(&self) -> &Context {
        // SAFETY: the client is alive; this serves the main queue, on which no records come.
        unsafe { native::rd_kafka_poll(self.client.native_ptr(), 0) };
        self.client.context()
    }

    /// The error of a call that failed, in the words of the event behind it.
    fn failure(&self, error: &KafkaError) -> Error {
        unreachable(&self.brokers, self.context(), error)
    }

    /// Calls until it works or `patience` is over. Gives up early where waiting can't help.
    fn insist<T>(&self, patience: Duration, call: impl Fn(Duration) -> KafkaResult<T>) -> Result<T> {
        // Names may have several addresses of which the first doesn't answer: one refused
        // connection is no reason to give up, two seconds of them are.
        const REFUSED: Duration = Duration::from_secs(2);
        let begin = Instant::now();
        let mut slice = Duration::from_millis(500);
        loop {
            let left = patience.saturating_sub(begin.elapsed());
            match call(slice.min(left)) {
                Ok(result) => {
                    self.context().works();
                    return Ok(result);
                }
                Err(error) => {
                    let context = self.context();
                    let elapsed = begin.elapsed();
                    let over = elapsed >= patience
                        || context.hopeless()
                        || (context.unreachable() && elapsed >= REFUSED)
                        || !may_pass(&error);
                    if over {
                        return Err(self.failure(&error));
                    }
                    slice *= 2;
                    // Some errors come at once; librdkafka needs its time to connect again.
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// Metadata of one topic, or of all.
    pub(super) fn metadata(&self, topic: Option<&str>, patience: Duration) -> Result<Metadata> {
        self.insist(patience, |timeout| self.client.fetch_metadata(topic, timeout))
    }

    /// True if the brokers are librdkafka's mock cluster, which knows no administration.
    pub(super) fn is_embedded(&self) -> bool {
        let id = self.client.fetch_cluster_id(Duration::from_secs(1));
        id.is_some_and(|id| id.starts_with("mockCluster"))
    }

    /// Offsets for the times (milliseconds) in the list's offset fields; `Offset::Beginning` and
    /// `Offset::End` stand for the partitions' ends.
    pub(super) fn offsets_for_times(
        &self,
        times: &TopicPartitionList,
        patience: Duration,
    ) -> Result<TopicPartitionList> {
        self.insist(patience, |timeout| {
            let answer = times.clone();
            let client = self.client.native_ptr();
            // SAFETY: client and list are alive, the list is our own copy.
            checked(unsafe { native::rd_kafka_offsets_for_times(client, answer.ptr(), millis(timeout)) })?;
            Ok(answer)
        })
    }

    /// The group's committed offsets of the list's partitions.
    pub(super) fn committed(&self, partitions: &TopicPartitionList, patience: Duration) -> Result<TopicPartitionList> {
        self.insist(patience, |timeout| {
            let answer = partitions.clone();
            let client = self.client.native_ptr();
            // SAFETY: client and list are alive, the list is our own copy.
            checked(unsafe { native::rd_kafka_committed(client, answer.ptr(), millis(timeout)) })?;
            Ok(answer)
        })
    }

    /// First and next offset of a partition, asked from the broker.
    pub(super) fn watermarks(&self, topic: &str, partition: i32, patience: Duration) -> Result<(i64, i64)> {
        self.insist(patience, |timeout| {
            self.client.fetch_watermarks(topic, partition, timeout)
        })
    }

    /// The next offset of a partition as the last fetch saw it; none before the first one.
    pub(super) fn known_end(&self, topic: &CStr, partition: i32) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client is alive; the name ends with a zero.
        let code = unsafe {
            native::rd_kafka_get_watermark_offsets(
                self.client.native_ptr(),
                topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
            )
        };
        (code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }

    /// Begins to read the list's partitions at their offsets, beside those read already.
    pub(super) fn assign(&self, partitions: &TopicPartitionList) -> Result<()> {
        // SAFETY: client and list are alive; the error is freed by `settled`.
        settled(unsafe { native::rd_kafka_incremental_assign(self.client.native_ptr(), partitions.ptr()) })
    }

    /// Stops reading the list's partitions.
    pub(super) fn unassign(&self, partitions: &TopicPartitionList) -> Result<()> {
        // SAFETY: as for `assign`.
        settled(unsafe { native::rd_kafka_incremental_unassign(self.client.native_ptr(), partitions.ptr()) })
    }

    /// Commits the list's offsets to the group, in the background.
    pub(super) fn commit(&self, offsets: &TopicPartitionList) {
        // SAFETY: client and list are alive; librdkafka copies the list.
        let code = unsafe { native::rd_kafka_commit(self.client.native_ptr(), offsets.ptr(), 1) };
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            tracing::warn!(target: "kafka", "committing group offsets: {}", describe(code));
        }
    }

    /// Takes up to `most` messages, waiting up to `timeout` for the *whole* of them: to wait for
    /// what comes, ask for one, then for the rest without a time. Returns how many there were.
    pub(super) fn consume(&mut self, timeout: Duration, most: usize, mut each: impl FnMut(&Message<'_>)) -> usize {
        let most = most.min(BATCH);
        self.batch.clear();
        // SAFETY: the queue is alive and `batch` has room for `BATCH` pointers; librdkafka tells how
        // many it has written, and each message is used and freed exactly once.
        unsafe {
            let taken =
                native::rd_kafka_consume_batch_queue(self.queue, millis(timeout), self.batch.as_mut_ptr(), most);
            self.batch.set_len(usize::try_from(taken).unwrap_or(0));
            for message in &self.batch {
                each(&Message(&**message));
                native::rd_kafka_message_destroy(*message);
            }
        }
        self.batch.len()
    }
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

fn checked(code: RDKafkaRespErr) -> KafkaResult<()> {
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        Ok(())
    } else {
        Err(KafkaError::MetadataFetch(code.into()))
    }
}

/// Turns a native error object into ours and frees it.
fn settled(error: *mut native::rd_kafka_error_t) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the object is alive until it is destroyed here; its words are copied before.
    let words = unsafe {
        let words = text(native::rd_kafka_error_string(error)).into_owned();
        native::rd_kafka_error_destroy(error);
        words
    };
    Err(Error::internal(format!("assigning Kafka partitions: {words}")))
}

/// The error of a call that failed, in the words of the event behind it where there was one.
pub(super) fn unreachable(brokers: &str, context: &Context, error: &KafkaError) -> Error {
    let words = context.words().filter(|_| may_pass(error));
    let cause = context
        .fatal()
        .or(words)
        .unwrap_or_else(|| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::BrokerTransportFailure) => {
                "no answer in time; is the address right, does the broker run, and does it expect this \
                 properties.security.protocol?"
                    .to_string()
            }
            _ => self::words(error),
        });
    let same = cause.strip_prefix(brokers).and_then(|cause| cause.strip_prefix(": "));
    let cause = same.map(str::to_string).unwrap_or(cause);
    Error::Connector {
        place: format!("kafka at {brokers}"),
        cause,
    }
}

/// Whether a failed call may work when made again.
fn may_pass(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
                | RDKafkaErrorCode::BrokerNotAvailable
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::NetworkException
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::WaitingForCoordinator
                | RDKafkaErrorCode::MessageTimedOut
                | RDKafkaErrorCode::OffsetNotAvailable
        )
    )
}

/// A topic's name for calls of the bindings.
pub(super) fn c_name(topic: &str) -> Result<CString> {
    CString::new(topic).map_err(|_| Error::Config("a topic name with a zero byte in it".to_string()))
}
