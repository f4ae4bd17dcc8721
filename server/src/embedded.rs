//! The server inside a process: the same service, over memory instead of a network.
//!
//! The shell talks to its own instance exactly as to a distant one, so there is one code path.

use std::io;
use std::sync::Arc;

use futures::stream;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Server};
use tower::service_fn;

use crate::flight::FlightServer;
use crate::flight::connection::Connections;
use crate::{Error, Instance, Result};

/// Bytes that may be on their way in each direction.
const PIPE_BYTES: usize = 1 << 20;

/// A gRPC channel into an instance of this process. The channel is one session; dropping the last
/// clone of it ends the session.
///
/// # Errors
/// None that a user could cause.
pub async fn embedded(instance: Arc<Instance>) -> Result<Channel> {
    channel(Connections::new(instance)).await
}

/// A channel that is one more of a server's connections.
pub(crate) async fn channel(connections: Arc<Connections>) -> Result<Channel> {
    let (connect, incoming) = mpsc::channel(1);
    let server = Server::builder().add_service(FlightServer::over(connections.clone()));
    let pipes = stream::unfold(incoming, |mut incoming: mpsc::Receiver<_>| async move {
        let wire = incoming.recv().await?;
        Some((Ok::<_, io::Error>(wire), incoming))
    });
    // It ends when the channel is gone, which holds `connect`.
    tokio::spawn(server.serve_with_incoming(pipes));

    let connector = service_fn(move |_: Uri| {
        let (connect, connections) = (connect.clone(), connections.clone());
        async move {
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let wire = connections.accept(far).map_err(io::Error::other)?;
            let accepted = connect.send(wire).await;
            accepted.map_err(|_| io::Error::other("the embedded server has ended"))?;
            Ok::<_, io::Error>(TokioIo::new(near))
        }
    });
    Endpoint::from_static("http://embedded")
        .connect_with_connector(connector)
        .await
        .map_err(Error::internal)
}
