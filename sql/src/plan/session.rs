//! The one DataFusion session of the dialect: functions, options and rules, for continuous and
//! ad-hoc queries alike, so that both give the same answers.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use datafusion::catalog::TableFunctionArgs;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::{ExprPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprSchemable, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource,
    TableType, WindowUDF,
};
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyExpressions};
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext, OptimizerRule};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{ContextProvider, ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast::{self, TimezoneInfo};
use weir_engine::format::json::value::JSON;
use weir_engine::format::uuid::UUID;

use super::branches::NamedBranches;
use super::calls::MeantCalls;
use super::checked::{self, CheckedValues};
use super::equalities::Equalities;
use super::filters::Filters;
use super::guarded::FilteredArguments;
use super::intervals::Intervals;
use super::kinds::{self, Kinds};
use super::never::NeverOverOneGroup;
use super::operators::{self, Meanings};
use super::places::Places;
use super::query::ends_when_read;
use super::scalars::{self, StableTypes};
use super::subquery::{self, Use};
use super::{
    as_of, clock, drawn, errors, extremes, fetch, first_rows, floats, groupings, hidden, history, joined_text, json,
    multiset, named_windows, names, now, numbers, one_group, ordered_sets, parameters, percentiles, qualify, refuse,
    rounds, row_values, spelled, sums, unnest, using, value_strings, window, zones,
};
use crate::Result;
use crate::catalog::{Catalog, Definition, Relation};
use crate::read::apart;
use crate::statement::Query;

/// The session's functions, options and physical planner.
pub fn state() -> &'static SessionState {
    static STATE: OnceLock<SessionState> = OnceLock::new();
    STATE.get_or_init(|| {
        let mut config = SessionConfig::new()
            .with_target_partitions(1)
            .with_information_schema(false);
        // TIMESTAMPTZ is a moment in UTC; without a zone DataFusion would plan it as TIMESTAMP.
        config.options_mut().execution.time_zone = Some("+00:00".to_string());
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        config.options_mut().sql_parser.collect_spans = true;
        config.options_mut().sql_parser.parse_float_as_decimal = true;
        // Many partners of a row are many batches.
        config.options_mut().execution.enforce_batch_size_in_joins = true;
        // Its two planners do not always agree on whether a column can be NULL: where VALUES meet a UNION,
        // of `b IS TRUE`.
        config.options_mut().execution.skip_physical_aggregate_schema_check = true;
        // It splits a sum beside a DISTINCT into a sum of sums, which for decimals has another type than
        // the plan says.
        let mut rules = Optimizer::new().rules;
        rules.retain(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
        for rule in &mut rules {
            if rule.name() == Equalities::default().name() {
                *rule = Arc::new(Equalities::default());
            }
            if rule.name() == Filters::default().name() {
                *rule = Arc::new(Filters::default());
            }
        }
        // These compute ahead, below windows and LIMITs, in the place of columns that break ties there.
        let ahead = [
            "common_sub_expression_eliminate",
            "extract_leaf_expressions",
            "push_down_leaf_projections",
        ];
        rules.retain(|rule| !ahead.contains(&rule.name()));
        let mut analyzing = Analyzer::new().rules;
        analyzing.insert(0, Arc::new(NamedBranches));
        analyzing.insert(0, Arc::new(StableTypes));
        analyzing.insert(1, Arc::new(Kinds));
        analyzing.push(Arc::new(Intervals));
        analyzing.push(Arc::new(Places));
        analyzing.push(Arc::new(FilteredArguments));
        analyzing.push(Arc::new(MeantCalls));
        analyzing.push(Arc::new(CheckedValues));
        let mut running = PhysicalOptimizer::new().rules;
        // They take conditions, or parts of them, below what guards them.
        running.retain(|rule| !rule.name().starts_with("FilterPushdown") && rule.name() != "ProjectionPushdown");
        running.insert(0, Arc::new(apart::Unions));
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            // The first of several that plans something has planned it.
            .with_expr_planners(vec![Arc::new(Meanings)])
            .with_default_features()
            .with_optimizer_rules(rules)
            .with_analyzer_rules(analyzing)
            .with_physical_optimizer_rules(running)
            .build();
        state
            .register_expr_planner(Arc::new(json::Operators))
            .expect("operators can be registered");
        state
            .register_expr_planner(Arc::new(scalars::Scaled))
            .expect("operators can be registered");
        let own = [
            window::functions(),
            as_of::functions(),
            json::functions(),
            clock::functions(),
            vec![row_values::function(), history::function()],
            ordered_sets::functions(),
        ];
        for function in own.into_iter().flatten() {
            state.register_udf(function).expect("functions can be registered");
        }
        state
            .register_udf(zones::function())
            .expect("functions can be registered");
        scalars::register(&mut state).expect("functions can be registered");
        let aggregates = sums::functions().into_iter().chain(extremes::functions());
        for function in aggregates
            .chain(percentiles::functions())
            .chain([joined_text::function().into()])
        {
            state.register_udaf(function).expect("functions can be registered");
        }
        state
    })
}

fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true)
        // As in PostgreSQL: 0.1 is a DECIMAL, and what is computed with it exact.
        .with_parse_float_as_decimal(true)
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

