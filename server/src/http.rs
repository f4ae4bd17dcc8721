//! HTTP for those who watch a server: `/healthz` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::flight::connection::Connections;
use observation::Observation;

mod metrics;
mod observation;
#[cfg(test)]
mod tests;

/// An instance that doesn't say within this time how it stands is not well.
const PATIENCE: Duration = Duration::from_secs(5);

/// The routes, over the connections of a server.
pub fn router(connections: Arc<Connections>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .with_state(connections)
}

async fn index() -> &'static str {
    concat!(
        "Weir ",
        env!("CARGO_PKG_VERSION"),
        "\n/healthz  is it well, and which views failed (JSON)\n/metrics  for Prometheus\n\
         SQL goes to the gRPC address: weir --connect http://host:port\n"
    )
}

/// Looks at the instance, on a thread that may block; `None` if that takes too long or fails.
async fn observe(connections: Arc<Connections>) -> Result<Observation, String> {
    let look = tokio::task::spawn_blocking(move || Observation::of(&connections));
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(Ok(Ok(observation))) => Ok(observation),
        Ok(Ok(Err(error))) => Err(error.message),
        Ok(Err(panic)) => Err(format!("internal error (please report): {panic}")),
        Err(_) => Err(format!("the instance did not answer within {} s", PATIENCE.as_secs())),
    }
}

/// 200 if the instance answers, whatever its views do: a restart would not help them.
async fn health(State(connections): State<Arc<Connections>>) -> Response {
    let (code, body) = match observe(connections).await {
        Ok(observation) => (StatusCode::OK, healthy(&observation)),
        Err(cause) => (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "status": "unavailable", "cause": cause }),
        ),
    };
    (code, [(CONTENT_TYPE, "application/json")], format!("{body:#}\n")).into_response()
}

fn healthy(observation: &Observation) -> Value {
    let failed: Vec<Value> = observation
        .failures()
        .map(|failure| {
            let mut view = json!({ "name": failure.name, "cause": failure.cause });
            if let Some(retry) = failure.retry_in_ms {
                view["retry_in_ms"] = json!(retry);
            }
            view
        })
        .collect();
    json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "views": observation.views.len(),
        "failed": failed,
    })
}

async fn metrics(State(connections): State<Arc<Connections>>) -> Response {
    match observe(connections).await {
        Ok(observation) => {
            let text = metrics::exposition(&observation);
            ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
        }
        Err(cause) => (StatusCode::SERVICE_UNAVAILABLE, format!("{cause}\n")).into_response(),
    }
}
