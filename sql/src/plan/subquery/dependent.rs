//! A subquery that looks at rows outside, as one that doesn't.
//!
//! What it looks at are some columns, and what it answers hangs on their values alone. So it is computed for
//! all values that there are at once: a relation of these values, each once, stands in the place of the
//! row outside, and every operator above does for each of them what it did for one row. An aggregate
//! groups by them, a LIMIT becomes a row number within them. What is outside then joins by them (Neumann
//! and Kemper, "Unnesting Arbitrary Queries", BTW 2015).

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, DataFusionError, JoinType, NullEquality, Result, ScalarValue, TableReference,
};
use datafusion::functions_aggregate::count::count;
use datafusion::functions_aggregate::grouping::grouping_udaf;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction, WindowFunctionDefinition};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, enumerate_grouping_sets};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Extension, GroupingSet, Join, Limit, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, SortExpr, SubqueryAlias, Union, Unnest, Window, WindowFrame, binary_expr, lit, when,
};

use super::renamed::{Names, not_of, renamed, with_query};
use super::{Use, reach};
use crate::plan::drawn::DrawNode;
use crate::plan::multiset::RepeatNode;
use crate::plan::refuse;

/// Whether a row stands for itself, or for there being none.
const PRESENT: &str = "weir_present";
const ROWS: &str = "weir_rows";
const SET: &str = "weir_set";
const NUMBER: &str = "weir_number";

/// The rows outside without the relations beside them that have none of some columns: `FROM a, b, c` is a
/// product until the conditions in WHERE are told, and all of it would be gone through for a column of `a`.
fn with_columns(outer: &LogicalPlan, columns: &[Column]) -> Result<LogicalPlan> {
    let LogicalPlan::Join(join) = outer else {
        return Ok(outer.clone());
    };
    if join.join_type != JoinType::Inner || !join.on.is_empty() || join.filter.is_some() {
        return Ok(outer.clone());
    }
    let (left, right): (Vec<Column>, Vec<Column>) = columns
        .iter()
        .cloned()
        .partition(|column| join.left.schema().has_column(column));
    match (left.is_empty(), right.is_empty()) {
        (_, true) => with_columns(&join.left, &left),
        (true, false) => with_columns(&join.right, &right),
        (false, false) => LogicalPlanBuilder::from(with_columns(&join.left, &left)?)
            .cross_join(with_columns(&join.right, &right)?)?
            .build(),
    }
}

/// What a subquery looks at outside.
pub struct Dependent {
    /// The values of those columns, each combination once.
    values: LogicalPlan,
    /// The columns outside.
    outside: Vec<Column>,
    /// What they are called in `values`.
    inside: Vec<Column>,
    /// Tells its names from those of others.
    number: usize,
    purpose: Use,
}

impl Dependent {
    /// For a subquery that looks at these columns of `outer`.
    pub fn new(outer: &LogicalPlan, outside: Vec<Column>, number: usize, purpose: Use) -> Result<Dependent> {
        if !is_repeatable(outer)? {
            return Err(DataFusionError::External(Box::new(refuse::made_anew())));
        }
        let relation = TableReference::bare(format!("weir_outer_{number}"));
        let inside = columns_of(&relation, outside.len());
        let exprs = outside.iter().zip(&inside).map(|(outside, inside)| {
            Expr::Column(outside.clone()).alias_qualified(inside.relation.clone(), inside.name.clone())
        });
        let values = LogicalPlanBuilder::from(with_columns(outer, &outside)?)
            .project(exprs)?
            .distinct()?
            .build()?;
        Ok(Dependent {
            values,
            outside,
            inside,
            number,
            purpose,
        })
    }

    /// The columns that say which values a row is for.
    pub fn columns(&self) -> Vec<Expr> {
        self.inside.iter().cloned().map(Expr::Column).collect()
    }

    /// That a row is for the values of a row outside, whose columns are written as `outer` says.
    pub fn is_of(&self, outer: impl Fn(&Column) -> Result<Expr>) -> Result<Expr> {
        let outside = self.outside.iter().map(outer).collect::<Result<Vec<_>>>()?;
        let same = self.same(outside, self.columns())?;
        Ok(conjunction(same).unwrap_or_else(|| lit(true)))
    }

