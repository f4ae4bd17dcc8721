//! SHOW SOURCES, TABLES, VIEWS, MATERIALIZED VIEWS, SINKS, FUNCTIONS and TOPICS.

use std::collections::BTreeMap;

use weir_engine::connector::ConnectorSpec;
use weir_engine::connector::kafka::{Properties, admin::Admin};
use weir_sql::catalog::{Definition, Relation};
use weir_sql::plan::functions;
use weir_sql::statement::{RelationKind, Show};

use crate::cells::{Cell, Kind};
use crate::instance::Known;
use crate::session::Context;
use crate::{Error, Result, system};

/// The columns of a list.
pub fn columns(list: Show) -> &'static [(&'static str, Kind)] {
    match list {
        Show::Sources => &[
            ("name", Kind::Text),
            ("connector", Kind::Text),
            ("format", Kind::Text),
            ("encoding", Kind::Text),
            ("event_time", Kind::Text),
            ("comment", Kind::Text),
        ],
        Show::Tables => &[("name", Kind::Text), ("key", Kind::Text), ("comment", Kind::Text)],
        Show::Views => &[("name", Kind::Text), ("comment", Kind::Text)],
        Show::MaterializedViews => &[
            ("name", Kind::Text),
            ("state", Kind::Text),
            ("key", Kind::Text),
            ("detail", Kind::Text),
            ("comment", Kind::Text),
        ],
        Show::Sinks => &[
            ("name", Kind::Text),
            ("delivers", Kind::Text),
            ("connector", Kind::Text),
            ("state", Kind::Text),
            ("detail", Kind::Text),
            ("comment", Kind::Text),
        ],
        Show::Functions => &[
            ("name", Kind::Text),
            ("kind", Kind::Text),
            ("signature", Kind::Text),
            ("continuous", Kind::Flag),
            ("description", Kind::Text),
        ],
        Show::Topics => &[
            ("topic", Kind::Text),
            ("partitions", Kind::Number),
            ("brokers", Kind::Text),
        ],
        Show::Pipelines | Show::Settings => &[],
    }
}

/// The rows of a list.
pub fn rows(context: &Context, known: &Known, list: Show) -> Result<Vec<Vec<Cell>>> {
    let rows = match list {
        Show::Sources => of_kind(known, RelationKind::Source, source),
        Show::Tables => of_kind(known, RelationKind::Table, |table| {
            vec![name(table), key(table), comment(table)]
        }),
        Show::Views => of_kind(known, RelationKind::View, |view| vec![name(view), comment(view)]),
        Show::MaterializedViews => {
            let mut rows = of_kind(known, RelationKind::MaterializedView, |view| {
                let standing = system::standing(&context.instance, known, view);
                vec![
                    name(view),
                    standing.state.into(),
                    key(view),
                    standing.detail.into(),
                    comment(view),
                ]
            });
            rows.extend(broken(known, RelationKind::MaterializedView, 1, 3, 5));
            rows
        }
        Show::Sinks => {
            let mut rows = of_kind(known, RelationKind::Sink, |relation| sink(context, known, relation));
            rows.extend(broken(known, RelationKind::Sink, 3, 4, 6));
            rows
        }
        Show::Functions => functions::all()
            .into_iter()
            .map(|function| {
                vec![
                    function.name.into(),
                    function.kind.into(),
                    function.signature.into(),
                    function.continuous.into(),
                    function.description.into(),
                ]
            })
            .collect(),
        Show::Topics => topics(known)?,
        Show::Pipelines | Show::Settings => Vec::new(),
    };
    Ok(rows)
}

fn of_kind(known: &Known, kind: RelationKind, row: impl Fn(&Relation) -> Vec<Cell>) -> Vec<Vec<Cell>> {
    known.catalog.list(kind).map(|relation| row(relation)).collect()
}

/// Rows of relations that could not be restored, with the places of their state and detail.
fn broken(known: &Known, kind: RelationKind, state: usize, detail: usize, width: usize) -> Vec<Vec<Cell>> {
    let broken = known.broken.values().filter(|broken| broken.kind == kind);
    broken
        .map(|broken| {
            let mut row = vec![Cell::Null; width];
            row[0] = broken.name.as_str().into();
            row[state] = "FAILED".into();
            row[detail] = broken.cause.as_str().into();
            row[width - 1] = broken.comment.clone().into();
            row
        })
        .collect()
}

fn name(relation: &Relation) -> Cell {
    relation.name.as_str().into()
}

fn comment(relation: &Relation) -> Cell {
    relation.comment.clone().into()
}

fn key(relation: &Relation) -> Cell {
    let names = |key: &Vec<usize>| -> String {
        let names: Vec<&str> = key
            .iter()
            .map(|column| relation.schema.field(*column).name().as_str())
            .collect();
        names.join(", ")
    };
    relation.key.as_ref().filter(|key| !key.is_empty()).map(names).into()
}

fn source(relation: &Relation) -> Vec<Cell> {
    let Definition::Source(source) = &relation.definition else {
        return vec![
            name(relation),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            comment(relation),
        ];
    };
    let event_time = source
        .watermark
        .as_ref()
        .map(|watermark| source.schema.field(watermark.column).name().as_str());
    let word = |text: String| Cell::Text(text.to_uppercase());
    vec![
        name(relation),
        source.connector.connector.as_str().into(),
        word(format!("{:?}", source.envelope)),
        word(format!("{:?}", source.value_encoding.kind)),
        event_time.into(),
        comment(relation),
    ]
}

fn sink(context: &Context, known: &Known, relation: &Relation) -> Vec<Cell> {
    let standing = system::standing(&context.instance, known, relation);
    let (delivers, connector) = match &relation.definition {
        Definition::Sink(sink) => (
            system::delivers(known, relation, sink),
            Some(sink.sink.connector.connector.as_str()),
        ),
        _ => (None, None),
    };
    vec![
        name(relation),
        delivers.unwrap_or_else(|| "a query of its own".to_string()).into(),
        connector.into(),
        standing.state.into(),
        standing.detail.into(),
        comment(relation),
    ]
}

/// The topics of all brokers that sources and sinks name.
fn topics(known: &Known) -> Result<Vec<Vec<Cell>>> {
    let mut brokers: BTreeMap<String, &ConnectorSpec> = BTreeMap::new();
    for relation in known.catalog.iter() {
        let spec = match &relation.definition {
            Definition::Source(source) => &source.connector,
            Definition::Sink(sink) => &sink.sink.connector,
            _ => continue,
        };
        if let Some(servers) = spec.options.get("properties.bootstrap.servers") {
            brokers.entry(servers.clone()).or_insert(spec);
        }
    }
    if brokers.is_empty() {
        return Err(Error::invalid(
            "SHOW TOPICS asks the brokers of sources and sinks, and there is none with connector = 'kafka' yet",
        ));
    }
    let mut rows = Vec::new();
    for (servers, spec) in brokers {
        let admin = Admin::new(&Properties::from_options(&spec.options)?)?;
        for topic in admin.topics()? {
            rows.push(vec![
                topic.name.into(),
                (topic.partitions as i64).into(),
                servers.as_str().into(),
            ]);
        }
    }
    Ok(rows)
}
