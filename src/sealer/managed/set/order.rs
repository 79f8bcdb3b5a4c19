//! Whether an API keeps the order of an array, as far as a client can see. Each ciphertext goes out more than once, in an order drawn
//! anew: an answer whose values stand in other places than they were asked for contradicts itself.

use super::super::{ApiError, Fault};
use crate::crypto::mac::same;
use crate::crypto::random;
use crate::secret::SecretBytes;

/// How often each goes out.
const COPIES: usize = 2;
/// And the first once more, so that two values cannot change places with all their copies.
const MORE: usize = 1;

/// How much may be asked for where so much may go out.
pub fn asked(sent: usize) -> usize {
    (sent.saturating_sub(MORE) / COPIES).max(1)
}

/// An order in which to ask.
pub struct Order {
    values: usize,
    /// Which value stands at each place of what goes out.
    places: Vec<usize>,
}

impl Order {
    /// For so many values. One alone has no order.
    pub fn new(values: usize) -> Result<Self, ApiError> {
        if values < 2 {
            return Ok(Self { values, places: (0..values).collect() });
        }
        let mut places: Vec<usize> = (0..values).chain(0..values).chain([0]).collect();
        for last in (1..places.len()).rev() {
            let bytes = random::bytes().map_err(|error| ApiError::new(Fault::Connection, error.to_string()))?;
            // Of so many bits that none is drawn noticeably more often.
            let drawn = u64::from_le_bytes(bytes) % (last as u64 + 1);
            places.swap(last, usize::try_from(drawn).unwrap_or(last));
        }
        Ok(Self { values, places })
    }

    /// What goes out.
    pub fn ask(&self, ciphertexts: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.places.iter().filter_map(|value| ciphertexts.get(*value).cloned()).collect()
    }

    /// The texts in the order of the values, if all copies of each agree.
    pub fn read(&self, answers: Vec<SecretBytes>) -> Result<Vec<SecretBytes>, ApiError> {
        let number = || lie(format!("it answers {} values with another number", self.places.len()));
        if answers.len() != self.places.len() {
            return Err(number());
        }
        let mut texts: Vec<Option<SecretBytes>> = vec![None; self.values];
        let mut agree = true;
        for (value, answer) in self.places.iter().zip(answers) {
            match texts.get_mut(*value) {
                Some(Some(text)) => agree &= same(text.expose(), answer.expose()),
                Some(place) => *place = Some(answer),
                None => agree = false,
            }
        }
        if !agree {
            return Err(lie("it opens a ciphertext to two texts: the array is in another order".into()));
        }
        texts.into_iter().collect::<Option<_>>().ok_or_else(number)
    }
}

fn lie(text: String) -> ApiError {
    ApiError::new(Fault::Lie, text)
}

#[cfg(test)]
mod tests {
    use super::super::super::ncloud_kms;
    use super::*;

    fn sent(values: usize) -> usize {
        if values > 1 { values * COPIES + MORE } else { values }
    }

    fn ciphertexts(values: usize) -> Vec<Vec<u8>> {
        (0..values).map(|n| vec![u8::try_from(n).unwrap(); 3]).collect()
    }

    /// What is read if the API does this to the array.
    fn read(values: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Result<bool, ApiError> {
        let order = Order::new(values).unwrap();
        let mut answers = order.ask(&ciphertexts(values));
        assert_eq!(answers.len(), sent(values));
        change(&mut answers);
        let texts = order.read(answers.into_iter().map(SecretBytes::new).collect())?;
        Ok(texts.iter().map(SecretBytes::expose).eq(ciphertexts(values).iter().map(Vec::as_slice)))
    }

    #[test]
    fn an_honest_answer_comes_back_in_the_order_of_the_values() {
        for values in [0, 1, 2, 3, 7, 200, 255] {
            assert_eq!(read(values, |_| ()), Ok(true), "{values}");
        }
    }

    #[test]
    fn two_values_cannot_change_places() {
        // Every order that five places can be brought into.
        for code in 0..5 * 4 * 3 * 2 {
            for _ in 0..10 {
                let given = read(2, |answers| {
                    let mut code = code;
                    for last in 1..answers.len() {
                        answers.swap(last, code % (last + 1));
                        code /= last + 1;
                    }
                });
                // Two places with the same value may be exchanged.
                assert!(given.as_ref().is_ok_and(|right| *right) || given.is_err(), "{code}: {given:?}");
            }
        }
    }

    #[test]
    fn arrays_in_another_order_are_noticed() {
        type Change = fn(&mut Vec<Vec<u8>>);
        let changes: [(&str, Change); 5] = [
            ("reversed", |answers| answers.reverse()),
            ("rotated", |answers| answers.rotate_left(1)),
            ("halves exchanged", |answers| {
                let half = answers.len() / 2;
                answers.rotate_left(half);
            }),
            ("sorted", |answers| answers.sort()),
            ("neighbours exchanged", |answers| answers.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1))),
        ];
        for values in [3, 4, 10, 200] {
            for (name, change) in &changes {
                let (mut noticed, mut wrong) = (0, 0);
                for _ in 0..400 {
                    match read(values, change) {
                        Ok(true) => {}
                        Ok(false) => wrong += 1,
                        Err(error) => {
                            assert_eq!(error.kind, Fault::Lie);
                            noticed += 1;
                        }
                    }
                }
                // With three values at most 6 of 105 orders miss one of these; with many next to none.
                assert!(wrong <= if values < 10 { 48 } else { 0 }, "{name}, {values}: {wrong} wrong");
                assert!(noticed >= 300, "{name}, {values}: {noticed} noticed");
            }
        }
    }

    #[test]
    fn answers_of_another_number_or_to_something_else_are_none() {
        for change in [
            (|answers| drop(answers.pop())) as fn(&mut Vec<Vec<u8>>),
            |answers| answers.push(vec![1]),
            |answers| answers.clear(),
            |answers| answers[0] = vec![9],
        ] {
            assert_eq!(read(3, change).unwrap_err().kind, Fault::Lie);
        }
        assert_eq!(read(1, |answers| answers.push(vec![1])).unwrap_err().kind, Fault::Lie);
    }

    #[test]
    fn what_goes_out_for_what_may_be_asked_is_within_the_bound() {
        for bound in 1..600 {
            assert!(asked(bound) == 1 || sent(asked(bound)) <= bound);
        }
        assert_eq!((asked(511), sent(200)), (255, 401));
        assert_eq!(sent(ncloud_kms::VALUES), ncloud_kms::BATCH);
    }
}
