//! The words in Nexmark's events: names, places, and the channels that bids come by.

use super::random::{below, bits, push_letters};

pub(super) const FIRST_NAMES: [&str; 11] = [
    "Alice", "Bruno", "Carla", "David", "Elena", "Felix", "Grace", "Henri", "Irene", "Jonas", "Katja",
];
pub(super) const LAST_NAMES: [&str; 9] = [
    "Adams", "Becker", "Carver", "Dalton", "Evans", "Fischer", "Garcia", "Hansen", "Ito",
];
pub(super) const CITIES: [&str; 10] = [
    "Phoenix",
    "Tucson",
    "Fresno",
    "San Diego",
    "Boise",
    "Portland",
    "Eugene",
    "Seattle",
    "Spokane",
    "Laramie",
];
pub(super) const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const NAMED_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
/// Channels besides the four with a name.
const CHANNELS: usize = 10_000;

#[inline]
pub(super) fn pick(words: &[&'static str], draw: u64) -> &'static str {
    words[below(draw, words.len() as u64) as usize]
}

/// Which channel: one of the named, or one behind them.
#[inline]
pub(super) fn channel(draw: u64) -> usize {
    match draw >> 63 {
        0 => below(draw, 4) as usize,
        _ => 4 + below(draw, CHANNELS as u64) as usize,
    }
}

/// The channels' names and urls, made once.
pub(super) struct Channels {
    pub(super) names: Words,
    pub(super) urls: Words,
}

/// Many short texts, one after another.
pub(super) struct Words {
    ends: Vec<u32>,
    text: Vec<u8>,
}

impl Words {
    fn of(count: usize, mut push: impl FnMut(usize, &mut Vec<u8>)) -> Words {
        let (mut text, mut ends) = (Vec::new(), vec![0]);
        for index in 0..count {
            push(index, &mut text);
            ends.push(text.len() as u32);
        }
        Words { ends, text }
    }

    #[inline]
    pub(super) fn push(&self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text[self.ends[index] as usize..self.ends[index + 1] as usize]);
    }
}

impl Channels {
    pub(super) fn new(stream: u64) -> Channels {
        let named = NAMED_CHANNELS.len();
        let names = Words::of(named + CHANNELS, |index, out| match NAMED_CHANNELS.get(index) {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => out.extend_from_slice(format!("channel-{}", index - named).as_bytes()),
        });
        let urls = Words::of(named + CHANNELS, |index, out| {
            let draw = bits(stream, index as u64);
            out.extend_from_slice(b"https://www.nexmark.com");
            for word in 0..3 {
                out.push(b'/');
                push_letters(out, bits(draw, word), 3 + (draw >> word & 1) as usize);
            }
            out.extend_from_slice(b"/item.htm?query=1");
            if index >= named && below(draw >> 3, 10) != 0 {
                out.extend_from_slice(format!("&channel_id={}", draw >> 33).as_bytes());
            }
        });
        Channels { names, urls }
    }
}
