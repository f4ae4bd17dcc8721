//! ORDER BY with LIMIT, and ROW_NUMBER(), RANK() or DENSE_RANK() with a filter: top-N.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, Projection, SortExpr, Window};
use weir_engine::graph::{Input, NodeId, NodeKind, OrderKey, Ranking, TopNSpec};

use super::{Builder, Built, Closing, Facts, TimeBound, column_of, exchange_by, single, until};
use crate::plan::{errors, now, refuse};
use crate::{Error, Result, explain};

/// A filter that lets the first rows of a window's partitions pass, by their number or rank.
pub(super) struct FirstRows<'a> {
    window: &'a Window,
    /// Over the window's columns.
    filter: Filter,
    /// What stands between the two, and only renames or leaves out.
    projection: Option<&'a Projection>,
    limit: u64,
}

impl Builder {
    pub(super) fn limit(&mut self, limit: &datafusion::logical_expr::Limit) -> Result<Built> {
        use datafusion::logical_expr::{FetchType, SkipType};
        let literal = "LIMIT and OFFSET of a kept answer must be numbers";
        let skip = match limit.get_skip_type().map_err(errors::translate)? {
            SkipType::Literal(skip) => skip as u64,
            SkipType::UnsupportedExpr => return Err(Error::new(literal)),
        };
        let fetch = match limit.get_fetch_type().map_err(errors::translate)? {
            FetchType::Literal(fetch) => fetch.map_or(u64::MAX, |fetch| fetch as u64),
            FetchType::UnsupportedExpr => return Err(Error::new(literal)),
        };
        match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => self.top_n(&sort.input, &sort.expr, skip, fetch),
            other => match through_projection(other) {
                Some((projection, sort)) => {
                    let input = self.top_n(&sort.input, &sort.expr, skip, fetch)?;
                    self.map(input, None, &projection.expr, projection.schema.as_ref())
                }
                None => self.top_n(other, &[], skip, fetch),
            },
        }
    }

    pub(super) fn top_n(&mut self, input: &LogicalPlan, order: &[SortExpr], offset: u64, limit: u64) -> Result<Built> {
        let input = self.build(input, self.closing == Closing::Emit)?;
        let schema = input.schema.clone();
        let exprs: Vec<&Expr> = order.iter().map(|sort| &sort.expr).collect();
        let (input, places) = self.with_columns(input, &exprs)?;
        let built = self.push_top_n(input, vec![], order_keys(order, &places), (offset, limit), None)?;
        let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        if built.schema.fields().len() == schema.fields().len() {
            return Ok(built);
        }
        self.map(built, None, &columns, &schema)
    }

    /// `ROW_NUMBER() … <= n` and the like.
    pub(super) fn first_rows(&mut self, first: FirstRows) -> Result<Built> {
        let window = first.window;
        let Some((call, ranking)) = ranking(window) else {
            return Err(refuse::plan(&LogicalPlan::Window(window.clone())));
        };
        let schema = window.schema.as_ref().clone();
        let number = schema.fields().len() - 1;
        let input = self.build(&window.input, self.closing == Closing::Emit)?;
        let visible = input.schema.fields().len();
        let partition_exprs: Vec<&Expr> = call.params.partition_by.iter().collect();
        let order_exprs: Vec<&Expr> = call.params.order_by.iter().map(|sort| &sort.expr).collect();
        let all: Vec<&Expr> = partition_exprs.iter().chain(&order_exprs).copied().collect();
        let (input, places) = self.with_columns(input, &all)?;
        let (partition, order_places) = places.split_at(partition_exprs.len());
        let order = order_keys(&call.params.order_by, order_places);
        let kind = schema.field(number).data_type().clone();
        let numbered = Some((ranking, kind));
        let built = self.push_top_n(input, partition.to_vec(), order, (0, first.limit), numbered)?;
        let width = built.schema.fields().len();
        let columns: Vec<usize> = (0..visible).chain([width - 1]).collect();
        let mut built = if width == visible + 1 {
            built
        } else {
            self.select(built, &columns)?
        };
        built.time = columns.iter().map(|c| built.time.get(*c).copied().flatten()).collect();
        built.schema = schema.clone();
        let all: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let built = match now::uses(&first.filter.predicate) {
            true => self.present(built, &first.filter.predicate)?,
            false => self.map(built, Some(&first.filter.predicate), &all, &schema)?,
        };
        self.call_number(built.node, number, ranking);
        match first.projection {
            Some(projection) => self.map(built, None, &projection.expr, projection.schema.as_ref()),
            None => Ok(built),
        }
    }

    /// DataFusion's name of the number is its whole OVER clause.
    fn call_number(&mut self, node: NodeId, column: usize, ranking: Ranking) {
        let node = &mut self.graph.nodes[node.0 as usize];
        let fields = node.schema.fields().iter().enumerate();
        let named = fields.map(|(index, field)| match index == column {
            true => Arc::new(field.as_ref().clone().with_name(explain::ranking_text(ranking))),
            false => field.clone(),
        });
        node.schema = Arc::new(Schema::new(named.collect::<Vec<_>>()));
    }

    pub(super) fn push_top_n(
        &mut self,
        input: Built,
        partition: Vec<usize>,
        order: Vec<OrderKey>,
        (offset, limit): (u64, u64),
        numbered: Option<(Ranking, DataType)>,
    ) -> Result<Built> {
        let closes = partition
            .iter()
            .find(|column| input.time[**column] == Some(TimeBound::WindowEnd));
        // What comes later is behind what is there: the first rows stay the first.
        let (input, in_order) = match closes.is_some() {
            true => (self.visible(input)?, false),
            false => self.in_order(input, &order)?,
        };
        let below = self.graph.node(input.node);
        let mut fields: Vec<Arc<Field>> = below.schema.fields().iter().cloned().collect();
        let mut qualified: Vec<_> = input.schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        // Old rows may still leave the first ones, unless their partition is closed.
        let kept = |bound: &Option<TimeBound>| {
            bound.filter(|bound| in_order || closes.is_some() && *bound != TimeBound::Event)
        };
        let mut time: Vec<Option<TimeBound>> = input.time.iter().map(kept).collect();
        let mut key = below.key.clone();
        let ranking = numbered.as_ref().map_or(Ranking::RowNumber, |(ranking, _)| *ranking);
        let number = numbered.map(|(_, kind)| kind);
        if let Some(kind) = &number {
            let field = Arc::new(Field::new(explain::ranking_text(ranking), kind.clone(), true));
            fields.push(field.clone());
            qualified.push((None, field));
            time.push(None);
            if ranking == Ranking::RowNumber {
                key = Some(partition.iter().copied().chain([fields.len() - 1]).collect());
            }
        }
        let close = closes.and_then(|column| self.closing.spec(*column));
        let names: Vec<&str> = partition
            .iter()
            .map(|c| below.schema.field(*c).name().as_str())
            .collect();
        let facts = Facts {
            append_only: in_order,
            key,
            has_watermark: below.has_watermark,
            bound: Some(match (&close, names.is_empty(), below.append_only) {
                (Some(close), _, _) => until(below.schema.field(close.column).name(), close.lateness_us),
                (None, true, true) => "the first rows".to_string(),
                (None, false, true) => format!("the first rows of each; grows with distinct {}", names.join(", ")),
                (None, _, false) => "all rows, since the first ones may be deleted".to_string(),
            }),
        };
        let exchange = if partition.is_empty() {
            single(&input)
        } else {
            exchange_by(&partition, &input)
        };
        let dealt = Some(partition.clone());
        let node = self.push(
            NodeKind::TopN(TopNSpec {
                partition,
                order,
                offset,
                limit,
                ranking,
                number,
                close,
            }),
            vec![Input {
                node: input.node,
                exchange,
            }],
            Arc::new(Schema::new(fields)),
            facts,
        );
        let schema = DFSchema::new_with_metadata(qualified, Default::default()).map_err(errors::translate)?;
        Ok(Built {
            node,
            schema,
            hidden: false,
            time,
            dealt,
        })
    }
}

