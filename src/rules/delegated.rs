//! What an action may ask of values that a managed API seals one by one or together.

use std::ops::Range;

use super::file::{ActionEntry, Choice, Given, Nulls};
use super::profile::{PerValue, Profile};
use super::yaml::Reader;

/// Reports what this profile's API does not do. `seals`: the item has a sealing half.
pub(super) fn check(
    e: &ActionEntry,
    (profile, api): (&Profile, &PerValue),
    seals: bool,
    key: &Range<usize>,
    reader: &mut Reader<'_>,
) {
    let name = &profile.name;
    let asks = |given: &Given<bool>| given.get().copied().unwrap_or(false);
    let deterministic = asks(&e.deterministic);
    if let (true, false, Some(span)) = (deterministic, api.convergent, &e.deterministic.span) {
        let message = format!("the key of profile `{name}` gives equal values different ciphertexts");
        reader.error(span, "profile-deterministic", message, "use a convergent key, or `granularity: envelope`");
    }
    if seals && api.convergent && !deterministic {
        let message = format!("the key of profile `{name}` is convergent: whoever sees ciphertexts sees equal values");
        let help = "say that this is meant with `deterministic: true`, or use another key";
        reader.error(key, "profile-convergent", message, help);
    }
    if let (true, false, Some(span)) = (asks(&e.sign), api.signs, &e.sign.span) {
        let message = format!("the API of profile `{name}` signs no values");
        reader.error(span, "profile-sign", message, "remove `sign`, or use `granularity: envelope`");
    }
    let ours = [("signers", &e.signers.span), ("suite", &e.suite.span), ("pad", &e.pad.span)];
    for (option, span) in ours.into_iter().filter_map(|(option, span)| Some((option, span.as_ref()?))) {
        let message =
            format!("`{option}` is about values that are sealed here, and profile `{name}` has its API do it");
        reader.error(span, "profile-option", message, "remove it, or use `granularity: envelope`");
    }
    if let Some(span) = &e.parse.span {
        let message = format!("profile `{name}` has its API do single values, which it does not inside of strings");
        reader.error(span, "profile-parse", message, "remove `parse`, or use `granularity: envelope`");
    }
    if !api.bare {
        return;
    }
    if let Some(span) = &e.bind.span {
        let message = format!("profile `{name}` is `bare`: its API gets the value alone, which is bound to nothing");
        reader.error(span, "profile-bare", message, "remove `bind`, or `bare` from the profile");
    }
    if let (Some(Choice(Nulls::Seal)), Some(span)) = (e.nulls.get(), &e.nulls.span) {
        let message = format!("profile `{name}` is `bare`: its API gets strings, and null is none");
        reader.error(span, "profile-bare", message, "remove `nulls: seal`, or `bare` from the profile");
    }
}
