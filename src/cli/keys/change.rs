//! What changes a partition that is there.

use serde_json::json;

use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::{advise, change, named};
use crate::keyring::{Kind, Options, Permissions, State};

pub(super) fn rollover(options: &Options, partition: &str, kind: &str, out: &mut Out) -> Result<(), Failure> {
    let name = named(partition)?;
    let kinds: &[Kind] = match kind {
        "random" => &[Kind::Random],
        "deterministic" => &[Kind::Deterministic],
        _ => &[Kind::Random, Kind::Deterministic],
    };
    change(options, ("partition.rollover", name.as_str()), |keyring| keyring.rollover(&name, kinds))?;
    if kinds.contains(&Kind::Deterministic) {
        advise(
            out,
            "note: deterministic tokens from before no longer equal new ones; look-ups outside bodies find them where rules say `rewrite`, others only new records",
        );
    }
    let text = format!("partition {name} has a new epoch; what older ones sealed stays readable");
    done(out, &text, &json!({ "partition": name.as_str(), "rolled": kind }))
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
