//! The Nexmark events themselves: event `n` is a function of the seed and `n`, column by column.
//!
//! Events come in blocks of 50: a person, three auctions, 46 bids. Every column draws from a stream
//! of its own, so that a column not wanted costs nothing and changes nothing. Numbers, ratios and
//! lengths are those of the benchmark (Tucker et al., "NEXMark", 2002, as extended by Apache Beam and
//! the Flink community); the words are ours.

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::random::{Prices, below, bits, push_letters, push_words, stream};
use super::words::{CITIES, Channels, FIRST_NAMES, LAST_NAMES, STATES, channel, pick};
use crate::{Error, Result};

/// Events in a block, one round of all kinds.
const BLOCK: u64 = 50;
const FIRST_ID: u64 = 1_000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// One in so many persons or auctions is the hot one.
const HOT_STRIDE: u64 = 100;
/// Persons that bid and sell, and auctions that are bid for: the newest, and some yet to come.
const ACTIVE_PERSONS: u64 = 1_000;
const OPEN_AUCTIONS: u64 = 100;
const AHEAD: u64 = 10;
/// Bytes of a row that `extra` fills up to, about; the numbers count 8 each.
const PERSON_BYTES: u64 = 200;
const AUCTION_BYTES: u64 = 500;
const BID_BYTES: u64 = 100;
/// Larger event numbers than this overflow microseconds.
const MAX_EVENTS: u64 = 1 << 50;

/// The three kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Someone who sells and bids.
    Person,
    /// Something for sale.
    Auction,
    /// An offer for it.
    Bid,
}

impl Kind {
    /// All of them, in the order of a block.
    pub const ALL: [Kind; 3] = [Kind::Person, Kind::Auction, Kind::Bid];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Person => "person",
            Kind::Auction => "auction",
            Kind::Bid => "bid",
        }
    }

    /// How many of a block's events are of this kind.
    pub fn per_block(self) -> u64 {
        match self {
            Kind::Person => 1,
            Kind::Auction => 3,
            Kind::Bid => 46,
        }
    }

    /// Its first event in a block.
    fn first_in_block(self) -> u64 {
        match self {
            Kind::Person => 0,
            Kind::Auction => 1,
            Kind::Bid => 4,
        }
    }

    /// How many of the first `events` events are of this kind.
    pub fn rows_of(self, events: u64) -> u64 {
        let begun = (events % BLOCK)
            .saturating_sub(self.first_in_block())
            .min(self.per_block());
        events / BLOCK * self.per_block() + begun
    }

    /// The event number of row `row` of this kind.
    pub fn event_of(self, row: u64) -> u64 {
        row / self.per_block() * BLOCK + self.first_in_block() + row % self.per_block()
    }
}

/// All columns of a kind: BIGINT, TEXT and TIMESTAMP, none of them NULL.
pub fn schema(kind: Kind) -> SchemaRef {
    let names: &[&str] = match kind {
        Kind::Person => &[
            "id",
            "name",
            "email_address",
            "credit_card",
            "city",
            "state",
            "date_time",
            "extra",
        ],
        Kind::Auction => &[
            "id",
            "item_name",
            "description",
            "initial_bid",
            "reserve",
            "date_time",
            "expires",
            "seller",
            "category",
            "extra",
        ],
        Kind::Bid => &["auction", "bidder", "price", "channel", "url", "date_time", "extra"],
    };
    let field = |name: &&str| {
        let data_type = match *name {
            "date_time" | "expires" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "id" | "initial_bid" | "reserve" | "seller" | "category" | "auction" | "bidder" | "price" => {
                DataType::Int64
            }
            _ => DataType::Utf8,
        };
        Field::new(*name, data_type, false)
    };
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

/// What events are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Other seeds give other events.
    pub seed: u64,
    /// Events a second of event time.
    pub rate: u64,
    /// Event time of event 0, microseconds since the epoch.
    pub base_time_us: i64,
    /// Within groups of so many events the event times are shuffled; 1: all in order.
    pub out_of_order: u64,
    /// The events are dealt by blocks to so many splits…
    pub splits: u32,
    /// …of which this is one.
    pub split: u32,
}

