//! The calls of Flight SQL: each finds its connection and hands on to who knows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginTransactionRequest, ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    ActionEndTransactionRequest, Any, Command, CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas,
    CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes,
    CommandGetTables, CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor,
    FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};
use weir_sql::catalog::Catalog;

use super::connection::{Connection, ConnectionId, Connections, PreparedStatement};
use super::handle::{Handle, Place};
use super::metadata::{self, internal};
use super::statements::{self, FlightStream};
use super::{CANCEL_FLIGHT_INFO, WAITING, binding, catalog, facts, transactions};
use crate::{Prepared, PreparedKind};

/// Flight SQL over the connections of a server.
pub struct SqlService {
    /// Who is connected.
    pub connections: Arc<Connections>,
}

type Answer<T> = Result<Response<T>, Status>;

impl SqlService {
    /// The connection that a request came by.
    pub fn connection<T>(&self, request: &Request<T>) -> Result<Arc<Connection>, Status> {
        let id = request
            .extensions()
            .get::<ConnectionId>()
            .ok_or_else(|| internal("a request without a connection"))?;
        self.connections.get(*id)
    }

    /// A prepared statement, its connection and place, by its handle.
    fn prepared(&self, handle: &[u8]) -> Result<(Arc<Connection>, Place, PreparedStatement), Status> {
        let Handle::Prepared(place) = Handle::decode(handle)? else {
            return Err(Status::invalid_argument(
                "this is not the handle of a prepared statement",
            ));
        };
        let connection = self.connections.get(place.connection)?;
        let statement = connection.prepared(place.number)?;
        Ok((connection, place, statement))
    }

    /// Flight info of a catalog call: its ticket is the command.
    fn catalog_info(
        &self,
        request: Request<FlightDescriptor>,
        batch: Result<RecordBatch, FlightError>,
    ) -> Answer<FlightInfo> {
        let schema = batch?.schema();
        let descriptor = request.into_inner();
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(descriptor.cmd.clone()));
        let info = FlightInfo::new()
            .try_with_schema(&schema)
            .map_err(internal)?
            .with_descriptor(descriptor)
            .with_endpoint(endpoint);
        Ok(Response::new(info))
    }

    /// The schema of what a command would answer.
    pub async fn schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let any = Any::decode(&*request.get_ref().cmd).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let prepared = match Command::try_from(any).map_err(internal)? {
            Command::CommandStatementQuery(command) => {
                let connection = self.connection(&request)?;
                statements::prepare(&connection, command.query).await?
            }
            Command::CommandPreparedStatementQuery(command) => {
                self.prepared(&command.prepared_statement_handle)?.2.prepared
            }
            // A catalog call's flight info has the schema, and costs no more.
            _ => {
                let info = self.get_flight_info(request).await?.into_inner();
                return Ok(Response::new(SchemaResult { schema: info.schema }));
            }
        };
        let schema = dataset_schema(&prepared).unwrap_or_else(|| Arc::new(Schema::empty()));
        Ok(Response::new(SchemaResult {
            schema: ipc_schema(&schema)?,
        }))
    }

    /// Cancels what the tickets of a flight info stand for.
    fn cancel(&self, info: &FlightInfo) -> Result<CancelStatus, Status> {
        let mut cancelled = false;
        for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
            if let Some(Handle::Statement(place)) = Handle::of_ticket(ticket)? {
                cancelled |= self.connections.get(place.connection)?.cancel(place.number);
            }
        }
        Ok(match cancelled {
            true => CancelStatus::Cancelled,
            false => CancelStatus::NotCancellable,
        })
    }
}

/// Columns of the rows that a statement answers; `None` for commands and updates.
fn dataset_schema(prepared: &Prepared) -> Option<SchemaRef> {
    let schema = prepared.schema()?;
    Some(metadata::rows_schema(&schema, prepared.kind(), None, &[]))
}

fn ipc_schema(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: IpcMessage = SchemaAsIpc::new(schema, &options).try_into().map_err(internal)?;
    Ok(message.0)
}

fn catalog_rows(batch: Result<RecordBatch, FlightError>) -> Answer<FlightStream> {
    let batch = batch?;
    let schema = batch.schema();
    Ok(Response::new(statements::encode_batches(
        schema,
        stream::iter([Ok(batch)]).boxed(),
    )))
}

/// The number of changed rows of something that ran by DoPut.
async fn update(
    connection: &Connection,
    prepared: &Prepared,
    rows: &[Vec<datafusion::scalar::ScalarValue>],
) -> Result<i64, Status> {
    match prepared.kind() {
        PreparedKind::Command | PreparedKind::Update => {
            let outcome = statements::run(connection, prepared, rows).await?;
            Ok(outcome.rows.unwrap_or(0) as i64)
        }
        PreparedKind::Query | PreparedKind::Push => Err(Status::invalid_argument(
            "this statement answers rows; run it as a query, not as an update",
        )),
    }
}

