//! The one DataFusion session of the dialect: functions, options and rules, for continuous and
//! ad-hoc queries alike, so that both give the same answers.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, TableType, Volatility, WindowUDF,
};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{ContextProvider, ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast;

use super::{errors, window};
use crate::Result;
use crate::catalog::{Catalog, Definition, Relation};

/// The session's functions, options and physical planner.
pub fn state() -> &'static SessionState {
    static STATE: OnceLock<SessionState> = OnceLock::new();
    STATE.get_or_init(|| {
        let mut config = SessionConfig::new()
            .with_target_partitions(1)
            .with_information_schema(false);
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        config.options_mut().sql_parser.collect_spans = true;
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .build();
        for function in window::functions() {
            use datafusion::execution::FunctionRegistry;
            state
                .register_udf(function)
                .expect("window functions have names of their own");
        }
        state
    })
}

fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true)
}

/// A relation of the catalog as DataFusion's planner sees it.
pub struct RelationSource {
    /// The relation.
    pub relation: Arc<Relation>,
    plan: Option<LogicalPlan>,
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        self.relation.schema.clone()
    }

    fn table_type(&self) -> TableType {
        if self.plan.is_some() {
            TableType::View
        } else {
            TableType::Base
        }
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.plan.as_ref().map(Cow::Borrowed)
    }
}

/// How a catalog relation becomes a table source; plain views are planned in place.
pub type MakeSource<'a> = &'a dyn Fn(&Arc<Relation>) -> Arc<dyn TableSource>;

struct Provider<'a> {
    catalog: &'a Catalog,
    make: MakeSource<'a>,
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> datafusion::common::Result<Arc<dyn TableSource>> {
        let name = match name.schema() {
            Some("public") | None => name.table().to_string(),
            Some(schema) => format!("{schema}.{}", name.table()),
        };
        let Some(relation) = self.catalog.find(&name) else {
            let hint = self
                .catalog
                .similar(&name)
                .map(|other| format!("; did you mean '{other}'?"));
            return Err(DataFusionError::Plan(format!(
                "relation '{name}' does not exist{}",
                hint.unwrap_or_default()
            )));
        };
        match &relation.definition {
            Definition::View(query) => {
                let plan = raw_plan(&query.ast, self.catalog, self.make)?;
                Ok(Arc::new(RelationSource {
                    relation: relation.clone(),
                    plan: Some(plan),
                }))
            }
            Definition::Sink(_) => Err(DataFusionError::Plan(format!(
                "'{name}' is a sink: it delivers outside and can't be read; read what it delivers instead"
            ))),
            _ => Ok((self.make)(relation)),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        state().expr_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        state().scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        state().higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        state().aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        state().window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        state().config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        state()
            .scalar_functions()
            .keys()
            .filter(|name| !name.starts_with("weir_"))
            .cloned()
            .collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        state().higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        state().aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        state().window_functions().keys().cloned().collect()
    }
}

/// DataFusion's plan of a query, as written.
pub fn raw_plan(
    query: &ast::Query,
    catalog: &Catalog,
    make: MakeSource<'_>,
) -> datafusion::common::Result<LogicalPlan> {
    statement_plan(ast::Statement::Query(Box::new(query.clone())), catalog, make)
}

/// DataFusion's plan of a query or a DML statement, as written.
pub fn statement_plan(
    statement: ast::Statement,
    catalog: &Catalog,
    make: MakeSource<'_>,
) -> datafusion::common::Result<LogicalPlan> {
    let provider = Provider { catalog, make };
    SqlToRel::new_with_options(&provider, parser_options()).sql_statement_to_plan(statement)
}

/// A scalar expression over the columns of `schema`.
pub fn scalar(expr: &ast::Expr, schema: &datafusion::common::DFSchema, catalog: &Catalog) -> Result<Expr> {
    let provider = Provider {
        catalog,
        make: &stream_source,
    };
    let planner = SqlToRel::new_with_options(&provider, parser_options());
    planner
        .sql_to_expr(expr.clone(), schema, &mut PlannerContext::new())
        .map_err(errors::translate)
}

fn stream_source(relation: &Arc<Relation>) -> Arc<dyn TableSource> {
    Arc::new(RelationSource {
        relation: relation.clone(),
        plan: None,
    })
}

/// The plan of a continuous query: analyzed, windows made explicit, and brought into the form that
/// [`super::query`] translates.
pub fn stream_plan(query: &ast::Query, catalog: &Catalog) -> Result<LogicalPlan> {
    let plan = raw_plan(query, catalog, &stream_source).map_err(errors::translate)?;
    refuse_volatile(&plan)?;
    let plan = window::make_explicit(plan).map_err(errors::translate)?;
    let options = state().config_options();
    let plan = Analyzer::new()
        .execute_and_check(plan, options, |_, _| {})
        .map_err(errors::translate)?;
    Optimizer::with_rules(stream_rules())
        .optimize(plan, &OptimizerContext::new().with_max_passes(4), |_, _| {})
        .map_err(errors::translate)
}

/// The plan of a query that is read once, as written, with HOP made executable.
pub fn read_plan(query: &ast::Query, catalog: &Catalog) -> Result<LogicalPlan> {
    let plan = raw_plan(query, catalog, &stream_source).map_err(errors::translate)?;
    window::make_batch(plan).map_err(errors::translate)
}

/// The relations that a plan reads.
pub fn read_relations(plan: &LogicalPlan) -> Vec<weir_engine::relation::RelationId> {
    let mut found = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<RelationSource>()
            && !found.contains(&source.relation.id)
        {
            found.push(source.relation.id);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The logical rules that keep a continuous query's meaning.
fn stream_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

/// A value that differs from one evaluation to the next can't be taken back by a later delete.
fn refuse_volatile(plan: &LogicalPlan) -> Result<()> {
    let mut found = HashSet::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    found.insert(call.func.name().to_string());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(errors::translate)?;
    let mut found: Vec<String> = found.into_iter().collect();
    found.sort();
    match found.first() {
        None => Ok(()),
        Some(name) => Err(crate::Error::new(format!(
            "{name}() in a continuous query is not supported yet: its value changes with time or call; use a column \
             of the source (for example METADATA FROM 'timestamp') or ask ad hoc with SELECT"
        ))),
    }
}