    /// That values are the same in two places. Where they are compared once, an equality that follows from
    /// it lets their join be one by hashes.
    fn same(&self, here: Vec<Expr>, there: Vec<Expr>) -> Result<Vec<Expr>> {
        let mut same = Vec::new();
        for ((here, there), field) in here.into_iter().zip(there).zip(self.values.schema().fields()) {
            let kind = field.data_type();
            let compares_plainly = kind.is_integer() || kind.is_temporal() || kind.is_string();
            if self.purpose == Use::Read && compares_plainly {
                let least = ScalarValue::new_default(kind)?;
                let shown = |value: &Expr| when(value.clone().is_null(), lit(least.clone())).otherwise(value.clone());
                same.push(shown(&here)?.eq(shown(&there)?));
            }
            same.push(binary_expr(here, Operator::IsNotDistinctFrom, there));
        }
        Ok(same)
    }

    /// The rows of the subquery for all values: its own columns, then the values'.
    pub fn rows(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        if reach::looked_at(plan, &self.outer_schema()?)?.is_empty() {
            return LogicalPlanBuilder::from(plan.clone())
                .cross_join(self.values.clone())?
                .build();
        }
        match plan {
            LogicalPlan::Filter(filter) => {
                let predicate = self.seen(&filter.predicate, plan)?;
                LogicalPlanBuilder::from(self.rows(&filter.input)?)
                    .filter(predicate)?
                    .build()
            }
            LogicalPlan::Projection(projection) => {
                let names = NamePreserver::new_for_projection();
                let exprs = projection
                    .expr
                    .iter()
                    .map(|expr| Ok(names.save(expr).restore(self.seen(expr, plan)?)));
                let exprs = exprs.collect::<Result<Vec<_>>>()?;
                self.shown(self.rows(&projection.input)?, exprs)
            }
            LogicalPlan::SubqueryAlias(alias) => self.aliased(alias),
            LogicalPlan::Subquery(subquery) => self.rows(&subquery.subquery),
            // Whoever needs the order looks for it.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.rows(&sort.input),
            LogicalPlan::Limit(limit) => self.first(limit),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                LogicalPlanBuilder::from(self.rows(input)?).distinct()?.build()
            }
            LogicalPlan::Aggregate(aggregate) => self.groups(aggregate, plan),
            LogicalPlan::Window(window) => self.window(window, plan),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Join(join) => self.join(join, plan),
            LogicalPlan::Unnest(unnest) => {
                let input = self.rows(&unnest.input)?;
                let columns = unnest.exec_columns.clone();
                Ok(LogicalPlan::Unnest(Unnest::try_new(
                    input.into(),
                    columns,
                    unnest.options.clone(),
                )?))
            }
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<RepeatNode>() {
                Some(repeat) => self.repeated(repeat),
                None => Err(refused()),
            },
            _ => Err(refused()),
        }
    }

    fn outer_schema(&self) -> Result<DFSchema> {
        let fields = self.outside.iter().zip(self.values.schema().fields());
        let fields = fields.map(|(column, field)| {
            let field = field.as_ref().clone().with_name(&column.name);
            (column.relation.clone(), field.into())
        });
        DFSchema::new_with_metadata(fields.collect(), Default::default())
    }

    /// What a query within the subquery calls the columns outside.
    fn names(&self) -> Names {
        let inside = self.inside.iter().zip(self.values.schema().fields());
        let inside = inside.map(|(column, field)| Expr::OuterReferenceColumn(field.clone(), column.clone()));
        self.outside.iter().cloned().zip(inside).collect()
    }

    /// An expression of a node of the subquery with the values in the place of the columns outside.
    fn seen(&self, expr: &Expr, node: &LogicalPlan) -> Result<Expr> {
        let seen = expr.clone().transform_up(|expr| {
            // A query within the subquery finds them in the rows around it then.
            if let Some(query) = reach::query_of(&expr) {
                let past = reach::passing(query, node)?;
                let mut names = self.names();
                names.retain(|(column, _)| past.contains(column));
                return match names.is_empty() {
                    true => Ok(Transformed::no(expr)),
                    false => with_query(expr, |query| renamed(query.clone(), &names)).map(Transformed::yes),
                };
            }
            let Expr::OuterReferenceColumn(_, column) = &expr else {
                return Ok(Transformed::no(expr));
            };
            match self.outside.iter().position(|other| other == column) {
                Some(at) => Ok(Transformed::yes(Expr::Column(self.inside[at].clone()))),
                None => Ok(Transformed::no(expr)),
            }
        });
        seen.map(|done| done.data)
    }

    /// These columns, and the values.
    fn shown(&self, plan: LogicalPlan, exprs: impl IntoIterator<Item = Expr>) -> Result<LogicalPlan> {
        let exprs = exprs.into_iter().chain(self.columns());
        LogicalPlanBuilder::from(plan).project(exprs)?.build()
    }

    fn aliased(&self, alias: &SubqueryAlias) -> Result<LogicalPlan> {
        let names = alias.schema.iter();
        let exprs = alias.input.schema().columns().into_iter().zip(names);
        let exprs = exprs
            .map(|(column, (qualifier, field))| Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()));
        self.shown(self.rows(&alias.input)?, exprs.collect::<Vec<_>>())
    }

    fn union(&self, union: &Union) -> Result<LogicalPlan> {
        let inputs = union.inputs.iter().map(|input| self.rows(input).map(Into::into));
        let joined = Union::try_new_with_loose_types(inputs.collect::<Result<_>>()?)?;
        let columns = joined.schema.columns();
        let width = union.schema.fields().len();
        let own = union
            .schema
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), field.name().clone()));
        let values = self
            .inside
            .iter()
            .map(|column| (column.relation.clone(), column.name.clone()));
        debug_assert_eq!(columns.len(), width + self.inside.len());
        let exprs = columns
            .into_iter()
            .zip(own.chain(values))
            .map(|(column, (qualifier, name))| Expr::Column(column).alias_qualified(qualifier, name));
        LogicalPlanBuilder::from(LogicalPlan::Union(joined))
            .project(exprs.collect::<Vec<_>>())?
            .build()
    }

    fn window(&self, window: &Window, node: &LogicalPlan) -> Result<LogicalPlan> {
        let exprs = window.window_expr.iter().map(|expr| {
            let name = expr.schema_name().to_string();
            let within = self
                .seen(&expr.clone().unalias(), node)?
                .transform_up(|expr| match expr {
                    Expr::WindowFunction(mut call) => {
                        call.params.partition_by.extend(self.columns());
                        Ok(Transformed::yes(Expr::WindowFunction(call)))
                    }
                    other => Ok(Transformed::no(other)),
                })?;
            Ok(within.data.alias(name))
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let plan = LogicalPlanBuilder::from(self.rows(&window.input)?)
            .window(exprs)?
            .build()?;
        self.shown(plan, own(&window.schema))
    }

    /// The first rows of each, by the order below.
    fn first(&self, limit: &Limit) -> Result<LogicalPlan> {
        // An order stands below the columns that are shown, and so the LIMIT goes there, too.
        if sorted(&limit.input) {
            let below = |input: &LogicalPlan| {
                LogicalPlan::Limit(Limit {
                    input: input.clone().into(),
                    ..limit.clone()
                })
            };
            match limit.input.as_ref() {
                LogicalPlan::Projection(projection) => {
                    let input = below(&projection.input);
                    let moved = Projection::try_new(projection.expr.clone(), input.into())?;
                    return self.rows(&LogicalPlan::Projection(moved));
                }
                LogicalPlan::SubqueryAlias(alias) => {
                    let input = below(&alias.input);
                    let moved = SubqueryAlias::try_new(input.into(), alias.alias.clone())?;
                    return self.rows(&LogicalPlan::SubqueryAlias(moved));
                }
                _ => {}
            }
        }
        let skip = rows_of(limit.skip.as_deref())?.unwrap_or(0);
        let last = rows_of(limit.fetch.as_deref())?.map(|rows| skip.saturating_add(rows));
        let order = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => &sort.expr[..],
            _ => &[],
        };
        let order = order.iter().map(|by| {
            Ok(SortExpr::new(
                self.seen(&by.expr, &limit.input)?,
                by.asc,
                by.nulls_first,
            ))
        });
        let mut number = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), vec![]);
        number.params.partition_by = self.columns();
        number.params.order_by = order.collect::<Result<Vec<_>>>()?;
        let ordered = (!number.params.order_by.is_empty()).then_some(false);
        number.params.window_frame = WindowFrame::new(ordered);
        let number = Expr::WindowFunction(Box::new(number));
        let name = format!("{NUMBER}_{}", self.number);
        let is = Expr::Column(Column::from_name(&name));
        let mut plan = LogicalPlanBuilder::from(self.rows(&limit.input)?).window(vec![number.alias(&name)])?;
        if let Some(last) = last {
            plan = plan.filter(is.clone().lt_eq(lit(last)))?;
        }
        if skip > 0 {
            plan = plan.filter(is.gt(lit(skip)))?;
        }
        self.shown(plan.build()?, own(limit.input.schema()))
    }

    fn groups(&self, aggregate: &Aggregate, node: &LogicalPlan) -> Result<LogicalPlan> {
        let names = NamePreserver::new_for_projection();
        let seen = |expr: &Expr| Ok(names.save(expr).restore(self.seen(expr, node)?));
        let groups = aggregate.group_expr.iter().map(|group| match group {
            Expr::GroupingSet(_) => self.seen(group, node),
            group => seen(group),
        });
        let groups: Vec<Expr> = groups
            .chain(self.columns().into_iter().map(Ok))
            .collect::<Result<_>>()?;
        let groups = enumerate_grouping_sets(groups)?;
        let input = self.rows(&aggregate.input)?;
        if !self.has_total(&groups) {
            let calls = aggregate.aggr_expr.iter().map(seen).collect::<Result<Vec<_>>>()?;
            let plan = LogicalPlanBuilder::from(input).aggregate(groups, calls)?.build()?;
            return self.shown(plan, own_groups(aggregate));
        }
        // The whole of it is a group even where there are no rows: values without rows get one that
        // isn't counted.
        let present = Column::new(
            Some(TableReference::bare(format!("weir_group_{}", self.number))),
            PRESENT,
        );
        let padded = self.padded(input, aggregate.input.schema(), &present)?;
        let is_present = Expr::Column(present.clone());
        let calls = aggregate.aggr_expr.iter().map(|call| {
            let counted = self
                .seen(call, node)?
                .transform_up(|expr| Ok(counted_if(expr, &is_present)))?;
            Ok(names.save(call).restore(counted.data))
        });
        let mut calls = calls.collect::<Result<Vec<_>>>()?;
        let sets = self.grouped(&groups);
        if !sets.is_empty() {
            calls.push(count(is_present).alias(ROWS));
            let set = AggregateFunction::new_udf(grouping_udaf(), sets.clone(), false, None, vec![], None);
            calls.push(Expr::AggregateFunction(set).alias(SET));
        }
        let mut plan = LogicalPlanBuilder::from(padded).aggregate(groups, calls)?;
        if !sets.is_empty() {
            let total = (1i64 << sets.len().min(31)) - 1;
            let named = |name: &str| Expr::Column(Column::from_name(name));
            plan = plan.filter(named(ROWS).gt(lit(0i64)).or(named(SET).eq(lit(total as i32))))?;
        }
        self.shown(plan.build()?, own_groups(aggregate))
    }

    /// Whether one group is all rows of a value.
    fn has_total(&self, groups: &[Expr]) -> bool {
        let values = self.columns();
        let only_values = |set: &[Expr]| set.iter().all(|expr| values.contains(expr));
        match groups {
            [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => sets.iter().any(|set| only_values(set)),
            groups => only_values(groups),
        }
    }

    /// What grouping sets group by, beside the values.
    fn grouped(&self, groups: &[Expr]) -> Vec<Expr> {
        let mut found: Vec<Expr> = Vec::new();
        if let [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] = groups {
            let values = self.columns();
            for expr in sets.iter().flatten() {
                if !values.contains(expr) && !found.contains(expr) {
                    found.push(expr.clone());
                }
            }
        }
        found
    }

    /// All values with their rows; those that have none with one row of NULLs.
    fn padded(&self, rows: LogicalPlan, columns: &DFSchema, present: &Column) -> Result<LogicalPlan> {
        let there = present
            .relation
            .clone()
            .unwrap_or_else(|| TableReference::bare("weir_group"));
        let renamed = columns_of(&there, self.inside.len());
        let exprs = own(columns).into_iter().chain(
            self.columns()
                .into_iter()
                .zip(&renamed)
                .map(|(column, renamed)| column.alias_qualified(renamed.relation.clone(), &renamed.name)),
        );
        let marked = exprs.chain([lit(true).alias_qualified(Some(there.clone()), PRESENT)]);
        let rows = LogicalPlanBuilder::from(rows)
            .project(marked.collect::<Vec<_>>())?
            .build()?;
        let on = self.same(self.columns(), renamed.into_iter().map(Expr::Column).collect())?;
        LogicalPlanBuilder::from(self.values.clone())
            .join_on(rows, JoinType::Left, on)?
            .build()
    }

    fn join(&self, join: &Join, node: &LogicalPlan) -> Result<LogicalPlan> {
        use JoinType as Kind;
        if reach::is_lateral(&join.right) {
            return self.lateral(join, node);
        }
        let outer = self.outer_schema()?;
        let looks = |plan: &LogicalPlan| reach::looked_at(plan, &outer).map(|found| !found.is_empty());
        let (left, right) = (looks(&join.left)?, looks(&join.right)?);
        let (left, right) = match join.join_type {
            Kind::Inner => (left || !right, right),
            Kind::Left | Kind::LeftSemi | Kind::LeftAnti => (true, right),
            Kind::Right | Kind::RightSemi | Kind::RightAnti => (left, true),
            Kind::Full => (true, true),
            Kind::LeftMark | Kind::RightMark => return Err(refused()),
        };
        let rows = |plan: &LogicalPlan, with: bool| match with {
            true => self.rows(plan),
            false => Ok(plan.clone()),
        };
        let (mut l, mut r) = (rows(&join.left, left)?, rows(&join.right, right)?);
        // One side calls them by other names while they meet.
        let other = columns_of(
            &TableReference::bare(format!("weir_other_{}", self.number)),
            self.inside.len(),
        );
        let left_leads = !matches!(join.join_type, Kind::Right | Kind::RightSemi | Kind::RightAnti);
        if left && right {
            let (plan, schema) = match left_leads {
                true => (&mut r, join.right.schema()),
                false => (&mut l, join.left.schema()),
            };
            let values = self.columns().into_iter().zip(&other);
            let renamed = values.map(|(column, name)| column.alias_qualified(name.relation.clone(), &name.name));
            let exprs = own(schema).into_iter().chain(renamed).collect::<Vec<_>>();
            *plan = LogicalPlanBuilder::from(plan.clone()).project(exprs)?.build()?;
        }
        let mut on = join.on.clone();
        let mut filter: Vec<Expr> = join
            .filter
            .iter()
            .map(|filter| self.seen(filter, node))
            .collect::<Result<_>>()?;
        if left && right {
            let here = self.columns();
            let there: Vec<Expr> = other.iter().cloned().map(Expr::Column).collect();
            match (join.null_equality, left_leads) {
                (NullEquality::NullEqualsNull, true) => on.extend(here.into_iter().zip(there)),
                (NullEquality::NullEqualsNull, false) => on.extend(there.into_iter().zip(here)),
                _ => filter.extend(self.same(here, there)?),
            }
        }
        let joined = LogicalPlan::Join(Join::try_new(
            l.into(),
            r.into(),
            on,
            conjunction(filter),
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?);
        if join.join_type != Kind::Full {
            return self.shown(joined, own(&join.schema));
        }
        let values = self.inside.iter().zip(other).map(|(here, there)| {
            let known = Expr::Column(here.clone());
            let value = when(known.clone().is_null(), Expr::Column(there)).otherwise(known)?;
            Ok(value.alias_qualified(here.relation.clone(), &here.name))
        });
        let exprs = own(&join.schema).into_iter().map(Ok).chain(values);
        LogicalPlanBuilder::from(joined)
            .project(exprs.collect::<Result<Vec<_>>>()?)?
            .build()
    }

    /// The query on the right finds the values in the rows on the left.
    fn lateral(&self, join: &Join, node: &LogicalPlan) -> Result<LogicalPlan> {
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return Err(refused());
        }
        let names = not_of(&self.names(), join.left.schema());
        let right = renamed(join.right.as_ref().clone(), &names)?;
        let filter = join.filter.as_ref().map(|filter| self.seen(filter, node)).transpose()?;
        let joined = LogicalPlan::Join(Join::try_new(
            self.rows(&join.left)?.into(),
            right.into(),
            join.on.clone(),
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?);
        self.shown(joined, own(&join.schema))
    }

    /// How often a row is there stays its last column.
    fn repeated(&self, repeat: &RepeatNode) -> Result<LogicalPlan> {
        let mut exprs = own(repeat.input.schema());
        let times = exprs.pop();
        let exprs = exprs.into_iter().chain(self.columns()).chain(times);
        let input = LogicalPlanBuilder::from(self.rows(&repeat.input)?)
            .project(exprs.collect::<Vec<_>>())?
            .build()?;
        let node = RepeatNode::new(input)?;
        Ok(LogicalPlan::Extension(Extension {
            node: std::sync::Arc::new(node),
        }))
    }
}

/// Whether a plan that stands in a query twice has the same values both times.
fn is_repeatable(plan: &LogicalPlan) -> Result<bool> {
    let mut is = true;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            is &= !expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })?;
        if let LogicalPlan::Extension(extension) = node {
            is &= !extension.node.as_any().is::<DrawNode>();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(is)
}