#[tonic::async_trait]
impl FlightSqlService for SqlService {
    type FlightService = SqlService;

    // ---- statements --------------------------------------------------------------------------

    async fn get_flight_info_statement(
        &self,
        command: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let connection = self.connection(&request)?;
        transactions::join(&connection, &command.transaction_id).await?;
        let prepared = statements::prepare(&connection, command.query).await?;
        let info = statements::info(&connection, prepared, &[]).await?;
        Ok(Response::new(info.with_descriptor(request.into_inner())))
    }

    async fn get_flight_info_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let (connection, _, statement) = self.prepared(&command.prepared_statement_handle)?;
        transactions::go_on(&connection).await?;
        let info = statements::info(&connection, statement.prepared, &statement.bound).await?;
        Ok(Response::new(info.with_descriptor(request.into_inner())))
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, _: Request<Ticket>) -> Answer<FlightStream> {
        let place = match Handle::decode(&ticket.statement_handle)? {
            Handle::Statement(place) => place,
            Handle::Outcome(outcome) => return Ok(Response::new(statements::outcome_stream(&outcome))),
            Handle::Prepared(_) => return Err(Status::invalid_argument("a prepared statement is no ticket")),
        };
        let connection = self.connections.get(place.connection)?;
        let statement = connection.take_planned(place.number).ok_or_else(|| {
            Status::not_found(
                "this ticket's rows were fetched already, or too long ago asked for; run the statement again",
            )
        })?;
        statements::fetch(&connection, place, statement)
            .await
            .map(Response::new)
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let connection = self.connection(&request)?;
        transactions::join(&connection, &command.transaction_id).await?;
        let prepared = statements::prepare(&connection, command.query).await?;
        update(&connection, &prepared, &[]).await
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(Status::unimplemented(
            "bulk ingestion is not there yet; prepare INSERT INTO … VALUES ($1, …) and bind rows to it",
        ))
    }

    async fn do_put_error_callback(
        &self,
        _: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Answer<<Self as FlightService>::DoPutStream> {
        Err(Status::invalid_argument(error.to_string()))
    }

    async fn do_action_cancel_query(
        &self,
        command: ActionCancelQueryRequest,
        _: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info = FlightInfo::decode(command.info).map_err(|error| Status::invalid_argument(error.to_string()))?;
        // The results of this older call have the same numbers.
        Ok(ActionCancelQueryResult {
            result: self.cancel(&info)? as i32,
        })
    }

    // ---- prepared statements -----------------------------------------------------------------

    async fn do_action_create_prepared_statement(
        &self,
        command: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let connection = self.connection(&request)?;
        transactions::join(&connection, &command.transaction_id).await?;
        let prepared = statements::prepare(&connection, command.query).await?;
        let dataset_schema = dataset_schema(&prepared)
            .map(|schema| ipc_schema(&schema))
            .transpose()?;
        let fields: Vec<Field> = prepared.parameters().to_vec();
        Ok(ActionCreatePreparedStatementResult {
            dataset_schema: dataset_schema.unwrap_or_default(),
            parameter_schema: ipc_schema(&Schema::new(fields))?,
            prepared_statement_handle: Handle::Prepared(connection.prepare(prepared)?).encode(),
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        command: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        let (connection, place, _) = self.prepared(&command.prepared_statement_handle)?;
        connection.close_prepared(place.number);
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let (connection, place, statement) = self.prepared(&command.prepared_statement_handle)?;
        let rows = binding::rows(request.into_inner(), statement.prepared.parameters()).await?;
        connection.bind(place.number, rows.unwrap_or_default())?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(command.prepared_statement_handle),
        })
    }

    async fn do_put_prepared_statement_update(
        &self,
        command: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let (connection, _, statement) = self.prepared(&command.prepared_statement_handle)?;
        transactions::go_on(&connection).await?;
        // Rows come with this call, or were bound by one before it.
        match binding::rows(request.into_inner(), statement.prepared.parameters()).await? {
            Some(rows) if rows.is_empty() && !statement.prepared.parameters().is_empty() => Ok(0),
            Some(rows) => update(&connection, &statement.prepared, &rows).await,
            None => update(&connection, &statement.prepared, &statement.bound).await,
        }
    }

    // ---- sessions ----------------------------------------------------------------------------

    async fn do_handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<BoxStream<'static, Result<HandshakeResponse, Status>>> {
        // There is nobody to keep out yet. Drivers that send a name expect a token back.
        let mut response = Response::new(stream::iter([Ok(HandshakeResponse::default())]).boxed());
        let token = tonic::metadata::MetadataValue::from_static("Bearer anonymous");
        response.metadata_mut().insert("authorization", token);
        Ok(response)
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        request: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        let connection = self.connection(&request)?;
        Ok(ActionBeginTransactionResult {
            transaction_id: transactions::begin(&connection).await?,
        })
    }

    async fn do_action_end_transaction(
        &self,
        command: ActionEndTransactionRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let connection = self.connection(&request)?;
        transactions::end(&connection, &command.transaction_id, command.action).await
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        let action = |name: &str, description: &str| {
            Ok(ActionType {
                r#type: name.into(),
                description: description.into(),
            })
        };
        Some(vec![
            action(
                CANCEL_FLIGHT_INFO,
                "Cancels a query.\nRequest Message: CancelFlightInfoRequest\nResponse Message: CancelFlightInfoResult",
            ),
            action(
                WAITING,
                "Says what a statement of this connection is waiting for; no result if for nothing.\nRequest: N/A\nResponse: text",
            ),
        ])
    }

    async fn do_action_fallback(&self, request: Request<Action>) -> Answer<<Self as FlightService>::DoActionStream> {
        let body = match request.get_ref().r#type.as_str() {
            CANCEL_FLIGHT_INFO => {
                let command = CancelFlightInfoRequest::decode(request.get_ref().body.clone())
                    .map_err(|error| Status::invalid_argument(error.to_string()))?;
                let status = self.cancel(&command.info.unwrap_or_default())?;
                Some(CancelFlightInfoResult::new(status).encode_to_vec())
            }
            WAITING => self.connection(&request)?.session.waiting().map(String::into_bytes),
            other => return Err(Status::unimplemented(format!("there is no action '{other}'"))),
        };
        let results = body.map(|body| Ok(arrow_flight::Result::new(body)));
        Ok(Response::new(stream::iter(results).boxed()))
    }

    // ---- catalog calls -----------------------------------------------------------------------

    async fn get_flight_info_catalogs(
        &self,
        _: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, catalog::catalogs())
    }

    async fn do_get_catalogs(&self, _: CommandGetCatalogs, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(catalog::catalogs())
    }

    async fn get_flight_info_schemas(
        &self,
        command: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, catalog::schemas(command, &self.catalog()?))
    }

    async fn do_get_schemas(&self, command: CommandGetDbSchemas, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(catalog::schemas(command, &self.catalog()?))
    }

    async fn get_flight_info_tables(
        &self,
        command: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, catalog::tables(command, &self.catalog()?))
    }

    async fn do_get_tables(&self, command: CommandGetTables, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(catalog::tables(command, &self.catalog()?))
    }

    async fn get_flight_info_table_types(
        &self,
        _: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, catalog::table_types())
    }

    async fn do_get_table_types(&self, _: CommandGetTableTypes, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(catalog::table_types())
    }

    async fn get_flight_info_primary_keys(
        &self,
        command: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, catalog::primary_keys(&command, &self.catalog()?))
    }

    async fn do_get_primary_keys(&self, command: CommandGetPrimaryKeys, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(catalog::primary_keys(&command, &self.catalog()?))
    }

    async fn get_flight_info_exported_keys(
        &self,
        _: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, catalog::foreign_keys())
    }

    async fn do_get_exported_keys(&self, _: CommandGetExportedKeys, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(catalog::foreign_keys())
    }

    async fn get_flight_info_imported_keys(
        &self,
        _: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, catalog::foreign_keys())
    }

    async fn do_get_imported_keys(&self, _: CommandGetImportedKeys, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(catalog::foreign_keys())
    }

    async fn get_flight_info_cross_reference(
        &self,
        _: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, catalog::foreign_keys())
    }

    async fn do_get_cross_reference(&self, _: CommandGetCrossReference, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(catalog::foreign_keys())
    }

    async fn get_flight_info_sql_info(
        &self,
        command: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, command.into_builder(&facts::SQL_INFO).build())
    }

    async fn do_get_sql_info(&self, command: CommandGetSqlInfo, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(command.into_builder(&facts::SQL_INFO).build())
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        command: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.catalog_info(request, command.into_builder(&facts::TYPES).build())
    }

    async fn do_get_xdbc_type_info(&self, command: CommandGetXdbcTypeInfo, _: Request<Ticket>) -> Answer<FlightStream> {
        catalog_rows(command.into_builder(&facts::TYPES).build())
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}

impl SqlService {
    fn catalog(&self) -> Result<Catalog, Status> {
        let instance = self.connections.instance();
        Ok(instance.map_err(metadata::status)?.catalog())
    }
}