impl Config {
    /// 2024-01-01T00:00:00Z.
    pub const BASE_TIME_US: i64 = 1_704_067_200_000_000;

    /// The benchmark's: events spread over 10 s of event time, in order, one split.
    pub fn of_events(events: u64) -> Config {
        Config {
            seed: 0,
            rate: (events / 10).max(1),
            base_time_us: Config::BASE_TIME_US,
            out_of_order: 1,
            splits: 1,
            split: 0,
        }
    }

    /// How many of the first `events` events belong to the split.
    pub fn events_of_split(&self, events: u64) -> u64 {
        let (splits, split) = (u64::from(self.splits), u64::from(self.split));
        let (blocks, begun) = (events / BLOCK, events % BLOCK);
        let whole = blocks / splits + u64::from(split < blocks % splits);
        whole * BLOCK + if blocks % splits == split { begun } else { 0 }
    }
}

/// Which columns of which kinds to make.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Of persons; none: make no persons.
    pub person: Option<SchemaRef>,
    /// Of auctions.
    pub auction: Option<SchemaRef>,
    /// Of bids.
    pub bid: Option<SchemaRef>,
}

impl Columns {
    /// Everything.
    pub fn all() -> Columns {
        Columns {
            person: Some(schema(Kind::Person)),
            auction: Some(schema(Kind::Auction)),
            bid: Some(schema(Kind::Bid)),
        }
    }
}

/// The rows of a run of events, by kind.
#[derive(Debug, Clone)]
pub struct Events {
    /// Persons, where wanted.
    pub person: Option<RecordBatch>,
    /// Auctions.
    pub auction: Option<RecordBatch>,
    /// Bids.
    pub bid: Option<RecordBatch>,
}

/// Makes the events of one split.
pub struct Generator {
    config: Config,
    /// Multiplier that shuffles a group.
    shuffle: u64,
    /// The split's next event.
    at: u64,
    prices: Prices,
    channels: OnceLock<Channels>,
}

/// A purpose a random draw serves: its column, or a share in one.
#[derive(Clone, Copy)]
enum Draw {
    Name = 1,
    Email,
    Card,
    City,
    State,
    Extra,
    Item,
    Description,
    InitialBid,
    Reserve,
    Expires,
    Seller,
    Category,
    Auction,
    Bidder,
    Price,
    Channel,
    Url,
}

impl Generator {
    /// A generator at the split's first event.
    ///
    /// # Errors
    /// If the configuration makes no sense.
    pub fn new(config: Config) -> Result<Generator> {
        let refuse = |why: &str| Err(Error::Config(format!("connector 'nexmark': {why}")));
        if config.rate == 0 || config.rate > 1_000_000_000 {
            return refuse("the rate is 1 to 1000000000 events a second of event time");
        }
        if config.splits == 0 || config.split >= config.splits {
            return refuse("there must be a split");
        }
        if config.out_of_order == 0 || config.out_of_order > 1_000_000 {
            return refuse("out_of_order is the size of a group of events, 1 to 1000000");
        }
        // A prime that does not divide the group's size visits each of its places once.
        let shuffle = [953u64, 947, 941]
            .into_iter()
            .find(|prime| !config.out_of_order.is_multiple_of(*prime));
        Ok(Generator {
            shuffle: shuffle.unwrap_or(1),
            config,
            at: 0,
            prices: Prices::new(),
            channels: OnceLock::new(),
        })
    }

    /// The next `events` events of the split: their rows by kind, each with the columns wanted.
    ///
    /// # Errors
    /// If a column is not one of its kind.
    pub fn next(&mut self, events: u64, columns: &Columns) -> Result<Events> {
        let (from, to) = (self.at, self.at + events);
        let rows = |kind: Kind, columns: &Option<SchemaRef>| {
            let Some(columns) = columns else {
                return Ok(None);
            };
            let first = kind.rows_of(from);
            self.rows(kind, first, (kind.rows_of(to) - first) as usize, columns)
                .map(Some)
        };
        let events = Events {
            person: rows(Kind::Person, &columns.person)?,
            auction: rows(Kind::Auction, &columns.auction)?,
            bid: rows(Kind::Bid, &columns.bid)?,
        };
        self.at = to;
        Ok(events)
    }

