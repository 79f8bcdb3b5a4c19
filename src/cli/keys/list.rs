//! `sidecloak keys list`.

use serde_json::{Value, json};

use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::change::words;
use super::{advise, hex, named, open};
use crate::keyring::{Kind, Options, PartitionInfo, RecipientInfo};

const HEAD: [&str; 7] = ["PARTITION", "STATE", "VERSION", "EPOCHS", "CURRENT SINCE", "RECIPIENTS", "ROLES"];

pub(super) fn list(options: &Options, only: Option<&str>, out: &mut Out) -> Result<(), Failure> {
    let only = only.map(named).transpose()?;
    let keyring = open(options)?;
    let mut partitions = keyring.list()?;
    if let Some(only) = &only {
        partitions.retain(|p| p.name == *only);
        if partitions.is_empty() {
            let failure = Failure::new(Exit::Usage, format!("there is no partition {only}"));
            return Err(failure.help(format!("make it with `sidecloak keys init --partition {only}`")));
        }
    }
    let (owner, alarms) = (hex(&keyring.owner_fingerprint()), keyring.alarms());
    if out.json() {
        return out.value(&json!({
            "keyring": options.store.to_string(),
            "owner": owner,
            "alarms": alarms,
            "partitions": partitions.iter().map(value).collect::<Vec<_>>(),
        }));
    }
    out.line(&format!("owner {owner}\n"))?;
    if only.is_some() {
        partitions.iter().try_for_each(|p| detail(p, out))?;
    } else {
        columns(HEAD, partitions.iter().map(row).collect(), out)?;
    }
    if alarms > 0 {
        advise(
            out,
            &format!(
                "warning: {alarms} records do not verify and were left out: somebody without the right wrote them, or they are damaged"
            ),
        );
    }
    Ok(())
}

fn value(p: &PartitionInfo) -> Value {
    let current = |e: &crate::keyring::EpochInfo| {
        let until = (e.not_after > 0).then_some(e.not_after);
        json!({ "epoch": e.id.to_string(), "kind": kind(e.kind), "created": e.created, "not_after": until, "age_seconds": e.age })
    };
    let recipient = |r: &RecipientInfo| json!({ "suite": r.suite.map(|s| s.name()), "profile": r.profile, "id": hex(&r.id), "private_key_here": r.ours });
    let roles: serde_json::Map<String, Value> =
        p.roles.iter().map(|(role, bits)| (role.clone(), json!({ "allow": words(*bits), "bits": bits.0 }))).collect();
    json!({
        "name": p.name.as_str(),
        "state": p.state.name(),
        "version": p.version,
        "epochs": p.epochs,
        "current": p.current.iter().map(current).collect::<Vec<_>>(),
        "recipients": p.recipients.iter().map(recipient).collect::<Vec<_>>(),
        "issuers": p.issuers,
        "issuer_ids": p.issuer_ids.iter().map(|id| hex(id)).collect::<Vec<_>>(),
        "signers": p.signers.iter().map(|id| hex(id)).collect::<Vec<_>>(),
        "roles": roles,
    })
}

fn detail(p: &PartitionInfo, out: &mut Out) -> Result<(), Failure> {
    out.line(&format!("partition {}", p.name))?;
    out.line(&format!("  state       {}, version {}", p.state, p.version))?;
    out.line(&format!("  epochs      {}", p.epochs))?;
    for e in &p.current {
        let end = match e.not_after {
            0 => "sealing until it is rolled".to_owned(),
            end => format!("sealing for another {}", age(end.saturating_sub(e.created.saturating_add(e.age)))),
        };
        out.line(&format!("    {:<13} {}, made {} ago, {end}", kind(e.kind), e.id, age(e.age)))?;
    }
    out.line(&format!("  recipients  {}", p.recipients.len()))?;
    for r in &p.recipients {
        let suite = r.suite.map_or("managed", |s| s.name());
        let whose = match &r.profile {
            Some(profile) => format!(", held by the API of profile {profile}"),
            None if r.ours => String::new(),
            None => ", private key not here: for recovery".into(),
        };
        out.line(&format!("    {suite:<13} {}{whose}", hex(&r.id)))?;
    }
    out.line(&format!("  issuers     {}\n  signers     {}", p.issuers, p.signers.len()))?;
    for id in &p.signers {
        out.line(&format!("    ml-dsa-65     {}", hex(id)))?;
    }
    out.line("  roles")?;
    for (role, bits) in &p.roles {
        out.line(&format!("    {role:<13} {}", words(*bits).join(", ")))?;
    }
    Ok(())
}

/// Rows below a head, each column as wide as its widest cell.
pub(in super::super) fn columns<const N: usize>(
    head: [&str; N],
    rows: Vec<[String; N]>,
    out: &mut Out,
) -> Result<(), Failure> {
    let rows = [vec![head.map(str::to_owned)], rows].concat();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        out.line(line.trim_end())?;
    }
    Ok(())
}

fn row(p: &PartitionInfo) -> [String; HEAD.len()] {
    let since = |e: &crate::keyring::EpochInfo| format!("{} {}", kind(e.kind), age(e.age));
    let recipient = |r: &RecipientInfo| {
        let suite = r.suite.map_or("managed", |s| s.name());
        match &r.profile {
            Some(profile) => format!("{suite} ({profile})"),
            None if r.ours => suite.to_owned(),
            None => format!("{suite} (recovery)"),
        }
    };
    let role = |(role, bits): &(String, crate::keyring::Permissions)| format!("{role}: {}", words(*bits).join("+"));
    let joined = |texts: Vec<String>| if texts.is_empty() { "-".to_owned() } else { texts.join(", ") };
    [
        p.name.to_string(),
        p.state.name().to_owned(),
        p.version.to_string(),
        p.epochs.to_string(),
        joined(p.current.iter().map(since).collect()),
        joined(p.recipients.iter().map(recipient).collect()),
        joined(p.roles.iter().map(role).collect()),
    ]
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Random => "random",
        Kind::Deterministic => "deterministic",
        Kind::Private => "private",
    }
}

/// A time as people say it.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