/// What of a filter is to be known where it lets only the first rows of a window's partitions pass.
pub(super) fn first_rows(filter: &Filter) -> Option<Result<FirstRows<'_>>> {
    let (window, projection) = match filter.input.as_ref() {
        LogicalPlan::Window(window) => (window, None),
        LogicalPlan::Projection(projection) => match projection.input.as_ref() {
            LogicalPlan::Window(window) => (window, Some(projection)),
            _ => return None,
        },
        _ => return None,
    };
    ranking(window)?;
    let filter = match projection.map(|projection| below(filter, projection)) {
        None => filter.clone(),
        Some(Ok(filter)) => filter,
        Some(Err(error)) => return Some(Err(error)),
    };
    let number = window.schema.fields().len() - 1;
    let limit = number_limit(&filter.predicate, &window.schema, number)?;
    Some(Ok(FirstRows {
        window,
        filter,
        projection,
        limit,
    }))
}

/// The filter as it would stand below a projection.
fn below(filter: &Filter, projection: &Projection) -> Result<Filter> {
    let place = |expr: Expr| -> datafusion::common::Result<Transformed<Expr>> {
        match &expr {
            Expr::Column(column) => {
                let at = projection.schema.index_of_column(column)?;
                Ok(Transformed::yes(projection.expr[at].clone().unalias()))
            }
            _ => Ok(Transformed::no(expr)),
        }
    };
    let predicate = filter
        .predicate
        .clone()
        .transform_up(place)
        .map_err(errors::translate)?;
    Filter::try_new(predicate.data, projection.input.clone()).map_err(errors::translate)
}

