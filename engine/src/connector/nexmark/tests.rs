//! Nexmark's events have the proportions, ids, times and sizes that the benchmark asks for.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};

use super::{Columns, Config, Generator, Kind, schema};
use crate::connector::conformance::{read_all, source_conformance};
use crate::connector::{self, ConnectorSpec, Positions, SplitId, Start, Wanted};
use crate::format::options::Options;

fn generator(config: Config) -> Generator {
    Generator::new(config).unwrap()
}

/// All columns of the first `events` events' rows of a kind.
fn rows(kind: Kind, events: u64) -> RecordBatch {
    let generator = generator(Config::of_events(events));
    generator
        .rows(kind, 0, kind.rows_of(events) as usize, &schema(kind))
        .unwrap()
}

fn integers<'a>(rows: &'a RecordBatch, column: &str) -> &'a [i64] {
    rows.column_by_name(column)
        .unwrap()
        .as_primitive::<Int64Type>()
        .values()
}

fn times<'a>(rows: &'a RecordBatch, column: &str) -> &'a [i64] {
    rows.column_by_name(column)
        .unwrap()
        .as_primitive::<TimestampMicrosecondType>()
        .values()
}

fn texts<'a>(rows: &'a RecordBatch, column: &str) -> Vec<&'a str> {
    rows.column_by_name(column)
        .unwrap()
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect()
}

/// Share of the items that fulfil a condition.
fn share<T>(items: impl IntoIterator<Item = T>, condition: impl Fn(&T) -> bool) -> f64 {
    let (mut yes, mut all) = (0, 0);
    for item in items {
        yes += u32::from(condition(&item));
        all += 1;
    }
    f64::from(yes) / f64::from(all)
}

fn near(found: f64, expected: f64, by: f64) -> bool {
    (found - expected).abs() <= by * expected
}

#[test]
fn kinds_follow_the_event_number() {
    let counts = |events| Kind::ALL.map(|kind| kind.rows_of(events));
    assert_eq!(counts(0), [0, 0, 0]);
    assert_eq!(counts(3), [1, 2, 0]);
    assert_eq!(counts(50), [1, 3, 46]);
    assert_eq!(counts(1_000_007), [20_001, 60_003, 920_003]);
    for kind in Kind::ALL {
        for row in 0..200 {
            let event = kind.event_of(row);
            assert_eq!((kind.rows_of(event), kind.rows_of(event + 1)), (row, row + 1));
        }
    }
}

#[test]
fn ids_count_up_and_times_follow_the_rate() {
    let events = 500_000;
    let (persons, auctions, bids) = (
        rows(Kind::Person, events),
        rows(Kind::Auction, events),
        rows(Kind::Bid, events),
    );
    assert!(integers(&persons, "id").iter().copied().eq(1_000..11_000));
    assert!(integers(&auctions, "id").iter().copied().eq(1_000..31_000));
    for (kind, rows) in [(Kind::Person, &persons), (Kind::Auction, &auctions), (Kind::Bid, &bids)] {
        // 50,000 events a second are 20 µs apart.
        let expected = (0..rows.num_rows() as u64).map(|row| Config::BASE_TIME_US + 20 * kind.event_of(row) as i64);
        assert!(times(rows, "date_time").iter().copied().eq(expected));
    }
}

#[test]
fn sellers_and_bidders_are_hot_or_recent() {
    let events = 1_000_000;
    for (kind, column, beside) in [(Kind::Auction, "seller", 0), (Kind::Bid, "bidder", 1)] {
        let rows = rows(kind, events);
        let people: Vec<(i64, i64)> = integers(&rows, column)
            .iter()
            .enumerate()
            .map(|(row, id)| ((kind.event_of(row as u64) / 50) as i64, id - 1_000))
            .collect();
        let hot = |(newest, id): &(i64, i64)| *id == newest / 100 * 100 + beside;
        assert!(near(share(people.iter().copied(), hot), 0.75, 0.01));
        assert!(
            people
                .iter()
                .all(|person| hot(person) || (person.0 - 999..=person.0 + 10).contains(&person.1))
        );
        assert!(people.iter().any(|(newest, id)| id > newest), "some are yet to come");
        assert!(people.iter().all(|(_, id)| *id >= 0));
    }
}

