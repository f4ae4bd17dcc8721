//! Arrow Flight SQL: the protocol of the shell, of ADBC and JDBC drivers, and of any Arrow program.
//!
//! [`FlightServer`] is the gRPC service. Behind it, `service` has a method for each call of Flight
//! SQL, `connection` knows who is connected, and `statements` runs what they ask for. How an answer
//! looks beside its rows is in `metadata`, which clients of ours read, too.

use std::sync::Arc;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use connection::Connections;
use service::SqlService;

mod binding;
mod catalog;
pub(crate) mod connection;
mod facts;
mod handle;
mod metadata;
mod service;
mod statements;
#[cfg(test)]
mod tests;
mod transactions;

pub use metadata::{KIND_METADATA, NOTICES_METADATA, ROWS_METADATA, TAG_METADATA, kind_word, late_notices};

/// The action that cancels a query, in Flight's own words.
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
/// The action that says in one result, as text, what a statement of the connection waits for.
pub const WAITING: &str = "weir.waiting";
/// Longest message that a client may send: batches of parameters, long statements.
const LONGEST_REQUEST_BYTES: usize = 64 << 20;

/// The Flight service, over the connections of a server.
#[derive(Clone)]
pub struct FlightServer {
    sql: Arc<SqlService>,
}

impl FlightServer {
    /// The service, ready to be served.
    pub(crate) fn over(connections: Arc<Connections>) -> FlightServiceServer<FlightServer> {
        let sql = Arc::new(SqlService { connections });
        FlightServiceServer::new(FlightServer { sql })
            .max_decoding_message_size(LONGEST_REQUEST_BYTES)
            .max_encoding_message_size(usize::MAX)
    }
}

/// Flight SQL's part is arrow-flight's, from our `SqlService`; it leaves out GetSchema, and says of
/// other calls only that they are missing.
#[tonic::async_trait]
impl FlightService for FlightServer {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.sql.handshake(request).await
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Status::unimplemented(
            "there are no flights to list; this is a Flight SQL server: send statements, or ask GetTables",
        ))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.sql.get_flight_info(request).await
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("use GetFlightInfo; there is nothing to poll for"))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        self.sql.schema(request).await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        self.sql.do_get(request).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        self.sql.do_put(request).await
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented("Flight SQL has no exchange; use DoGet and DoPut"))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        self.sql.do_action(request).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.sql.list_actions(request).await
    }
}
