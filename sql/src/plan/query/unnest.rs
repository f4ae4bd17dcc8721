//! UNNEST: a row for each element.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Column, DFSchema, NullHandling};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr, Unnest};
use weir_engine::graph::{Exchange, Input, NodeKind, UnnestSpec, Unnested};

use super::{Builder, Built, Facts, remap};
use crate::plan::{errors, refuse};
use crate::{Error, Result};

/// A column that is unnested, and how deep.
struct List {
    column: usize,
    depth: usize,
}

impl Builder {
    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<Built> {
        let mut built = self.build(&unnest.input, false)?;
        let keeps_empty = match unnest.options.null_handling {
            NullHandling::Drop => false,
            NullHandling::PreserveAndExpandEmpty => true,
            NullHandling::Preserve => {
                return Err(Error::new(
                    "UNNEST that keeps NULLs and drops empty arrays is not there",
                ));
            }
        };
        let lists = unnest.list_type_columns.iter().map(|(column, list)| List {
            column: *column,
            depth: list.depth,
        });
        let lists: Vec<List> = lists.collect();
        match &lists[..] {
            [] => {}
            [only] => {
                for _ in 0..only.depth {
                    built = self.push_unnest(built, &[only.column], keeps_empty)?;
                }
            }
            several if several.iter().all(|list| list.depth == 1) => {
                let columns: Vec<usize> = several.iter().map(|list| list.column).collect();
                built = self.push_unnest(built, &columns, keeps_empty)?;
            }
            _ => return Err(refuse::nested_unnest()),
        }
        if !unnest.struct_type_columns.is_empty() {
            return self.fields(built, unnest);
        }
        built.schema = unnest.schema.as_ref().clone();
        Ok(built)
    }

    fn push_unnest(&mut self, input: Built, lists: &[usize], keeps_empty: bool) -> Result<Built> {
        let below = self.graph.node(input.node);
        let mut outputs = Vec::new();
        let mut fields: Vec<Arc<Field>> = Vec::new();
        let mut qualified = Vec::new();
        for (column, (qualifier, field)) in input.schema.iter().enumerate() {
            let at = lists.iter().position(|list| *list == column);
            outputs.push(at.map_or(Unnested::Column(column), Unnested::Element));
            let field = match at {
                None => below.schema.fields()[column].clone(),
                Some(_) => Arc::new(Field::new(field.name(), element(field.data_type())?, true)),
            };
            qualified.push((qualifier.cloned(), field.clone()));
            fields.push(field);
        }
        let kept = |column: usize| (!lists.contains(&column)).then_some(column);
        let facts = Facts {
            append_only: below.append_only,
            // A row becomes several.
            key: None,
            has_watermark: below.has_watermark,
            bound: None,
        };
        let time = (0..outputs.len()).map(|column| kept(column).and_then(|column| input.time[column]));
        let time = time.collect();
        let dealt = input.dealt.as_ref().and_then(|dealt| remap(dealt, kept));
        let spec = UnnestSpec {
            lists: lists.to_vec(),
            outputs,
            keeps_empty,
        };
        let from = Input {
            node: input.node,
            exchange: Exchange::Local,
        };
        let node = self.push(NodeKind::Unnest(spec), vec![from], Arc::new(Schema::new(fields)), facts);
        Ok(Built {
            node,
            schema: DFSchema::new_with_metadata(qualified, Default::default()).map_err(errors::translate)?,
            hidden: false,
            time,
            dealt,
        })
    }

    /// The fields of structs as columns.
    fn fields(&mut self, input: Built, unnest: &Unnest) -> Result<Built> {
        let mut exprs = Vec::new();
        for (place, (qualifier, field)) in input.schema.iter().enumerate() {
            let column = Expr::Column(Column::from((qualifier, field.as_ref())));
            match field.data_type() {
                DataType::Struct(fields) if unnest.struct_type_columns.contains(&place) => {
                    exprs.extend(
                        fields
                            .iter()
                            .map(|field| get_field(column.clone(), field.name().as_str())),
                    );
                }
                _ => exprs.push(column),
            }
        }
        self.map(input, None, &exprs, unnest.schema.as_ref())
    }
}

fn element(list: &DataType) -> Result<DataType> {
    match list {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            Ok(element.data_type().clone())
        }
        other => Err(Error::new(format!("UNNEST takes arrays, not {other}"))),
    }
}
