//! What a ticket or the handle of a prepared statement carries: JSON that only this server reads.

use arrow_flight::Ticket;
use arrow_flight::sql::{Any, Command, ProstMessageExt, TicketStatementQuery};
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::connection::ConnectionId;
use super::metadata::{Outcome, internal};

/// What a client holds of the server's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handle {
    /// A planned statement of a connection, whose rows can be fetched once.
    Statement(Place),
    /// A prepared statement of a connection.
    Prepared(Place),
    /// What a command or an update did, itself.
    Outcome(Outcome),
}

/// Where a statement is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The connection that it belongs to.
    pub connection: ConnectionId,
    /// Its number there.
    pub number: u64,
}

impl Handle {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a handle is plain data").into()
    }

    /// From bytes that a client sent.
    pub fn decode(bytes: &[u8]) -> Result<Handle, Status> {
        serde_json::from_slice(bytes).map_err(|_| {
            Status::invalid_argument("this ticket or handle was not made by a Weir server of this version")
        })
    }

    /// As a ticket.
    pub fn ticket(&self) -> Ticket {
        let query = TicketStatementQuery {
            statement_handle: self.encode(),
        };
        Ticket::new(query.as_any().encode_to_vec())
    }

    /// From a ticket made by [`Handle::ticket`]; `None` for the tickets of catalog calls.
    pub fn of_ticket(ticket: &Ticket) -> Result<Option<Handle>, Status> {
        let any = Any::decode(&*ticket.ticket).map_err(|error| Status::invalid_argument(error.to_string()))?;
        match Command::try_from(any).map_err(internal)? {
            Command::TicketStatementQuery(query) => Handle::decode(&query.statement_handle).map(Some),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_comes_back_from_its_ticket() {
        let place = Place {
            connection: ConnectionId::fresh(),
            number: 7,
        };
        for handle in [Handle::Statement(place), Handle::Prepared(place)] {
            assert_eq!(Handle::of_ticket(&handle.ticket()).unwrap(), Some(handle));
        }
    }

    #[test]
    fn bytes_of_others_are_refused() {
        for bytes in [
            &b""[..],
            b"{}",
            b"\xff\x00",
            br#"{"statement":{"connection":"x","number":1}}"#,
        ] {
            let status = Handle::decode(bytes).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
        }
    }
}
