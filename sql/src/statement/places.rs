//! Where the options of a statement stand, for the errors about them.

use crate::Error;

/// The options of a statement's WITH and ENCODE clauses by name, each with its 1-based line and column.
#[derive(Debug, Clone, Default)]
pub struct OptionPlaces(Vec<(String, (u64, u64))>);

impl OptionPlaces {
    /// Notes where an option stands.
    pub(crate) fn add(&mut self, name: &str, place: (u64, u64)) {
        self.0.push((name.to_string(), place));
    }

    /// The error at the option that it names first, if it names one.
    pub fn placed(&self, error: Error) -> Error {
        if error.place.is_some() {
            return error;
        }
        let named = self
            .0
            .iter()
            .filter_map(|(name, place)| Some((position(&error.message, name)?, *place)));
        match named.min() {
            Some((_, (line, column))) => Error::at(error.message, line, column),
            None => error,
        }
    }

    /// The same for what a connector says: about an option that is missing, at the connector that needs it.
    pub fn placed_or_at_connector(&self, error: Error) -> Error {
        let error = self.placed(error);
        match self.0.iter().find(|(name, _)| name == "connector") {
            Some((_, (line, column))) if error.place.is_none() => Error::at(error.message, *line, *column),
            _ => error,
        }
    }
}

/// Where a message names an option: not as a part of another's name, and not in passing as another word.
fn position(message: &str, name: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let stands_alone = |at: usize| {
        let before = message[..at].chars().next_back();
        let mut behind = message[at + name.len()..].chars();
        let (first, second) = (behind.next(), behind.next());
        let goes_on = first == Some('.') && second.is_some_and(is_part);
        !(before.is_some_and(|c| is_part(c) || c == '.') || first.is_some_and(is_part) || goes_on)
    };
    let mut found = message.match_indices(name).map(|(at, _)| at);
    found.find(|at| stands_alone(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stands_at_the_option_that_it_names() {
        let mut places = OptionPlaces::default();
        for (number, name) in ["connector", "topic", "topic.pattern", "scan.startup.mode"]
            .into_iter()
            .enumerate()
        {
            places.add(name, (1, number as u64));
        }
        for (message, column) in [
            ("unknown option 'topic' of a file source", 1),
            ("topic.pattern = '[' is no regular expression", 2),
            (
                "scan.startup.mode is 'earliest', 'timestamp' (with scan.startup.timestamp)",
                3,
            ),
            ("topics are many, and mytopic none: topic.", 1),
            ("the file connector needs path = '…'", 0),
            ("it needs path = '…'", 0),
        ] {
            let placed = places.placed_or_at_connector(Error::new(message));
            assert_eq!(placed.place, Some((1, column)), "{message}");
        }
        assert_eq!(places.placed(Error::new("it needs path = '…'")).place, None);
        let elsewhere = Error::at("topic", 7, 7);
        assert_eq!(places.placed(elsewhere.clone()), elsewhere);
    }
}
