//! What the demo plays: January's flights and weather from `examples/flights/`, which are part of
//! the binary, as records in order of event time.

use std::io::Read;

use flate2::read::GzDecoder;
use serde::Deserialize;

const FLIGHTS: &[u8] = include_bytes!("../../../examples/flights/flights.ndjson.gz");
const WEATHER: &[u8] = include_bytes!("../../../examples/flights/weather.ndjson.gz");

/// Minutes of January.
pub const MINUTES: u32 = 31 * 24 * 60;

/// When January 2013 began, microseconds since 1970.
const JANUARY_US: i64 = 1_356_998_400_000_000;

/// A topic of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Departures, in four partitions.
    Flights,
    /// Weather.
    Weather,
    /// What the sink writes.
    Carriers,
}

impl Topic {
    /// All of them.
    pub const ALL: [Topic; 3] = [Topic::Flights, Topic::Weather, Topic::Carriers];

    /// Its name in Kafka, which stands in the SQL too.
    pub fn name(self) -> &'static str {
        match self {
            Topic::Flights => "weir-demo-flights",
            Topic::Weather => "weir-demo-weather",
            Topic::Carriers => "weir-demo-carriers",
        }
    }

    /// How many partitions it gets.
    pub fn partitions(self) -> i32 {
        match self {
            Topic::Flights => 4,
            Topic::Weather | Topic::Carriers => 1,
        }
    }
}

/// A record to be written at a moment of event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it happened: minutes since January began.
    pub minute: u32,
    /// Where it goes.
    pub topic: Topic,
    /// Flights of one number, and the weather of one airport, stay in one partition and so in order.
    pub key: String,
    /// The line of the file.
    pub value: String,
}

/// Fields of both files; those of the other are missing.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    observed: Option<&'a str>,
    #[serde(borrow)]
    departed: Option<&'a str>,
    #[serde(borrow)]
    scheduled: Option<&'a str>,
    origin: &'a str,
    #[serde(borrow)]
    carrier: Option<&'a str>,
    flight: Option<u32>,
}

/// All events, in order of their minutes.
///
/// # Errors
/// If the files are not what they are described to be.
pub fn events() -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    // Weather first: sorting keeps it before the flights of its minute.
    for (topic, file) in [(Topic::Weather, WEATHER), (Topic::Flights, FLIGHTS)] {
        let mut text = String::new();
        let read = GzDecoder::new(file).read_to_string(&mut text);
        read.map_err(|error| format!("the demo's data can't be unpacked: {error}"))?;
        for line in text.lines() {
            events.push(event(topic, line)?);
        }
    }
    events.sort_by_key(|event| event.minute);
    Ok(events)
}

fn event(topic: Topic, line: &str) -> Result<Event, String> {
    let wrong = |why: String| format!("a line of the demo's data can't be read ({why}): {line}");
    let fields: Fields<'_> = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
    let moment = fields.observed.or(fields.departed).or(fields.scheduled);
    let minute = moment
        .and_then(minute_of_january)
        .ok_or_else(|| wrong("it has no time in January 2013".to_string()))?;
    let key = match (fields.carrier, fields.flight) {
        (Some(carrier), Some(flight)) => format!("{carrier}{flight}"),
        _ => fields.origin.to_string(),
    };
    Ok(Event {
        minute,
        topic,
        key,
        value: line.to_string(),
    })
}

/// A moment of January 2013, given in minutes since it began, as SQL writes it, without seconds.
pub fn moment(minute: u32) -> String {
    let (day, of_day) = (minute / (24 * 60) + 1, minute % (24 * 60));
    format!("2013-01-{day:02} {:02}:{:02}", of_day / 60, of_day % 60)
}

/// The same of microseconds since 1970; moments before January count as its beginning.
pub fn moment_of_us(us: i64) -> String {
    let since = us.saturating_sub(JANUARY_US) / 60_000_000;
    moment(u32::try_from(since).unwrap_or(0))
}

/// `2013-01-14T13:05:00Z` in minutes since January began.
fn minute_of_january(text: &str) -> Option<u32> {
    let rest = text.strip_prefix("2013-01-")?;
    let number = |range: std::ops::Range<usize>| rest.get(range)?.parse::<u32>().ok();
    let (day, hour, minute) = (number(0..2)?, number(3..5)?, number(6..8)?);
    Some((day.checked_sub(1)? * 24 + hour) * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_count_from_the_first_of_january() {
        assert_eq!(minute_of_january("2013-01-01T00:00:00Z"), Some(0));
        assert_eq!(minute_of_january("2013-01-14T13:05:00Z"), Some((13 * 24 + 13) * 60 + 5));
        assert_eq!(minute_of_january("2013-02-01T00:00:00Z"), None);
        assert_eq!(minute_of_january("2013-01-00T00:00:00Z"), None);
        assert_eq!(moment((13 * 24 + 13) * 60 + 5), "2013-01-14 13:05");
        assert_eq!(moment_of_us(JANUARY_US + 59_000_000), "2013-01-01 00:00");
        assert_eq!(moment_of_us(i64::MIN), "2013-01-01 00:00");
    }

    #[test]
    fn every_line_is_an_event_in_order() {
        let events = events().expect("the files are in the binary");
        let count = |topic| events.iter().filter(|event| event.topic == topic).count();
        assert_eq!((count(Topic::Flights), count(Topic::Weather)), (26_996, 2_226));
        assert!(events.windows(2).all(|pair| pair[0].minute <= pair[1].minute));
        assert!(events.iter().all(|event| event.minute < MINUTES));
        let first = events.iter().find(|event| event.topic == Topic::Flights);
        assert_eq!(first.map(|event| event.key.as_str()), Some("UA1545"));
    }
}