    /// Rows `first .. first + count` of a kind in the split, with these columns.
    ///
    /// # Errors
    /// If a column is not one of the kind, or the numbers are beyond 2^50.
    pub fn rows(&self, kind: Kind, first: u64, count: usize, columns: &SchemaRef) -> Result<RecordBatch> {
        self.rows_of_split(self.config.split, kind, first, count, columns)
    }

    /// As [`Generator::rows`], of any split.
    pub(super) fn rows_of_split(
        &self,
        split: u32,
        kind: Kind,
        first: u64,
        count: usize,
        columns: &SchemaRef,
    ) -> Result<RecordBatch> {
        if kind
            .event_of(first + count as u64)
            .saturating_mul(self.config.splits.into())
            > MAX_EVENTS
        {
            return Err(Error::Config(
                "connector 'nexmark' makes at most 2^50 events".to_owned(),
            ));
        }
        let numbers = self.numbers(split.into(), kind, first, count);
        let make = |name: &String| {
            self.column(kind, name, &numbers)
                .ok_or_else(|| Error::Config(format!("a nexmark {} has no column '{name}'", kind.name())))
        };
        let arrays = columns
            .fields()
            .iter()
            .map(|field| make(field.name()))
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(columns),
            arrays,
            &options,
        )?)
    }

    /// Event numbers of a split's rows.
    fn numbers(&self, split: u64, kind: Kind, first: u64, count: usize) -> Vec<u64> {
        let splits = u64::from(self.config.splits);
        let mut numbers = Vec::with_capacity(count);
        let (mut block, mut place) = (first / kind.per_block(), first % kind.per_block());
        while numbers.len() < count {
            let start = (block * splits + split) * BLOCK + kind.first_in_block();
            let left = (count - numbers.len()) as u64;
            let end = kind.per_block().min(place + left);
            numbers.extend(start + place..start + end);
            (block, place) = (block + 1, 0);
        }
        numbers
    }

    fn column(&self, kind: Kind, name: &str, numbers: &[u64]) -> Option<ArrayRef> {
        Some(match (kind, name) {
            (_, "date_time") => times(numbers, |n| self.event_time(n)),
            (Kind::Person, "id") => integers(numbers, |n| FIRST_ID + n / BLOCK),
            (Kind::Person, "name") => texts(numbers, 12, |n, out| {
                let (first, last) = self.name(n);
                out.extend_from_slice(first.as_bytes());
                out.push(b' ');
                out.extend_from_slice(last.as_bytes());
            }),
            (Kind::Person, "email_address") => self.emails(numbers),
            (Kind::Person, "credit_card") => self.credit_cards(numbers),
            (Kind::Person, "city") => texts(numbers, 8, |n, out| out.extend_from_slice(self.city(n).as_bytes())),
            (Kind::Person, "state") => {
                let stream = self.stream(kind, Draw::State);
                texts(numbers, 2, |n, out| {
                    out.extend_from_slice(pick(&STATES, bits(stream, n)).as_bytes())
                })
            }
            (Kind::Person, "extra") => self.extras(kind, numbers, PERSON_BYTES, |n| {
                let (first, last) = self.name(n);
                (8 + first.len() + 1 + last.len() + 17 + 19 + self.city(n).len() + 2) as u64
            }),
            (Kind::Auction, "id") => integers(numbers, |n| FIRST_ID + newest_auction(n)),
            (Kind::Auction, "item_name") => self.words(numbers, Draw::Item, |n| self.item_length(n)),
            (Kind::Auction, "description") => self.words(numbers, Draw::Description, |n| self.description_length(n)),
            (Kind::Auction, "initial_bid") => {
                let stream = self.stream(kind, Draw::InitialBid);
                integers(numbers, |n| self.prices.at(bits(stream, n)))
            }
            (Kind::Auction, "reserve") => {
                let (initial, over) = (self.stream(kind, Draw::InitialBid), self.stream(kind, Draw::Reserve));
                integers(numbers, |n| {
                    self.prices.at(bits(initial, n)) + self.prices.at(bits(over, n))
                })
            }
            (Kind::Auction, "expires") => {
                let stream = self.stream(kind, Draw::Expires);
                let horizon_us = (OPEN_AUCTIONS * BLOCK / 3 * 1_000_000 / self.config.rate).max(1);
                times(numbers, |n| {
                    let length_us = (u128::from(bits(stream, n)) * u128::from(2 * horizon_us)) >> 64;
                    self.event_time(n) + 1 + length_us as i64
                })
            }
            (Kind::Auction, "seller") => {
                let stream = self.stream(kind, Draw::Seller);
                integers(numbers, |n| person(n, bits(stream, n), 0))
            }
            (Kind::Auction, "category") => {
                let stream = self.stream(kind, Draw::Category);
                integers(numbers, |n| FIRST_CATEGORY + below(bits(stream, n), CATEGORIES))
            }
            (Kind::Auction, "extra") => self.extras(kind, numbers, AUCTION_BYTES, |n| {
                48 + (self.item_length(n) + self.description_length(n)) as u64
            }),
            (Kind::Bid, "auction") => {
                let stream = self.stream(kind, Draw::Auction);
                integers(numbers, |n| auction_to_bid_for(n, bits(stream, n)))
            }
            (Kind::Bid, "bidder") => {
                let stream = self.stream(kind, Draw::Bidder);
                integers(numbers, |n| person(n, bits(stream, n), 1))
            }
            (Kind::Bid, "price") => {
                let stream = self.stream(kind, Draw::Price);
                integers(numbers, |n| self.prices.at(bits(stream, n)))
            }
            (Kind::Bid, "channel") => {
                let (channels, stream) = (self.channels(), self.stream(kind, Draw::Channel));
                texts(numbers, 10, |n, out| channels.names.push(channel(bits(stream, n)), out))
            }
            (Kind::Bid, "url") => {
                let (channels, stream) = (self.channels(), self.stream(kind, Draw::Channel));
                texts(numbers, 72, |n, out| channels.urls.push(channel(bits(stream, n)), out))
            }
            (Kind::Bid, "extra") => self.extras(kind, numbers, BID_BYTES, |_| 32),
            _ => return None,
        })
    }

    fn stream(&self, kind: Kind, draw: Draw) -> u64 {
        stream(self.config.seed, (kind as u64) << 8 | draw as u64)
    }

    /// Microseconds since the epoch.
    #[inline]
    fn event_time(&self, n: u64) -> i64 {
        let group = self.config.out_of_order;
        let n = if group == 1 {
            n
        } else {
            n / group * group + (n % group * self.shuffle + group / 2) % group
        };
        let (seconds, rest) = (n / self.config.rate, n % self.config.rate);
        self.config.base_time_us + (seconds * 1_000_000 + rest * 1_000_000 / self.config.rate) as i64
    }

    fn name(&self, n: u64) -> (&'static str, &'static str) {
        let draw = bits(self.stream(Kind::Person, Draw::Name), n);
        (pick(&FIRST_NAMES, draw), pick(&LAST_NAMES, draw >> 32))
    }

    fn city(&self, n: u64) -> &'static str {
        pick(&CITIES, bits(self.stream(Kind::Person, Draw::City), n))
    }

    fn emails(&self, numbers: &[u64]) -> ArrayRef {
        let stream = self.stream(Kind::Person, Draw::Email);
        texts(numbers, 17, |n, out| {
            let draw = bits(stream, n);
            push_letters(out, draw, 7);
            out.push(b'@');
            push_letters(out, !draw, 5);
            out.extend_from_slice(b".com");
        })
    }

    fn credit_cards(&self, numbers: &[u64]) -> ArrayRef {
        let stream = self.stream(Kind::Person, Draw::Card);
        texts(numbers, 19, |n, out| {
            let draw = bits(stream, n);
            for group in 0..4 {
                if group > 0 {
                    out.push(b' ');
                }
                let digits = below(draw >> (16 * group) & 0xffff, 10_000 << 16);
                out.extend([1_000, 100, 10, 1].map(|place| b'0' + (digits / place % 10) as u8));
            }
        })
    }

    fn item_length(&self, n: u64) -> usize {
        3 + below(bits(self.stream(Kind::Auction, Draw::Item), n), 17) as usize
    }

    fn description_length(&self, n: u64) -> usize {
        3 + below(bits(self.stream(Kind::Auction, Draw::Description), n), 97) as usize
    }

    fn words(&self, numbers: &[u64], draw: Draw, length: impl Fn(u64) -> usize) -> ArrayRef {
        let stream = self.stream(Kind::Auction, draw);
        texts(numbers, 52, |n, out| push_words(out, bits(stream, n), length(n)))
    }

    /// Letters that fill a row of `bytes_without` up to `bytes`, give or take a fifth of them.
    fn extras(&self, kind: Kind, numbers: &[u64], bytes: u64, bytes_without: impl Fn(u64) -> u64) -> ArrayRef {
        let stream = self.stream(kind, Draw::Extra);
        texts(numbers, bytes as usize, |n, out| {
            let missing = bytes.saturating_sub(bytes_without(n));
            let spread = (missing + 2) / 5;
            let draw = bits(stream, n);
            let length = missing - spread + below(draw, 2 * spread);
            push_letters(out, draw, length as usize);
        })
    }

    fn channels(&self) -> &Channels {
        self.channels
            .get_or_init(|| Channels::new(stream(self.config.seed, Draw::Url as u64)))
    }
}