#[test]
fn bids_are_for_hot_or_open_auctions() {
    let bids = rows(Kind::Bid, 1_000_000);
    let auctions: Vec<(i64, i64)> = integers(&bids, "auction")
        .iter()
        .enumerate()
        .map(|(row, id)| ((Kind::Bid.event_of(row as u64) / 50) as i64 * 3 + 2, id - 1_000))
        .collect();
    let hot = |(newest, id): &(i64, i64)| *id == newest / 100 * 100;
    // One in 111 of the others hits the hot one by chance.
    assert!(near(share(auctions.iter().copied(), hot), 0.5 + 0.5 / 111.0, 0.01));
    assert!(
        auctions
            .iter()
            .all(|bid| hot(bid) || (bid.0 - 100..=bid.0 + 10).contains(&bid.1))
    );
    assert!(auctions.iter().all(|(_, id)| *id >= 0));
}

#[test]
fn prices_are_log_uniform() {
    let bids = rows(Kind::Bid, 1_000_000);
    let prices = integers(&bids, "price");
    assert!(prices.iter().all(|price| (100..=100_000_000).contains(price)));
    for power in 3..8 {
        let below = share(prices, |price| **price < 10i64.pow(power));
        assert!(near(below, f64::from(power - 2) / 6.0, 0.01), "10^{power}: {below}");
    }
    let auctions = rows(Kind::Auction, 1_000_000);
    let over = integers(&auctions, "reserve")
        .iter()
        .zip(integers(&auctions, "initial_bid"))
        .map(|(r, i)| r - i);
    assert!(near(share(over, |over| (100..100_000).contains(over)), 0.5, 0.02));
}

#[test]
fn auctions_last_up_to_twice_the_time_of_a_hundred() {
    let auctions = rows(Kind::Auction, 1_000_000);
    let lengths: Vec<i64> = times(&auctions, "expires")
        .iter()
        .zip(times(&auctions, "date_time"))
        .map(|(end, start)| end - start)
        .collect();
    // 100 auctions are 1,666 events, at 100,000 a second.
    assert!(lengths.iter().all(|us| (1..=2 * 16_660).contains(us)));
    assert!(near(
        lengths.iter().sum::<i64>() as f64 / lengths.len() as f64,
        16_660.0,
        0.01
    ));
    for category in 10..=14 {
        assert!(near(
            share(integers(&auctions, "category"), |c| **c == category),
            0.2,
            0.03
        ));
    }
}

