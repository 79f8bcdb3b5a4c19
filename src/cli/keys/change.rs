//! What changes a partition that is there.

use serde_json::json;

use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::{advise, change, named};
use crate::audit::line::rfc3339;
use crate::keyring::{Kind, Options, Permissions, State};

/// Epochs that a roll-over tells of.
const MOST_OWN: usize = 1_000;

pub(super) fn rollover(options: &Options, partition: &str, kind: &str, out: &mut Out) -> Result<(), Failure> {
    let name = named(partition)?;
    let kinds: &[Kind] = match kind {
        "random" => &[Kind::Random],
        "deterministic" => &[Kind::Deterministic],
        _ => &[Kind::Random, Kind::Deterministic],
    };
    let own = change(options, ("partition.rollover", name.as_str()), |keyring| {
        // First: what is done is not told as undone.
        let own = if kinds.contains(&Kind::Random) { keyring.own_epochs(&name, MOST_OWN)? } else { Vec::new() };
        keyring.rollover(&name, kinds)?;
        Ok(own)
    })?;
    if kinds.contains(&Kind::Deterministic) {
        advise(
            out,
            "note: deterministic tokens from before no longer equal new ones; look-ups outside bodies find them where rules say `rewrite`, others only new records",
        );
    }
    if let Some(last) = own.iter().map(|epoch| epoch.not_after).max() {
        let text = format!(
            "warning: processes that only encrypt go on under {} of their own, the last until {}; each begins another when it is restarted",
            if own.len() == 1 { "an epoch".to_owned() } else { format!("{} epochs", own.len()) },
            rfc3339(last)
        );
        advise(out, &text);
    }
    let own: Vec<_> = own.iter().map(|e| json!({ "epoch": e.id.to_string(), "not_after": e.not_after })).collect();
    let text = format!("partition {name} has a new epoch; what older ones sealed stays readable");
    done(out, &text, &json!({ "partition": name.as_str(), "rolled": kind, "own_epochs": own }))
}

pub(super) fn state(options: &Options, partition: &str, state: State, out: &mut Out) -> Result<(), Failure> {
    let name = named(partition)?;
    let what = match state {
        State::Active => "partition.resume",
        State::DecryptOnly => "partition.decrypt-only",
        State::Paused => "partition.pause",
        State::Destroyed => "partition.destroy",
    };
    change(options, (what, name.as_str()), |keyring| keyring.set_state(&name, state))?;
    let means = match state {
        State::Active => "seals and opens again",
        State::DecryptOnly => "opens and no longer seals; `sidecloak keys resume` lets it seal again",
        State::Paused => "neither seals nor opens; `sidecloak keys resume` undoes that",
        State::Destroyed => "is destroyed",
    };
    let text = format!("partition {name} {means}; running processes on this keyring follow by themselves");
    done(out, &text, &json!({ "partition": name.as_str(), "state": state.name() }))
}

pub(super) fn role(
    options: &Options,
    partition: &str,
    role: &str,
    allow: &[String],
    out: &mut Out,
) -> Result<(), Failure> {
    let name = named(partition)?;
    let none = allow.iter().any(|word| word == "none");
    if none && allow.iter().any(|word| word != "none") {
        return Err(Failure::new(Exit::Usage, "`none` stands alone").help("write `--allow none` to take the role away"));
    }
    // The bits that only say what is audited stay as a new partition has them.
    let audit = Permissions::DEFAULT.0 & !(Permissions::DECRYPT | Permissions::ENCRYPT);
    let permissions = (!none).then(|| {
        Permissions(allow.iter().fold(audit, |bits, word| {
            bits | match word.as_str() {
                "decrypt" => Permissions::DECRYPT,
                "encrypt" => Permissions::ENCRYPT,
                _ => Permissions::MASK,
            }
        }))
    });
    let on = format!("{name} {role}");
    change(options, ("partition.role", &on), |keyring| keyring.set_role(&name, role, permissions))?;
    let may = permissions.map_or_else(|| "nothing".to_owned(), |p| words(p).join(", "));
    let value = json!({ "partition": name.as_str(), "role": role, "allow": permissions.map_or_else(Vec::new, words) });
    done(out, &format!("role {role} may do in partition {name}: {may}"), &value)
}

/// Permissions as `--allow` takes them.
pub(super) fn words(permissions: Permissions) -> Vec<&'static str> {
    [("decrypt", Permissions::DECRYPT), ("encrypt", Permissions::ENCRYPT), ("mask", Permissions::MASK)]
        .into_iter()
        .filter(|(_, bits)| permissions.has(*bits))
        .map(|(word, _)| word)
        .collect()
}

/// Says what was done.
pub(super) fn done(out: &mut Out, text: &str, value: &serde_json::Value) -> Result<(), Failure> {
    if out.json() { out.value(value) } else { out.line(text) }
}
