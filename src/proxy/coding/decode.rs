//! Undoes a stack of codings, as the body comes, in bounded memory.

use crate::proxy::budget::{Budget, Lease};
use crate::refusal::{Reason, Refusal};

use super::encode::Form;
use super::member::{Corrupt, Member};
use super::{Bounds, Codings};

/// What one call decodes at most.
pub const PIECE: usize = 16 * 1024;

/// Up to here a body may grow by any ratio: repetitive documents do.
const FREE: u64 = 1 << 20;

/// What a decoder holds of the budget like any other body. Whoever codes a body chooses how large a window undoes it, and a few
/// bytes are enough to have megabytes held for as long as the rest takes: those come out of half of the budget.
const MODEST: usize = 512 * 1024;

/// Undoes the codings of one body.
pub struct Decoder {
    /// The one applied last comes first.
    layers: Vec<Layer>,
    bounds: Bounds,
    came: u64,
    budget: Budget,
    lease: Lease,
}

/// Why a coded body goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// It is not of its codings, or ends too early or too late.
    Corrupt,
    /// It grows beyond its bounds.
    TooLarge,
    /// The byte budget is spent.
    Overload,
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Corrupt => Self::new(Reason::Coding, "the body is not of its Content-Encoding, or broke off"),
            DecodeError::TooLarge => Self::new(
                Reason::TooLarge,
                "the body grows beyond `limits.decoded` or `limits.ratio` when it is decoded",
            ),
            DecodeError::Overload => Self::new(Reason::Overload, "the memory budget (`limits.memory`) is spent"),
        }
    }
}

struct Layer {
    member: Member,
    /// What the layer before has decoded for this one, and how much of that is used.
    input: Vec<u8>,
    used: usize,
    /// The last output was full: there may be more without any input.
    full: bool,
    /// The last byte taken was the last of a stream.
    ended: bool,
    gave: u64,
}

impl Decoder {
    /// For a body of these codings.
    pub fn new(codings: &Codings, bounds: Bounds, budget: &Budget) -> Result<Self, DecodeError> {
        let layer = |(at, coding): (usize, &super::Coding)| {
            let input = Vec::with_capacity(if at == 0 { 0 } else { PIECE });
            let member = Member::new(*coding).ok_or(DecodeError::Overload)?;
            Ok(Layer { member, input, used: 0, full: false, ended: false, gave: 0 })
        };
        let layers = codings.0.iter().rev().enumerate().map(layer).collect::<Result<Vec<_>, _>>()?;
        let lease = budget.try_take(0).ok_or(DecodeError::Overload)?;
        let mut decoder = Self { layers, bounds, came: 0, budget: budget.clone(), lease };
        decoder.pay()?;
        Ok(decoder)
    }

    /// Takes from `input` and appends at most [`PIECE`] bytes. `true`: call again, there is more; else all of `input` is used.
    pub fn decode(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        let before = input.len();
        let begin = out.len();
        out.resize(begin + PIECE, 0);
        let given = pull(&mut self.layers, input, out.get_mut(begin..).unwrap_or_default());
        out.truncate(begin + given.as_ref().copied().unwrap_or_default());
        self.came += (before - input.len()) as u64;
        let given = given.map_err(|Corrupt| DecodeError::Corrupt)?;
        let over = |layer: &Layer| {
            layer.gave > self.bounds.decoded
                || (layer.gave > FREE && layer.gave > self.came.saturating_mul(self.bounds.ratio))
        };
        if self.layers.iter().any(over) {
            return Err(DecodeError::TooLarge);
        }
        self.pay()?;
        Ok(given > 0 || !input.is_empty())
    }

    /// The body has ended: so must each of its streams have.
    pub fn finish(&self) -> Result<(), DecodeError> {
        let whole = |layer: &Layer| layer.ended && layer.used == layer.input.len();
        if self.layers.iter().all(whole) { Ok(()) } else { Err(DecodeError::Corrupt) }
    }

    /// The forms to code the body in again, in the order in which they are applied.
    pub fn forms(&self) -> Vec<Form> {
        self.layers.iter().rev().map(|layer| layer.member.form()).collect()
    }

    fn pay(&mut self) -> Result<(), DecodeError> {
        let holds: usize = self.layers.iter().map(|layer| layer.member.holds() + layer.input.capacity()).sum();
        let more = holds.saturating_sub(self.lease.bytes());
        let leaves_half = || self.budget.used().saturating_add(more) <= self.budget.limit() / 2;
        if more > 0 && !((holds <= MODEST || leaves_half()) && self.lease.grow(more)) {
            return Err(DecodeError::Overload);
        }
        self.lease.shrink_to(holds);
        Ok(())
    }
}

/// Fills `out` as far as it goes, from the last layer, which asks the one before it when it needs more.
fn pull(layers: &mut [Layer], input: &mut &[u8], out: &mut [u8]) -> Result<usize, Corrupt> {
    let Some((layer, before)) = layers.split_last_mut() else { return Ok(0) };
    if before.is_empty() {
        return layer.run(input, out);
    }
    loop {
        let kept = std::mem::take(&mut layer.input);
        let mut rest = kept.get(layer.used..).unwrap_or_default();
        let given = layer.run(&mut rest, out);
        layer.used = kept.len() - rest.len();
        layer.input = kept;
        if given.as_ref().is_ok_and(|given| *given == 0) && layer.used == layer.input.len() {
            layer.input.resize(PIECE, 0);
            let came = pull(before, input, &mut layer.input)?;
            layer.input.truncate(came);
            layer.used = 0;
            if came > 0 {
                continue;
            }
        }
        return given;
    }
}

impl Layer {
    fn run(&mut self, input: &mut &[u8], out: &mut [u8]) -> Result<usize, Corrupt> {
        let mut given = 0;
        loop {
            if self.ended && !input.is_empty() {
                if !self.member.may_repeat() {
                    return Err(Corrupt);
                }
                self.member.again()?;
                self.ended = false;
            }
            let room = out.get_mut(given..).unwrap_or_default();
            if room.is_empty() || self.ended || (input.is_empty() && !self.full) {
                return Ok(given);
            }
            let (had, space) = (input.len(), room.len());
            let step = self.member.step(input, room)?;
            *input = input.get(step.taken..).unwrap_or_default();
            given += step.given;
            self.gave += step.given as u64;
            self.ended = step.ended;
            self.full = step.given == space && !step.ended;
            if step.taken == 0 && step.given == 0 && !step.ended && had > 0 {
                return Err(Corrupt);
            }
        }
    }
}