pub(in crate::plan) fn order_keys(order: &[SortExpr], places: &[usize]) -> Vec<OrderKey> {
    let key = |(sort, column): (&SortExpr, &usize)| OrderKey {
        column: *column,
        descending: !sort.asc,
        nulls_first: sort.nulls_first,
    };
    order.iter().zip(places).map(key).collect()
}

fn through_projection(
    plan: &LogicalPlan,
) -> Option<(&datafusion::logical_expr::Projection, &datafusion::logical_expr::Sort)> {
    match plan {
        LogicalPlan::Projection(projection) => match projection.input.as_ref() {
            LogicalPlan::Sort(sort) => Some((projection, sort)),
            _ => None,
        },
        _ => None,
    }
}

/// The call of a window that is a single ROW_NUMBER(), RANK() or DENSE_RANK().
fn ranking(window: &Window) -> Option<(&WindowFunction, Ranking)> {
    let [expr] = &window.window_expr[..] else {
        return None;
    };
    let expr = match expr {
        Expr::Alias(alias) => alias.expr.as_ref(),
        other => other,
    };
    let Expr::WindowFunction(call) = expr else {
        return None;
    };
    let ranking = match call.fun.name() {
        "row_number" => Ranking::RowNumber,
        "rank" => Ranking::Rank,
        "dense_rank" => Ranking::DenseRank,
        _ => return None,
    };
    Some((call, ranking))
}

/// How many rows or ranks of each partition a predicate on the number in column `number` lets pass.
fn number_limit(predicate: &Expr, schema: &DFSchema, number: usize) -> Option<u64> {
    split_conjunction(predicate)
        .into_iter()
        .filter_map(|part| limit_of(part, schema, number))
        .min()
}

fn limit_of(expr: &Expr, schema: &DFSchema, number: usize) -> Option<u64> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return None;
    };
    let is_number = |expr: &Expr| match expr {
        Expr::Cast(cast) => column_of(&cast.expr, schema) == Some(number),
        other => column_of(other, schema) == Some(number),
    };
    let (op, value) = if is_number(left) {
        (*op, literal(right)?)
    } else if is_number(right) {
        (op.swap()?, literal(left)?)
    } else {
        return None;
    };
    match op {
        Operator::LtEq | Operator::Eq => Some(value),
        Operator::Lt => Some(value.saturating_sub(1)),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Literal(value, _) => match value.cast_to(&DataType::UInt64) {
            Ok(ScalarValue::UInt64(value)) => value,
            _ => None,
        },
        _ => None,
    }
}