/// Relations and functions, for DataFusion's planner; plain views are planned in place.
struct Provider<'a> {
    catalog: &'a Catalog,
    /// Plain views that are being planned, the innermost last.
    within: Vec<&'a str>,
}

impl<'a> Provider<'a> {
    fn new(catalog: &'a Catalog) -> Provider<'a> {
        Provider {
            catalog,
            within: Vec::new(),
        }
    }

    fn plan(&self, statement: ast::Statement) -> datafusion::common::Result<LogicalPlan> {
        SqlToRel::new_with_options(self, parser_options()).sql_statement_to_plan(statement)
    }

    /// A plain view's plan, with its columns called as the view calls them.
    fn view_plan(&self, relation: &'a Relation, query: &Query) -> datafusion::common::Result<LogicalPlan> {
        if self.within.contains(&relation.name.as_str()) {
            return Err(DataFusionError::Plan(format!("view '{}' reads itself", relation.name)));
        }
        let mut inner = Provider::new(self.catalog);
        inner.within = self.within.iter().copied().chain([relation.name.as_str()]).collect();
        let plan = inner.plan(statement(&query.ast, self.catalog)?)?;
        let columns: Vec<Column> = plan.schema().columns();
        let named = columns.into_iter().zip(relation.schema.fields());
        if named.clone().all(|(column, field)| column.name == *field.name()) {
            return Ok(plan);
        }
        let exprs: Vec<Expr> = named
            .map(|(column, field)| Expr::Column(column).alias(field.name()))
            .collect();
        LogicalPlanBuilder::from(plan).project(exprs)?.build()
    }
}

/// A query as the planner takes it, its columns named.
fn statement(query: &ast::Query, catalog: &Catalog) -> datafusion::common::Result<ast::Statement> {
    let mut query = query.clone();
    names::as_written(&mut query);
    numbers::typed(&mut query);
    spelled::out(&mut query).map_err(|error| DataFusionError::External(Box::new(error)))?;
    value_strings::typed(&mut query);
    unnest::numbered(&mut query);
    groupings::spelled_out(&mut query);
    one_group::spelled_out(&mut query);
    hidden::renamed(&mut query);
    operators::as_meant(&mut query)
        .map(|()| floats::in_values(&mut query, catalog))
        .and_then(|()| named_windows::written_out(&mut query))
        .map(|()| qualify::spelled_out(&mut query))
        .and_then(|()| using::spelled_out(&mut query, catalog))
        .and_then(|()| fetch::as_limits(&mut query))
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    Ok(ast::Statement::Query(Box::new(query)))
}

/// Types of the dialect that DataFusion's planner has not.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, written: &ast::DataType) -> datafusion::common::Result<Option<FieldRef>> {
        Ok(match written {
            ast::DataType::Uuid => Some(Arc::new(Field::new("", UUID, true))),
            ast::DataType::JSON | ast::DataType::JSONB => Some(Arc::new(Field::new("", JSON, true))),
            // As columns have it, to the microsecond.
            ast::DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Some(Arc::new(Field::new("", DataType::Time64(TimeUnit::Microsecond), true)))
            }
            map @ ast::DataType::Map(..) => {
                let kind = super::bind::data_type(map, &Catalog::default());
                let kind = kind.map_err(|error| DataFusionError::External(Box::new(error)))?;
                Some(Arc::new(Field::new("", kind, true)))
            }
            _ => None,
        })
    }
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> datafusion::common::Result<Arc<dyn TableSource>> {
        let name = match name.schema() {
            Some("public") | None => name.table().to_string(),
            Some(schema) => format!("{schema}.{}", name.table()),
        };
        let Some(relation) = self.catalog.find(&name) else {
            return Err(DataFusionError::Plan(self.catalog.missing(&name)));
        };
        match &relation.definition {
            Definition::View(query) => {
                let plan = self.view_plan(relation, query)?;
                Ok(Arc::new(RelationSource {
                    relation: relation.clone(),
                    plan: Some(plan),
                }))
            }
            Definition::Sink(_) => Err(DataFusionError::Plan(format!(
                "'{name}' is a sink: it delivers outside and can't be read; read what it delivers instead"
            ))),
            _ => Ok(Arc::new(RelationSource {
                relation: relation.clone(),
                plan: None,
            })),
        }
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> datafusion::common::Result<Arc<dyn TableSource>> {
        let Some(function) = state().table_functions().get(name) else {
            return Err(DataFusionError::Plan(format!(
                "'{name}' is no function that gives rows; generate_series(first, last), UNNEST(array), \
                 json_array_elements, json_each and the like are, and TUMBLE, HOP, CUMULATE, SESSION"
            )));
        };
        let nothing = DFSchema::empty();
        let computed = |arg: Expr| computed(arg, &nothing).map_err(|error| DataFusionError::External(Box::new(error)));
        let args = args
            .into_iter()
            .map(computed)
            .collect::<datafusion::common::Result<Vec<Expr>>>()?;
        let provider = function.create_table_provider_with_args(TableFunctionArgs::new(&args, state()))?;
        Ok(provider_as_source(provider))
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> datafusion::common::Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(
            name,
            rounds::rows_so_far(&schema),
        ))))
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

