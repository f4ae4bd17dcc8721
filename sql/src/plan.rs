//! Planning: from statements to relations that can run.
//!
//! A query goes through DataFusion's SQL planner, analyzer and a chosen list of logical rules;
//! what comes out is translated into a streaming graph. What can't be kept up to date is refused
//! here, with the reason and the nearest thing that works.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use weir_engine::graph::Graph;
use weir_engine::relation::RelationId;

use crate::catalog::{Catalog, Relation};
use crate::statement::{CreateSink, CreateSource, CreateTable, CreateView, Query};
use crate::Result;

/// A push query, planned.
pub struct PushQuery {
    /// Its graph.
    pub graph: Arc<Graph>,
    /// Its columns.
    pub schema: SchemaRef,
    /// It only adds rows.
    pub append_only: bool,
    /// Relations that it reads.
    pub depends_on: Vec<RelationId>,
}
