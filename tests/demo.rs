//! `weir demo` without a terminal: it ends by itself, and the tables that it prints are those that
//! this test computes from the same files, by hand.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use weir_suite::program;

/// Far more than it takes: a demo that hangs shall fail the test, not stop the suite.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn the_demo_prints_what_the_files_say() {
    let printed = demo(&[]);
    assert!(printed.contains("an embedded broker at 127.0.0.1:"), "{printed}");
    assert!(printed.contains("knows no transactions"), "{printed}");
    check(&printed);
}

#[test]
fn on_a_kafka_of_the_user_it_prints_the_same_each_time() {
    let Some(kafka) = program::kafka("on_a_kafka_of_the_user_it_prints_the_same_each_time") else {
        return;
    };
    check(&demo(&["--bootstrap", &kafka]));
    // The records of the first time are still there, and must not count again.
    let again = demo(&["--bootstrap", &kafka]);
    assert!(
        again.contains("Topics found, whose records are left alone: weir-demo-flights"),
        "{again}"
    );
    check(&again);
}

#[test]
fn a_kafka_that_is_not_there_is_named() {
    let outcome = program::run(
        Command::new(program::weir()).args(["demo", "--bootstrap", "127.0.0.1:1"]),
        PATIENCE,
    );
    assert!(!outcome.success, "{outcome:?}");
    assert!(outcome.stderr.contains("127.0.0.1:1"), "{outcome:?}");
}

/// What the demo prints.
fn demo(arguments: &[&str]) -> String {
    let outcome = program::run(Command::new(program::weir()).arg("demo").args(arguments), PATIENCE);
    assert!(outcome.success, "{outcome:?}");
    outcome.stdout
}

fn check(printed: &str) {
    for shown in ["WATERMARK FOR", "TUMBLE(", "LEFT JOIN", "CREATE SINK"] {
        assert!(printed.contains(shown), "the SQL is shown: {shown}\n{printed}");
    }
    let flights = Flight::all();
    let hours = by_hour(&flights);
    let mut worst: Vec<_> = hours.iter().collect();
    worst.sort_by(|a, b| latest_first(a.1, b.1).then(a.0.cmp(b.0)));
    let worst = worst.iter().take(10).map(|((hour, origin), tally)| {
        let mut cells = vec![format!("{hour}:00:00"), origin.clone()];
        cells.extend(tally.cells());
        cells
    });
    assert_eq!(table(printed, "FROM departures"), worst.collect::<Vec<_>>());
    assert_eq!(table(printed, "FROM weather_delays"), weather_delays(&hours));
    assert_eq!(table(printed, "FROM carriers"), carriers(&flights));
    assert!(
        printed.contains("\n26,996 flights in each of the three views, at each of "),
        "{printed}"
    );
    assert!(
        printed.contains("weir-demo-carriers, read back, has the rows"),
        "{printed}"
    );
}

/// Cells of the printed table whose query contains `marker`.
fn table(printed: &str, marker: &str) -> Vec<Vec<String>> {
    let mut lines = printed.lines();
    lines
        .find(|line| line.starts_with("SELECT ") && line.contains(marker) && line.ends_with(';'))
        .unwrap_or_else(|| panic!("no query with {marker}:\n{printed}"));
    let rows = lines.skip(2).take_while(|line| line.contains('│'));
    rows.map(|line| line.split('│').map(|cell| cell.trim().to_string()).collect())
        .collect()
}

/// A departure, as far as it is needed.
struct Flight {
    /// `2013-01-14 13`
    hour: String,
    origin: String,
    carrier: String,
    delay: Option<i64>,
}

impl Flight {
    fn all() -> Vec<Flight> {
        let text = |line: &Value, field: &str| line[field].as_str().map(str::to_string);
        let flight = |line: Value| Flight {
            hour: hour(&text(&line, "departed").or(text(&line, "scheduled")).expect("a time")),
            origin: text(&line, "origin").expect("an origin"),
            carrier: text(&line, "carrier").expect("a carrier"),
            delay: line["dep_delay"].as_i64(),
        };
        lines("flights").into_iter().map(flight).collect()
    }
}

