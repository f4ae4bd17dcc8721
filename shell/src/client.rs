//! The client: statements to a Weir server by Flight SQL, be it far away or in this process.
//!
//! A client is one gRPC connection, and so one session. A query, INSERT, UPDATE or DELETE that is dropped
//! before its end, as the future of the statement or the stream of its rows, ends in the server, and changes
//! nothing unless it was committing already. Any other statement that was begun is carried out.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::decode::DecodedPayload;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::CommandGetTables;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, FlightInfo, IpcMessage, Ticket};
use futures::future;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use tonic::transport::{Channel, Endpoint};
use weir_server::Instance;
use weir_server::PUSH_METADATA;
pub use weir_server::PushKind;
use weir_server::flight::{KIND_METADATA, NOTICES_METADATA, TAG_METADATA, WAITING, late_notices};

pub use error::ClientError;
use error::Place;

mod error;
#[cfg(test)]
mod tests;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// A server that says nothing is asked this often whether it is still there, and has as long to answer.
const ARE_YOU_THERE: Duration = Duration::from_secs(20);

/// A session on a Weir server.
pub struct Client {
    flight: FlightSqlServiceClient<Channel>,
    place: Place,
}

/// What a statement answered.
pub struct Reply {
    /// What the user should know besides.
    pub notices: Vec<String>,
    /// The answer itself.
    pub body: ReplyBody,
}

/// The answer itself.
pub enum ReplyBody {
    /// A command was carried out, or rows were changed: `CREATE SOURCE`, `INSERT 3`.
    Done(String),
    /// Rows that end.
    Rows(RowStream),
    /// Rows as they change, until their inputs end or the stream is dropped.
    Push(RowStream, PushKind),
}

/// Rows as they come. Dropping it cancels the query.
pub struct RowStream {
    /// Columns of every batch.
    pub schema: SchemaRef,
    /// The batches.
    pub stream: BoxStream<'static, Result<RecordBatch, ClientError>>,
    /// What the user should know when all of them have come.
    pub late: Arc<Mutex<Vec<String>>>,
}

impl Client {
    /// A session on an instance of this process.
    ///
    /// # Errors
    /// None that a user could cause.
    pub async fn embedded(instance: Arc<Instance>) -> Result<Client, ClientError> {
        let channel = weir_server::embedded(instance)
            .await
            .map_err(|error| ClientError::new(error.message))?;
        Ok(Client::over(channel, Place::Embedded))
    }

    /// A session on a server, such as `http://127.0.0.1:50051`.
    ///
    /// # Errors
    /// If the address makes no sense, if nobody answers there, or somebody who is no Weir server.
    pub async fn connect(url: &str) -> Result<Client, ClientError> {
        let endpoint = endpoint(url)?;
        let place = Place::Server(endpoint.uri().to_string().trim_end_matches('/').to_string());
        let channel = endpoint.connect().await.map_err(|error| place.unreachable(&error))?;
        let client = Client::over(channel, place);
        // A connection alone doesn't show who is at its other end.
        match client.ask_waiting().await {
            Ok(_) => Ok(client),
            Err(error) => Err(client.place.stranger(&error)),
        }
    }

