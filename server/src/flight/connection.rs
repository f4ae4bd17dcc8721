//! A session is one gRPC connection: who is connected, and what each has planned, prepared and running.
//!
//! The stream of bytes that tonic serves is wrapped: the wrapper's id comes with every request, and
//! when it is dropped, the connection has closed, and with it go the session, its statements and
//! its running queries. Nothing has to time out.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use parking_lot::Mutex;
use serde::de;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::transport::server::Connected;
use uuid::Uuid;

use super::handle::Place;
use crate::{Error, Instance, Prepared, Session};

/// Planned statements whose rows nobody has fetched yet; the oldest is forgotten beyond these.
const UNFETCHED: usize = 256;
/// Prepared statements that a session may keep open.
const OPEN_PREPARED: usize = 4096;

/// Names a connection. Hard to guess, for whoever knows it can fetch what was planned there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(Uuid);

impl ConnectionId {
    /// A new one.
    pub fn fresh() -> ConnectionId {
        ConnectionId(Uuid::new_v4())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::parse_str(&text).map(ConnectionId).map_err(de::Error::custom)
    }
}

/// All connections of a server.
pub struct Connections {
    open: Mutex<Open>,
}

struct Open {
    /// `None` after the end.
    instance: Option<Arc<Instance>>,
    connections: HashMap<ConnectionId, Arc<Connection>>,
    stopping: bool,
}

impl Connections {
    /// None yet.
    pub fn new(instance: Arc<Instance>) -> Arc<Connections> {
        let open = Open {
            instance: Some(instance),
            connections: HashMap::new(),
            stopping: false,
        };
        Arc::new(Connections { open: Mutex::new(open) })
    }

    /// The instance that they are connected to.
    ///
    /// # Errors
    /// After [`Connections::release`].
    pub fn instance(&self) -> Result<Arc<Instance>, Error> {
        let instance = self.open.lock().instance.clone();
        instance.ok_or_else(|| Error::unavailable(STOPPING))
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.lock().connections.len()
    }

    /// A new connection, with a session of its own, over a stream of bytes.
    ///
    /// # Errors
    /// After [`Connections::release`].
    pub fn accept<IO>(self: &Arc<Self>, io: IO) -> Result<Wire<IO>, Error> {
        let id = ConnectionId::fresh();
        let connection = Arc::new(Connection::new(id, self.instance()?.session()));
        let mut open = self.open.lock();
        if open.stopping {
            connection.end(&stopping());
        }
        open.connections.insert(id, connection);
        Ok(Wire {
            io,
            id,
            connections: self.clone(),
        })
    }

    /// An open connection.
    pub fn get(&self, id: ConnectionId) -> Result<Arc<Connection>, Status> {
        self.open.lock().connections.get(&id).cloned().ok_or_else(|| {
            Status::not_found("the session of this statement has ended with its connection; run the statement again")
        })
    }

    /// Ends every running statement, now and from now on, because the server stops.
    pub fn stop(&self) {
        let mut open = self.open.lock();
        open.stopping = true;
        for connection in open.connections.values() {
            connection.end(&stopping());
        }
    }

    /// Lets go of the instance and of all sessions, though connections may still be open: a client
    /// that reads nothing keeps its own open as long as it likes.
    pub fn release(&self) {
        let mut open = self.open.lock();
        let left = (open.instance.take(), std::mem::take(&mut open.connections));
        // Dropped outside the lock, as below.
        drop(open);
        drop(left);
    }

    fn close(&self, id: ConnectionId) {
        // Dropped outside the lock: a session's end may take a moment.
        let connection = self.open.lock().connections.remove(&id);
        if let Some(connection) = connection {
            connection.end(&Status::cancelled("the connection was closed"));
        }
    }
}

const STOPPING: &str = "the server is stopping; connect again when it is back";

fn stopping() -> Status {
    Status::unavailable(STOPPING)
}

/// A statement and the values of its parameters.
#[derive(Clone)]
pub struct Statement {
    /// The statement.
    pub prepared: Prepared,
    /// The values of its parameters, in order.
    pub values: Vec<ScalarValue>,
}

/// A prepared statement of a session.
#[derive(Clone)]
pub struct PreparedStatement {
    /// The statement.
    pub prepared: Prepared,
    /// Rows of parameters bound to it last.
    pub bound: Arc<Vec<Vec<ScalarValue>>>,
}

/// One connection.
pub struct Connection {
    id: ConnectionId,
    /// Its session.
    pub session: Arc<Session>,
    /// What the client was told of its transaction, if it has begun one by a call.
    pub transaction: Mutex<Option<Bytes>>,
    last: AtomicU64,
    planned: Mutex<VecDeque<(u64, Statement)>>,
    prepared: Mutex<HashMap<u64, PreparedStatement>>,
    running: Mutex<RunningStatements>,
}