#[test]
fn texts_have_their_forms() {
    let persons = rows(Kind::Person, 500_000);
    let distinct = |rows: &RecordBatch, column: &str| {
        let mut all = texts(rows, column);
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    assert_eq!(
        (
            distinct(&persons, "name"),
            distinct(&persons, "city"),
            distinct(&persons, "state")
        ),
        (99, 10, 6)
    );
    assert!(
        texts(&persons, "email_address")
            .iter()
            .all(|email| email.len() == 17 && email.ends_with(".com"))
    );
    assert!(texts(&persons, "credit_card").iter().all(|card| card.len() == 19
        && card.bytes().enumerate().all(|(i, byte)| if i % 5 == 4 {
            byte == b' '
        } else {
            byte.is_ascii_digit()
        })));

    let auctions = rows(Kind::Auction, 500_000);
    assert!(
        texts(&auctions, "item_name")
            .iter()
            .all(|text| (3..=20).contains(&text.trim().len()))
    );
    assert!(
        texts(&auctions, "description")
            .iter()
            .all(|text| (3..=100).contains(&text.trim().len()))
    );

    let bids = rows(Kind::Bid, 500_000);
    let (channels, urls) = (texts(&bids, "channel"), texts(&bids, "url"));
    let named = |channel: &&str| ["Google", "Facebook", "Baidu", "Apple"].contains(channel);
    assert!(near(share(channels.iter().copied(), named), 0.5, 0.01));
    assert_eq!(distinct(&bids, "channel"), 10_004);
    let mut url_of = std::collections::BTreeMap::new();
    for (channel, url) in channels.iter().zip(&urls) {
        assert_eq!(url_of.entry(*channel).or_insert(*url), url, "a channel has one url");
        let path = url.strip_prefix("https://www.nexmark.com/").unwrap();
        let parts: Vec<_> = path.split('/').collect();
        assert_eq!(parts.len(), 4);
        assert!(parts[..3].iter().all(|word| (3..=4).contains(&word.len())));
        let id = parts[3].strip_prefix("item.htm?query=1").unwrap();
        assert!(
            id.is_empty() || !named(channel) && id["&channel_id=".len()..].parse::<u32>().is_ok(),
            "{url}"
        );
    }
    let unnamed = url_of.iter().filter(|(channel, _)| !named(channel));
    assert!(near(share(unnamed, |(_, url)| url.contains("&channel_id=")), 0.9, 0.02));
}

#[test]
fn json_has_the_sizes_of_the_benchmark() {
    let mut whole = 0.0;
    for (kind, expected) in [(Kind::Person, 319.0), (Kind::Auction, 651.0), (Kind::Bid, 257.0)] {
        // From the middle of a run of ten millions.
        let count = 40_000;
        let generator = generator(Config::of_events(10_000_000));
        let rows = generator
            .rows(kind, kind.rows_of(5_000_000), count, &schema(kind))
            .unwrap();
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        let mut encoder = crate::format::json::encoder(&Options::new(), &schema(kind)).unwrap();
        encoder.encode(&rows, &mut out, &mut ends).unwrap();
        let mean = out.len() as f64 / count as f64;
        assert!(near(mean, expected, 0.03), "{}: {mean}", kind.name());
        whole += mean * kind.per_block() as f64 / 50.0;
    }
    assert!(near(whole, 281.0, 0.03), "{whole}");
}

#[test]
fn any_cut_gives_the_same_rows() {
    let config = Config {
        seed: 7,
        ..Config::of_events(20_000)
    };
    let mut one = generator(config.clone());
    let whole = one.next(20_000, &Columns::all()).unwrap();
    let mut pieces = generator(config.clone());
    let (mut persons, mut auctions, mut bids) = (Vec::new(), Vec::new(), Vec::new());
    for events in [1, 2, 3, 49, 50, 51, 1_000, 18_844] {
        let events = pieces.next(events, &Columns::all()).unwrap();
        persons.push(events.person.unwrap());
        auctions.push(events.auction.unwrap());
        bids.push(events.bid.unwrap());
    }
    for (whole, pieces) in [(&whole.person, persons), (&whole.auction, auctions), (&whole.bid, bids)] {
        let whole = whole.as_ref().unwrap();
        assert_eq!(*whole, concat_batches(&whole.schema(), &pieces).unwrap());
    }
    // A column is the same whatever else is made.
    let bid = whole.bid.unwrap();
    let some: SchemaRef = Arc::new(bid.schema().project(&[4, 0]).unwrap());
    let again = generator(config).rows(Kind::Bid, 0, bid.num_rows(), &some).unwrap();
    assert_eq!(again, bid.project(&[4, 0]).unwrap());
    let other = generator(Config::of_events(20_000))
        .rows(Kind::Bid, 0, bid.num_rows(), &schema(Kind::Bid))
        .unwrap();
    assert_ne!(other, bid);
}

/// Answers kept from earlier runs stay comparable only while the events stay what they are.
#[test]
fn the_events_never_change() {
    let bids = rows(Kind::Bid, 1_000_000);
    let sum = |column: &str| {
        integers(&bids, column)
            .iter()
            .fold(0i64, |sum, v| sum.wrapping_mul(31).wrapping_add(*v))
    };
    let text = |column: &str| {
        let bytes = texts(&bids, column).into_iter().flat_map(str::bytes);
        bytes.fold(0i64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
    };
    let found = (
        sum("auction"),
        sum("bidder"),
        sum("price"),
        text("channel"),
        text("url"),
        text("extra"),
    );
    assert_eq!(found, PINNED);
}

const PINNED: (i64, i64, i64, i64, i64, i64) = (
    3_415_675_625_810_749_179,
    -7_621_644_431_753_063_681,
    2_687_379_810_823_940_586,
    -6_065_479_819_055_059_360,
    4_581_739_765_689_458_351,
    5_343_199_915_749_885_159,
);

#[test]
fn splits_share_the_events() {
    let events = 1_030;
    let whole = rows(Kind::Bid, events);
    let mut parts = Vec::new();
    let mut total = 0;
    for split in 0..3 {
        let config = Config {
            splits: 3,
            split,
            ..Config::of_events(events)
        };
        let own = config.events_of_split(events);
        total += own;
        parts.push(generator(config).next(own, &Columns::all()).unwrap().bid.unwrap());
    }
    assert_eq!(total, events);
    let mut prices: Vec<_> = parts.iter().flat_map(|part| integers(part, "price")).collect();
    let mut expected: Vec<_> = integers(&whole, "price").iter().collect();
    prices.sort_unstable();
    expected.sort_unstable();
    assert_eq!(prices, expected);
}

#[test]
fn times_are_shuffled_within_groups() {
    let events = 100_000;
    for size in [2, 1_000, 953] {
        let config = Config {
            out_of_order: size,
            ..Config::of_events(events)
        };
        let made = generator(config).next(events, &Columns::all()).unwrap();
        let mut all: Vec<(u64, i64)> = Vec::new();
        for (kind, rows) in Kind::ALL.into_iter().zip([made.person, made.auction, made.bid]) {
            let rows = rows.unwrap();
            all.extend(
                times(&rows, "date_time")
                    .iter()
                    .enumerate()
                    .map(|(row, us)| (kind.event_of(row as u64), (us - Config::BASE_TIME_US) / 100)),
            );
        }
        all.sort_unstable();
        // Whole groups hold each of their times once.
        for group in all.chunks_exact(size as usize) {
            let mut places: Vec<_> = group.iter().map(|(_, place)| *place).collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(group.iter().map(|(n, _)| *n as i64)));
        }
        assert!(all.iter().any(|(n, place)| *n as i64 != *place));
    }
}

fn source(options: &[(&str, &str)], columns: &SchemaRef) -> crate::Result<Arc<dyn connector::SourceConnector>> {
    let options = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    connector::source(
        &ConnectorSpec {
            connector: "nexmark".to_owned(),
            options,
        },
        columns,
    )
}

#[test]
fn sources_keep_the_promises_of_sources() {
    for kind in Kind::ALL {
        let bounded = source(&[("events", "5111"), ("splits", "2")], &schema(kind)).unwrap();
        source_conformance(bounded.as_ref(), None, &Wanted::default());
        let contents = read_all(
            bounded.as_ref(),
            &bounded.resolve(&Start::Earliest).unwrap(),
            None,
            &Wanted {
                columns: Some(Arc::new(Schema::empty())),
                ..Wanted::default()
            },
            1 << 20,
        );
        let rows: usize = contents.values().map(Vec::len).sum();
        assert_eq!(rows as u64, kind.rows_of(5_111));
    }
    let endless = source(&[("table", "bid")], &schema(Kind::Bid)).unwrap();
    let until = Positions::from([(SplitId("0".into()), 3_000)]);
    source_conformance(endless.as_ref(), Some(&until), &Wanted::default());
}

#[test]
fn reads_of_all_kinds_cover_the_same_events() {
    let sources = Kind::ALL.map(|kind| source(&[("events", "100000")], &schema(kind)).unwrap());
    let mut readers = sources.map(|source| {
        source
            .open(&source.resolve(&Start::Earliest).unwrap(), None, &Wanted::default())
            .unwrap()
    });
    for turn in 1..=5 {
        let next = readers
            .each_mut()
            .map(|reader| reader.read(8_192, std::time::Duration::ZERO).unwrap()[0].next);
        let events = turn * 8_150;
        assert_eq!(next, Kind::ALL.map(|kind| kind.rows_of(events) as i64));
    }
}

#[test]
fn columns_tell_the_table() {
    let columns = |names: &[(&str, DataType)]| -> SchemaRef {
        Arc::new(Schema::new(
            names
                .iter()
                .map(|(n, t)| Field::new(*n, t.clone(), true))
                .collect::<Vec<_>>(),
        ))
    };
    let refused = |options: &[(&str, &str)], names: &[(&str, DataType)]| {
        source(options, &columns(names)).err().unwrap().to_string()
    };
    assert!(
        source(
            &[],
            &columns(&[("price", DataType::Int64), ("auction", DataType::Int64)])
        )
        .is_ok()
    );
    assert!(source(&[("table", "person")], &columns(&[("id", DataType::Int64)])).is_ok());
    assert!(refused(&[], &[("id", DataType::Int64)]).contains("say table ="));
    assert!(
        refused(&[], &[("id", DataType::Int64), ("price", DataType::Int64)])
            .contains("auction(id BIGINT, item_name TEXT")
    );
    assert_eq!(
        refused(&[], &[("price", DataType::Int32)]),
        "column 'price' of a nexmark bid is BIGINT"
    );
    assert!(refused(&[("table", "bids")], &[]).contains("'person', 'auction' or 'bid'"));
    assert!(refused(&[("event", "1")], &[]).contains("known: table, events, rate"));
    let bid = [("price", DataType::Int64)];
    for (option, value) in [
        ("events", "many"),
        ("rate", "0"),
        ("splits", "0"),
        ("out_of_order", "0"),
        ("base_time", "now"),
    ] {
        assert!(refused(&[(option, value)], &bid).contains("nexmark"), "{option}");
    }
}