/// A scalar expression over the columns of `schema`.
pub fn scalar(expr: &ast::Expr, schema: &DFSchema, catalog: &Catalog) -> Result<Expr> {
    let provider = Provider::new(catalog);
    let planner = SqlToRel::new_with_options(&provider, parser_options());
    let mut expr = expr.clone();
    numbers::typed(&mut expr);
    spelled::out(&mut expr)?;
    operators::as_meant(&mut expr)?;
    planner
        .sql_to_expr(expr, schema, &mut PlannerContext::new())
        .and_then(|expr| expr.transform_up(|expr| parameters::told_in(expr, schema)))
        .map(|done| done.data)
        .map_err(errors::translate)
}

/// The Arrow type of a type that is no array, struct or map.
pub fn data_type(kind: &ast::DataType, catalog: &Catalog) -> Result<DataType> {
    let null = ast::Expr::Value(ast::Value::Null.into());
    let cast = ast::Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(null),
        data_type: kind.clone(),
        array: false,
        format: None,
    };
    let nothing = DFSchema::empty();
    let planned = scalar(&cast, &nothing, catalog)?;
    planned.get_type(&nothing).map_err(errors::translate)
}

/// The expression with types made to fit, as in a query.
pub fn coerced(expr: Expr, rows: &DFSchema) -> Result<Expr> {
    let expr = kinds::held(expr, rows).map_err(errors::translate)?;
    simplifier(rows).coerce(expr, rows).map_err(errors::translate)
}

