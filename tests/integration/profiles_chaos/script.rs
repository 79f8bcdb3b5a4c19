//! What the doubles do, drawn from a seed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::managed::double::Act;

/// SplitMix64: small, and the same everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, stream: u64, number: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        dice.0 = dice.next().wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// Between two outages, in calls.
const WEATHER: usize = 200;
/// What an outage lasts, in calls: longer than the breakers are patient, and over after some probes.
const OUTAGE: usize = 16;
/// Longer than the profiles wait.
pub const LATE: Duration = Duration::from_secs(3);

/// The script of one double.
#[derive(Clone)]
pub struct Script {
    pub seed: u64,
    pub stream: u64,
    /// Where redirects lead.
    pub elsewhere: String,
    /// An answer to somebody else.
    pub before: Arc<Mutex<Option<Value>>>,
}

impl Script {
    /// What it does with its call of that number.
    pub fn act(&self, number: usize) -> Act {
        let mut dice = Dice::new(self.seed, self.stream, number as u64);
        if number % WEATHER >= WEATHER - OUTAGE {
            return match number / WEATHER % 3 {
                0 => Act::status(503),
                1 => Act::Reset,
                _ => Act::html(502),
            };
        }
        match dice.below(100) {
            0..55 => Act::Well,
            55 => Act::throttled([0, 1, 3600][dice.below(3)]),
            56 => Act::status([400, 401, 403, 404, 409, 413, 418, 422][dice.below(8)]),
            57..60 => Act::status([500, 502, 503, 504][dice.below(4)]),
            60 => Act::Late(LATE),
            61 => Act::Late(Duration::from_millis(20)),
            62 => Act::Drip(Duration::from_millis(8)),
            63 => Act::Reset,
            64 => Act::ResetInHead,
            65 => Act::ResetAfterHead,
            66 => Act::ResetInBody,
            67 => Act::Length([-7, -1, 1, 9][dice.below(4)]),
            68 => Act::Oversized(3 << 20),
            69 => Act::Endless,
            70 => Act::Truncated,
            71 => Act::html([200, 404, 502][dice.below(3)]),
            72 => Act::gzip(),
            73 => Act::Noise,
            74 => {
                let to = format!("{}/elsewhere", self.elsewhere);
                Act::redirect([301, 302, 303, 307, 308][dice.below(5)], to)
            }
            75..80 => self.another(),
            _ => {
                let seed = dice.next();
                Act::lies(move |json| lie(json, &mut Dice::new(seed, 0, 0)))
            }
        }
    }

    /// The answer that the call before this one of its kind had.
    fn another(&self) -> Act {
        let before = Arc::clone(&self.before);
        Act::lies(move |json| {
            if let Some(other) = before.lock().unwrap().replace(json.clone()) {
                *json = other;
            }
        })
    }
}

/// Changes one thing somewhere.
fn lie(json: &mut Value, dice: &mut Dice) {
    let mut places = Vec::new();
    pointers(json, String::new(), &mut places);
    let place = &places[dice.below(places.len())];
    let Some(value) = json.pointer_mut(place) else { return };
    match value {
        Value::Array(items) if !dice.one_in(4) => rearrange(items, dice),
        Value::Object(members) if !members.is_empty() && dice.one_in(2) => {
            let name = members.keys().nth(dice.below(members.len())).unwrap().clone();
            members.remove(&name);
        }
        Value::String(text) if dice.one_in(3) => {
            // Behind what says whose it is, the API's word for a value is all there is.
            let is_opened = place.contains("plaintext") || place.contains("decrypted");
            if is_opened {
                text.insert_str(0, ["A", "hunter2", "=", "sc1:"][dice.below(4)])
            } else {
                damage(text, dice)
            }
        }
        value => *value = other(value, dice),
    }
}

fn pointers(json: &Value, at: String, into: &mut Vec<String>) {
    match json {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| pointers(value, format!("{at}/{name}"), into))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| pointers(value, format!("{at}/{n}"), into));
            // As likely as one of its items.
            into.extend(std::iter::repeat_n(at.clone(), items.len()));
        }
        _ => {}
    }
    into.push(at);
}

fn rearrange(items: &mut Vec<Value>, dice: &mut Dice) {
    let (first, second) = (dice.below(items.len()), dice.below(items.len()));
    match dice.below(8) {
        0 => items.clear(),
        1 => drop(items.pop()),
        2 => items.extend(items.last().cloned()),
        3 => items.reverse(),
        4 if !items.is_empty() => items.rotate_left(1),
        5 => items.sort_by_key(Value::to_string),
        6 if !items.is_empty() => items[first] = items[second].clone(),
        _ if !items.is_empty() => items.swap(first, second),
        _ => {}
    }
}

fn damage(text: &mut String, dice: &mut Dice) {
    let at = dice.below(text.len());
    match dice.below(4) {
        0 => text.clear(),
        1 if text.is_char_boundary(at) => text.truncate(at),
        2 => text.push_str("hunter2"),
        _ if text.is_char_boundary(at) => text.insert(at, 'A'),
        _ => text.push('='),
    }
}

fn other(value: &Value, dice: &mut Dice) -> Value {
    let others = [
        Value::Null,
        json!(!value.as_bool().unwrap_or(false)),
        json!(0),
        json!(500),
        json!(-1.5e300),
        json!("hunter2"),
        json!(""),
        json!([value]),
        json!([]),
        json!({}),
        json!({ "hunter2": value }),
    ];
    others[dice.below(others.len())].clone()
}