/// The newest auction at event `n`, from 0; at an auction that is itself.
#[inline]
fn newest_auction(n: u64) -> u64 {
    let place = n % BLOCK;
    let in_block = place.clamp(1, 3) - 1;
    if place == 0 {
        (n / BLOCK * 3).saturating_sub(1)
    } else {
        n / BLOCK * 3 + in_block
    }
}

/// The id of someone who sells (`beside` 0) or bids (1) at event `n`.
#[inline]
fn person(n: u64, draw: u64, beside: u64) -> u64 {
    let newest = n / BLOCK;
    if draw >> 62 != 0 {
        return FIRST_ID + newest / HOT_STRIDE * HOT_STRIDE + beside;
    }
    let active = (newest + 1).min(ACTIVE_PERSONS);
    FIRST_ID + newest + 1 - active + below(draw, active + AHEAD)
}

/// The id of the auction of a bid that is event `n`.
#[inline]
fn auction_to_bid_for(n: u64, draw: u64) -> u64 {
    let newest = newest_auction(n);
    if draw >> 63 != 0 {
        return FIRST_ID + newest / HOT_STRIDE * HOT_STRIDE;
    }
    let oldest = newest.saturating_sub(OPEN_AUCTIONS);
    FIRST_ID + oldest + below(draw, newest - oldest + 1 + AHEAD)
}

#[inline]
fn integers(numbers: &[u64], value: impl Fn(u64) -> u64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| value(*n) as i64)))
}

#[inline]
fn times(numbers: &[u64], value: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(
        numbers.iter().map(|n| value(*n)),
    ))
}

#[inline]
fn texts(numbers: &[u64], mean_length: usize, push: impl Fn(u64, &mut Vec<u8>)) -> ArrayRef {
    // Somewhat more than is likely, so that the buffer does not move.
    let mut bytes = Vec::with_capacity(numbers.len() * mean_length * 9 / 8 + 64);
    let mut ends = Vec::with_capacity(numbers.len() + 1);
    ends.push(0);
    for n in numbers {
        push(*n, &mut bytes);
        ends.push(bytes.len() as i32);
    }
    Arc::new(StringArray::new(OffsetBuffer::new(ends.into()), bytes.into(), None))
}