/// The same, and computed as far as it is constant.
pub fn computed(expr: Expr, rows: &DFSchema) -> Result<Expr> {
    let expr = coerced(expr, rows)?;
    let expr = checked::functions(expr, rows).map_err(errors::translate)?;
    simplifier(rows).simplify(expr).map_err(errors::translate)
}

fn simplifier(rows: &DFSchema) -> ExprSimplifier {
    ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(rows.clone())).build())
}

/// The plan of a continuous query: analyzed, windows made explicit, and brought into the form that
/// [`super::query`] translates.
pub fn stream_plan(query: &ast::Query, catalog: &Catalog) -> Result<LogicalPlan> {
    let mut query = query.clone();
    fetch::as_limits_without_order(&mut query)?;
    let plan = raw_plan(&query, catalog)?;
    let plan = first_rows::spelled_out(plan, false)
        .and_then(now::filtered)
        .map_err(errors::translate)?;
    refuse::as_written(&plan)?;
    let plan = now::as_parameter(plan)
        .and_then(|plan| as_of::explicit(plan, Use::Kept))
        .and_then(drawn::made_once)
        .map_err(errors::translate)?;
    let plan = window::make_explicit(plan).map_err(errors::translate)?;
    let plan = analyzed(rewritten(plan, Use::Kept)?)?;
    let mut options = ConfigOptions::default();
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    options.optimizer.max_passes = 4;
    let context = OptimizerContext::new_with_config_options(Arc::new(options));
    let plan = Optimizer::with_rules(stream_rules())
        .optimize(plan, &context, |_, _| {})
        .map_err(errors::translate)?;
    // The graph's expressions are made checked one by one.
    checked::as_operators(plan).map_err(errors::translate)
}

/// The plan of a query that is read once, as written, with its windows made executable.
pub fn read_plan(query: &ast::Query, catalog: &Catalog) -> Result<LogicalPlan> {
    let plan = history::at_scans(raw_plan(query, catalog)?).map_err(errors::translate)?;
    ends_when_read(&plan)?;
    let plan = first_rows::spelled_out(plan, true).map_err(errors::translate)?;
    let plan = as_of::explicit(plan, Use::Read).map_err(errors::translate)?;
    let plan = window::make_batch(plan).map_err(errors::translate)?;
    rewritten(plan, Use::Read)
}

/// The plan without what DataFusion would plan wrongly, or not at all.
fn rewritten(plan: LogicalPlan, purpose: Use) -> Result<LogicalPlan> {
    let plan = multiset::explicit(plan, purpose).map_err(errors::translate)?;
    subquery::explicit(plan, purpose).map_err(errors::translate)
}

/// DataFusion's plan of a query, as written.
fn raw_plan(query: &ast::Query, catalog: &Catalog) -> Result<LogicalPlan> {
    let provider = Provider::new(catalog);
    let plan = statement(query, catalog)
        .and_then(|statement| provider.plan(statement))
        .and_then(rounds::may_be_null)
        .and_then(unnest::beside_rows)
        .and_then(parameters::told)
        .map_err(errors::translate)
        .map_err(|error| errors::placed(error, query))?;
    refuse::misplaced(&plan)?;
    Ok(plan)
}

/// The plan with types that fit, or the error that says which don't.
pub fn analyzed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let state = state();
    state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})
        .map_err(errors::translate)
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

/// The logical rules that keep a continuous query's meaning. None that takes a relation out of which no
/// row passes: an answer that is always empty is one, and is kept up to date like any other.
fn stream_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(Equalities::default()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(NeverOverOneGroup),
        Arc::new(Filters::default()),
        Arc::new(Equalities::default()),
        Arc::new(OptimizeProjections::new()),
    ]
}