fn refused() -> DataFusionError {
    DataFusionError::External(Box::new(refuse::dependent()))
}

fn columns_of(relation: &TableReference, count: usize) -> Vec<Column> {
    let column = |number: usize| Column::new(Some(relation.clone()), format!("weir_{number}"));
    (0..count).map(column).collect()
}

fn own(schema: &DFSchema) -> Vec<Expr> {
    schema.columns().into_iter().map(Expr::Column).collect()
}

/// An aggregate's columns that the plan above sees: without the one that tells its sets apart.
fn own_groups(aggregate: &Aggregate) -> Vec<Expr> {
    let internal = Expr::Column(Column::from_name(Aggregate::INTERNAL_GROUPING_ID));
    own(&aggregate.schema)
        .into_iter()
        .filter(|column| *column != internal)
        .collect()
}

/// An aggregate of the rows that are there.
fn counted_if(expr: Expr, present: &Expr) -> Transformed<Expr> {
    match expr {
        Expr::AggregateFunction(mut call) if call.func.name() != "grouping" => {
            let filter = match call.params.filter.take() {
                Some(filter) => filter.and(present.clone()),
                None => present.clone(),
            };
            call.params.filter = Some(Box::new(filter));
            Transformed::yes(Expr::AggregateFunction(call))
        }
        other => Transformed::no(other),
    }
}

fn sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => sorted(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => sorted(&alias.input),
        _ => false,
    }
}

/// The number of a LIMIT or OFFSET.
fn rows_of(expr: Option<&Expr>) -> Result<Option<u64>> {
    match expr {
        None => Ok(None),
        Some(Expr::Literal(value, _)) if value.is_null() => Ok(None),
        Some(Expr::Literal(ScalarValue::Int64(Some(rows)), _)) => Ok(Some((*rows).max(0) as u64)),
        Some(_) => Err(refused()),
    }
}