    fn over(channel: Channel, place: Place) -> Client {
        let service = FlightServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        Client {
            flight: FlightSqlServiceClient::new_from_inner(service),
            place,
        }
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// What the server says: it is meant to be read, and has line and caret where a place is known.
    pub async fn run(&self, sql: &str) -> Result<Reply, ClientError> {
        self.answer(sql).await.map_err(|error| self.place.error(error))
    }

    async fn answer(&self, sql: &str) -> Result<Reply, FlightError> {
        let info = self.flight.clone().execute(sql.to_string(), None).await?;
        let ticket = ticket(&info)?;
        let metadata = info.try_decode_schema()?.metadata;
        match metadata.get(KIND_METADATA).map(String::as_str) {
            Some("command" | "update") => Ok(Reply {
                notices: notices(&metadata),
                body: ReplyBody::Done(metadata.get(TAG_METADATA).cloned().unwrap_or_default()),
            }),
            _ => self.fetch(ticket).await,
        }
    }

    /// The rows of a query. The first message has their schema, before any row is there.
    async fn fetch(&self, ticket: Ticket) -> Result<Reply, FlightError> {
        let mut messages = self.flight.clone().do_get(ticket).await?.into_inner();
        let schema = loop {
            match messages.try_next().await?.map(|message| message.payload) {
                Some(DecodedPayload::Schema(schema)) => break schema,
                Some(DecodedPayload::None) => {}
                Some(DecodedPayload::RecordBatch(_)) | None => {
                    return Err(FlightError::protocol("rows without a schema"));
                }
            }
        };
        let metadata = schema.metadata();
        let push = metadata.get(PUSH_METADATA).and_then(|word| PushKind::of_word(word));
        let place = self.place.clone();
        let late: Arc<Mutex<Vec<String>>> = Arc::default();
        let said = late.clone();
        let stream = messages
            .try_filter_map(move |message| {
                if let Ok(mut said) = said.lock() {
                    said.extend(late_notices(&message.inner.app_metadata));
                }
                future::ok(match message.payload {
                    DecodedPayload::RecordBatch(batch) => Some(batch),
                    DecodedPayload::Schema(_) | DecodedPayload::None => None,
                })
            })
            .map_err(move |error| place.error(error));
        let rows = RowStream {
            schema: schema.clone(),
            stream: stream.boxed(),
            late,
        };
        Ok(Reply {
            notices: notices(metadata),
            body: match push {
                Some(kind) => ReplyBody::Push(rows, kind),
                None => ReplyBody::Rows(rows),
            },
        })
    }

    /// Names of relations and columns, for completion; none where the server can't be asked.
    pub async fn names(&self) -> Vec<String> {
        self.ask_names().await.map(Vec::from_iter).unwrap_or_default()
    }

    async fn ask_names(&self) -> Result<BTreeSet<String>, FlightError> {
        let mut flight = self.flight.clone();
        let command = CommandGetTables {
            include_schema: true,
            ..CommandGetTables::default()
        };
        let info = flight.get_tables(command).await?;
        let tables: Vec<RecordBatch> = flight.do_get(ticket(&info)?).await?.try_collect().await?;
        let mut names = BTreeSet::new();
        for batch in &tables {
            let text = |name: &str| {
                batch
                    .column_by_name(name)
                    .and_then(|column| column.as_string_opt::<i32>())
            };
            let schemas = batch
                .column_by_name("table_schema")
                .and_then(|column| column.as_binary_opt::<i32>());
            let (Some(places), Some(tables), Some(schemas)) = (text("db_schema_name"), text("table_name"), schemas)
            else {
                return Err(FlightError::protocol("GetTables without its columns"));
            };
            for row in 0..batch.num_rows() {
                let table = tables.value(row);
                names.insert(match places.value(row) {
                    "public" => table.to_string(),
                    place => format!("{place}.{table}"),
                });
                let schema = Schema::try_from(IpcMessage(schemas.value(row).to_vec().into()))?;
                names.extend(schema.fields().iter().map(|field| field.name().clone()));
            }
        }
        Ok(names)
    }

    /// What a statement of this session is waiting for at the moment, in words.
    pub async fn waiting(&self) -> Option<String> {
        self.ask_waiting().await.ok().flatten()
    }

    async fn ask_waiting(&self) -> Result<Option<String>, FlightError> {
        let mut results = self.flight.clone().do_action(Action::new(WAITING, "")).await?;
        let result = results.message().await?;
        Ok(result.map(|result| String::from_utf8_lossy(&result.body).into_owned()))
    }
}

fn endpoint(url: &str) -> Result<Endpoint, ClientError> {
    let (scheme, address) = url.split_once("://").unwrap_or(("http", url));
    match scheme {
        "http" | "grpc" | "grpc+tcp" => {}
        "https" | "grpcs" | "grpc+tls" => {
            return Err(ClientError::new(format!(
                "{url}: encrypted connections are not there yet; use http://{address}"
            )));
        }
        _ => {
            return Err(ClientError::new(format!(
                "{url}: '{scheme}' is no way to a Weir server; use http://{address}"
            )));
        }
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok();
    let endpoint = endpoint.filter(|endpoint| endpoint.uri().port().is_some());
    let endpoint = endpoint.ok_or_else(|| {
        ClientError::new(format!(
            "'{url}' is not the address of a server; it looks like http://127.0.0.1:50051"
        ))
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(ARE_YOU_THERE)
        .keep_alive_timeout(ARE_YOU_THERE)
        .keep_alive_while_idle(true))
}

fn ticket(info: &FlightInfo) -> Result<Ticket, FlightError> {
    let ticket = info.endpoint.first().and_then(|endpoint| endpoint.ticket.clone());
    ticket.ok_or_else(|| FlightError::protocol("an answer without a ticket"))
}

fn notices(metadata: &HashMap<String, String>) -> Vec<String> {
    let text = metadata.get(NOTICES_METADATA);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