/// Lines of a file of the example.
fn lines(file: &str) -> Vec<Value> {
    let path = format!("{}/examples/flights/{file}.ndjson.gz", env!("CARGO_MANIFEST_DIR"));
    let unpacked = Command::new("gzip").args(["-dc", &path]).output().expect("gzip");
    assert!(unpacked.status.success(), "{path}");
    let text = String::from_utf8(unpacked.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// `2013-01-14T13:05:00Z`: `2013-01-14 13`.
fn hour(moment: &str) -> String {
    moment[..13].replace('T', " ")
}

/// Flights of a group.
#[derive(Default)]
struct Tally {
    flights: i64,
    cancelled: i64,
    minutes: i64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.flights += other.flights;
        self.cancelled += other.cancelled;
        self.minutes += other.minutes;
    }

    fn add_flight(&mut self, flight: &Flight) {
        self.add(&Tally {
            flights: 1,
            cancelled: i64::from(flight.delay.is_none()),
            minutes: flight.delay.unwrap_or(0),
        });
    }

    /// Minutes, to a tenth; none where nothing departed.
    fn delay(&self) -> Option<f64> {
        let departed = self.flights - self.cancelled;
        (departed > 0).then(|| (self.minutes as f64 / departed as f64 * 10.0).round() / 10.0)
    }

    fn cells(&self) -> Vec<String> {
        let delay = self.delay().map_or("[NULL]".to_string(), |delay| format!("{delay:?}"));
        vec![self.flights.to_string(), self.cancelled.to_string(), delay]
    }
}

fn latest_first(a: &Tally, b: &Tally) -> Ordering {
    let rank = |tally: &Tally| tally.delay().unwrap_or(f64::NEG_INFINITY);
    rank(b).total_cmp(&rank(a))
}

fn by_hour(flights: &[Flight]) -> BTreeMap<(String, String), Tally> {
    let mut hours: BTreeMap<_, Tally> = BTreeMap::new();
    for flight in flights {
        let key = (flight.hour.clone(), flight.origin.clone());
        hours.entry(key).or_default().add_flight(flight);
    }
    hours
}

fn weather_delays(hours: &BTreeMap<(String, String), Tally>) -> Vec<Vec<String>> {
    let key = |line: &Value| {
        let text = |field: &str| line[field].as_str().expect("text").to_string();
        (hour(&text("observed")), text("origin"))
    };
    let weather: BTreeMap<_, Value> = lines("weather").into_iter().map(|line| (key(&line), line)).collect();
    let mut skies: BTreeMap<&str, (i64, Tally)> = BTreeMap::new();
    for (key, tally) in hours {
        let (count, sum) = skies.entry(weather.get(key).map_or("not observed", sky)).or_default();
        *count += 1;
        sum.add(tally);
    }
    let mut skies: Vec<_> = skies.into_iter().collect();
    skies.sort_by(|a, b| latest_first(&a.1.1, &b.1.1).then(a.0.cmp(b.0)));
    let cells = |(sky, (count, tally)): (&str, (i64, Tally))| {
        let mut cells = vec![sky.to_string(), count.to_string()];
        cells.extend(tally.cells());
        cells
    };
    skies.into_iter().map(cells).collect()
}

fn sky(weather: &Value) -> &'static str {
    // What was not measured is no reason for a word.
    let number = |field: &str| weather[field].as_f64();
    let wet = number("precip").is_some_and(|inches| inches > 0.0);
    if wet && number("temp").is_some_and(|temp| temp <= 34.0) {
        "snow"
    } else if wet {
        "rain"
    } else if number("visib").is_some_and(|miles| miles < 3.0) {
        "fog"
    } else if number("wind_speed").is_some_and(|speed| speed >= 20.0) {
        "strong wind"
    } else {
        "fair"
    }
}

/// Airlines by the names that the demo's table gives them.
fn carriers(flights: &[Flight]) -> Vec<Vec<String>> {
    const NAMES: [(&str, &str); 16] = [
        ("9E", "Endeavor Air"),
        ("AA", "American Airlines"),
        ("AS", "Alaska Airlines"),
        ("B6", "JetBlue Airways"),
        ("DL", "Delta Air Lines"),
        ("EV", "ExpressJet"),
        ("F9", "Frontier Airlines"),
        ("FL", "AirTran Airways"),
        ("HA", "Hawaiian Airlines"),
        ("MQ", "Envoy Air"),
        ("OO", "SkyWest Airlines"),
        ("UA", "United Air Lines"),
        ("US", "US Airways"),
        ("VX", "Virgin America"),
        ("WN", "Southwest Airlines"),
        ("YV", "Mesa Airlines"),
    ];
    let mut carriers: BTreeMap<&str, Tally> = BTreeMap::new();
    for flight in flights {
        carriers.entry(&flight.carrier).or_default().add_flight(flight);
    }
    assert_eq!(
        carriers.keys().copied().collect::<Vec<_>>(),
        NAMES.map(|(carrier, _)| carrier)
    );
    let mut rows: Vec<_> = NAMES.iter().zip(carriers.values()).collect();
    rows.sort_by(|a, b| latest_first(a.1, b.1).then(a.0.cmp(b.0)));
    let cells = |((_, name), tally): (&(&str, &str), &Tally)| {
        let mut cells = vec![name.to_string()];
        cells.extend(tally.cells());
        cells
    };
    rows.into_iter().map(cells).collect()
}
