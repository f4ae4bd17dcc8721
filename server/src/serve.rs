//! `weir serve`: an instance behind its two listeners, from start to clean stop.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::transport::Server;

use crate::flight::FlightServer;
use crate::flight::connection::{Connections, Wire};
use crate::{Error, ErrorKind, Instance, InstanceOptions, Result, http};

/// How long connections may take to see their streams end, once the server stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the instance may take to commit and stop.
const LAST_COMMIT: Duration = Duration::from_secs(60);
/// A client that says nothing is asked this often whether it is still there, and has as long to answer.
const ARE_YOU_THERE: Duration = Duration::from_secs(20);
/// The pause after a connection could not be taken, for want of file handles perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The instance.
    pub instance: InstanceOptions,
    /// Address of gRPC; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Address of HTTP for health and metrics, if wanted; port 0 takes any free one.
    pub http: Option<SocketAddr>,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub struct BoundAddresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: Option<SocketAddr>,
}

/// Serves an instance until `stop` is done; then ends open streams with a status that says so,
/// commits, and returns. `ready` is called when clients can connect.
///
/// # Errors
/// If an address can't be listened on, if the instance can't be opened (another process has its
/// directory, for example), or if it doesn't stop.
pub async fn serve(
    options: ServeOptions,
    ready: impl FnOnce(BoundAddresses),
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let (grpc_listener, grpc) = listen(options.listen, "--listen").await?;
    let http_listener = match options.http {
        Some(address) => Some(listen(address, "--http").await?),
        None => None,
    };
    let instance = options.instance;
    let instance = blocking(move || Instance::open(instance)).await??;
    let connections = Connections::new(instance.clone());
    let (stopping, stopped) = watch::channel(());

    let mut grpc_server = tokio::spawn(serve_grpc(grpc_listener, connections.clone(), stopped.clone()));
    let bound = BoundAddresses {
        grpc,
        http: http_listener.as_ref().map(|(_, address)| *address),
    };
    let mut http_server = tokio::spawn(serve_http(http_listener, connections.clone(), stopped));
    ready(bound);

    tokio::pin!(stop);
    let ended_early = tokio::select! {
        () = &mut stop => None,
        ended = &mut grpc_server => Some(failed("gRPC", ended)),
        ended = &mut http_server => Some(failed("HTTP", ended)),
    };
    connections.stop();
    stopping.send_replace(());
    if ended_early.is_none() {
        // What has not ended by then goes with the process; nothing of it was promised.
        let _ = tokio::time::timeout(FAREWELL, async { tokio::join!(grpc_server, http_server) }).await;
    }
    connections.release();
    let held = Arc::downgrade(&instance);
    let last = blocking(move || instance.shutdown());
    match tokio::time::timeout(LAST_COMMIT, last).await {
        Ok(done) => done?,
        Err(_) => {
            return Err(Error::unavailable(format!(
                "the engine did not stop within {} s; what was committed is safe, the rest is read again at the next start",
                LAST_COMMIT.as_secs()
            )));
        }
    }
    // Threads of statements that were cut short still let go of the store: it is to be closed before
    // the process ends, for RocksDB's own threads don't survive that.
    let letting_go = async {
        while held.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    _ = tokio::time::timeout(FAREWELL, letting_go).await;
    ended_early.map_or(Ok(()), Err)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}

async fn listen(address: SocketAddr, option: &str) -> Result<(TcpListener, SocketAddr)> {
    let cannot = |error: std::io::Error| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot listen on {address}: {error}; give another address with {option}"),
        )
    };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    Ok((listener, bound))
}

fn failed(protocol: &str, ended: Result<Result<()>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => Error::internal(format!("the {protocol} listener ended")),
        Err(error) => Error::internal(format!("the {protocol} listener ended: {error}")),
    }
}

async fn serve_grpc(
    listener: TcpListener,
    connections: Arc<Connections>,
    mut stopped: watch::Receiver<()>,
) -> Result<()> {
    Server::builder()
        .http2_keepalive_interval(Some(ARE_YOU_THERE))
        .http2_keepalive_timeout(Some(ARE_YOU_THERE))
        .add_service(FlightServer::over(connections.clone()))
        .serve_with_incoming_shutdown(incoming(listener, connections), async move {
            _ = stopped.changed().await;
        })
        .await
        .map_err(Error::internal)
}

/// Connections as they come.
fn incoming(
    listener: TcpListener,
    connections: Arc<Connections>,
) -> impl Stream<Item = Result<Wire<TcpStream>, Infallible>> {
    stream::unfold((listener, connections), |(listener, connections)| async move {
        loop {
            match listener.accept().await {
                Ok((tcp, _)) => {
                    // Answers are small and waited for.
                    _ = tcp.set_nodelay(true);
                    let wire = connections.accept(tcp).ok()?;
                    return Some((Ok(wire), (listener, connections)));
                }
                Err(error) => {
                    tracing::warn!("a connection could not be taken: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

async fn serve_http(
    listener: Option<(TcpListener, SocketAddr)>,
    connections: Arc<Connections>,
    mut stopped: watch::Receiver<()>,
) -> Result<()> {
    let Some((listener, _)) = listener else {
        _ = stopped.changed().await;
        return Ok(());
    };
    axum::serve(listener, http::router(connections))
        .with_graceful_shutdown(async move {
            _ = stopped.changed().await;
        })
        .await
        .map_err(Error::internal)
}