#[derive(Default)]
struct RunningStatements {
    ends: HashMap<u64, oneshot::Sender<Status>>,
    /// Why nothing runs here any more.
    ended: Option<Status>,
}

impl Connection {
    fn new(id: ConnectionId, session: Arc<Session>) -> Connection {
        Connection {
            id,
            session,
            transaction: Mutex::default(),
            last: AtomicU64::new(0),
            planned: Mutex::default(),
            prepared: Mutex::default(),
            running: Mutex::default(),
        }
    }

    fn next(&self) -> Place {
        Place {
            connection: self.id,
            number: self.last.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// Keeps a planned statement until its rows are fetched.
    pub fn plan(&self, statement: Statement) -> Place {
        let place = self.next();
        let mut planned = self.planned.lock();
        if planned.len() == UNFETCHED {
            planned.pop_front();
        }
        planned.push_back((place.number, statement));
        place
    }

    /// Takes a planned statement; `None` if it was fetched or forgotten.
    pub fn take_planned(&self, number: u64) -> Option<Statement> {
        let mut planned = self.planned.lock();
        let at = planned.iter().position(|(other, _)| *other == number)?;
        planned.remove(at).map(|(_, statement)| statement)
    }

    /// Keeps a prepared statement until it is closed.
    pub fn prepare(&self, prepared: Prepared) -> Result<Place, Status> {
        let mut open = self.prepared.lock();
        if open.len() >= OPEN_PREPARED {
            return Err(Status::resource_exhausted(format!(
                "this session has {OPEN_PREPARED} prepared statements open; close those that are done"
            )));
        }
        let place = self.next();
        let statement = PreparedStatement {
            prepared,
            bound: Arc::default(),
        };
        open.insert(place.number, statement);
        Ok(place)
    }

    /// A prepared statement.
    pub fn prepared(&self, number: u64) -> Result<PreparedStatement, Status> {
        self.prepared.lock().get(&number).cloned().ok_or_else(closed)
    }

    /// Binds parameters to a prepared statement.
    pub fn bind(&self, number: u64, rows: Vec<Vec<ScalarValue>>) -> Result<(), Status> {
        let mut open = self.prepared.lock();
        open.get_mut(&number).ok_or_else(closed)?.bound = Arc::new(rows);
        Ok(())
    }

    /// Forgets a prepared statement.
    pub fn close_prepared(&self, number: u64) {
        self.prepared.lock().remove(&number);
    }

    /// Begins to run a statement. What comes back says when it has to end before its time.
    pub fn run(self: &Arc<Self>, number: u64) -> Running {
        let (end, ended) = oneshot::channel();
        let mut running = self.running.lock();
        match &running.ended {
            Some(status) => _ = end.send(status.clone()),
            None => _ = running.ends.insert(number, end),
        }
        Running {
            connection: Arc::downgrade(self),
            number,
            ended,
        }
    }

    /// Cancels a statement, running or planned; false if there is none of that number.
    pub fn cancel(&self, number: u64) -> bool {
        if let Some(end) = self.running.lock().ends.remove(&number) {
            _ = end.send(Status::cancelled("the query was cancelled"));
            return true;
        }
        self.take_planned(number).is_some()
    }

    fn end(&self, status: &Status) {
        let mut running = self.running.lock();
        running.ended = Some(status.clone());
        for (_, end) in running.ends.drain() {
            _ = end.send(status.clone());
        }
    }
}

fn closed() -> Status {
    Status::not_found("this prepared statement was closed; prepare it again")
}

/// A running statement's hold on its connection. Dropping it tells the connection that it is done.
pub struct Running {
    connection: Weak<Connection>,
    number: u64,
    ended: oneshot::Receiver<Status>,
}

impl Running {
    /// Waits until the statement has to end, and says why.
    pub async fn ended(&mut self) -> Status {
        (&mut self.ended)
            .await
            .unwrap_or_else(|_| Status::cancelled("the connection was closed"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.running.lock().ends.remove(&self.number);
        }
    }
}

/// A stream of bytes that is a connection as long as it lives.
pub struct Wire<IO> {
    io: IO,
    id: ConnectionId,
    connections: Arc<Connections>,
}

impl<IO> Drop for Wire<IO> {
    fn drop(&mut self) {
        self.connections.close(self.id);
    }
}

impl<IO> Connected for Wire<IO> {
    type ConnectInfo = ConnectionId;

    fn connect_info(&self) -> ConnectionId {
        self.id
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
