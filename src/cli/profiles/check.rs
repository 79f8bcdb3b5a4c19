//! `sidecloak profiles check`.

use serde_json::json;

use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::provider;
use super::trial::round_trip;
use crate::sealer::managed::settings::ProfileSettings;

pub(super) fn check(profiles: &[ProfileSettings], out: &mut Out) -> Result<(), Failure> {
    if profiles.is_empty() {
        let failure = Failure::new(Exit::Usage, "there are no profiles to check");
        return Err(failure.help("write them under `profiles:` in sidecloak.yaml, or name the file with --config"));
    }
    let mut worst: Option<Exit> = None;
    let mut all = Vec::with_capacity(profiles.len());
    for profile in profiles {
        let tried = round_trip(profile);
        if let Err(failure) = &tried {
            worst = Some(worst.map_or(failure.code, |worst| graver(worst, failure.code)));
        }
        if out.json() {
            let (took, error) = match &tried {
                Ok(tried) => (Some(tried.took.as_millis()), None),
                Err(failure) => (None, Some(&failure.message)),
            };
            let took = took.and_then(|took| u64::try_from(took).ok());
            all.push(json!({ "profile": &*profile.name, "provider": provider(profile), "ok": tried.is_ok(), "milliseconds": took, "error": error }));
            continue;
        }
        match &tried {
            Ok(tried) => out.line(&format!(
                "ok    {}: {} {}, {} ms",
                profile.name,
                provider(profile),
                tried.does,
                tried.took.as_millis()
            ))?,
            Err(failure) => {
                out.line(&format!("FAIL  {}", failure.message.trim_start_matches("profile ")))?;
                if let Some(help) = &failure.help {
                    out.line(&format!("      help: {help}"))?;
                }
            }
        }
    }
    if out.json() {
        out.value(&json!(all))?;
    }
    worst.map_or(Ok(()), |code| Err(Failure::silent(code)))
}

/// What the operator has to mend stands before what may pass.
fn graver(one: Exit, other: Exit) -> Exit {
    [Exit::NoPermission, Exit::No, Exit::Unavailable]
        .into_iter()
        .find(|code| *code == one || *code == other)
        .unwrap_or(one)
}
