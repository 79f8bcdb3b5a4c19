//! What sidecars sealed and opened, for the audit log.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Api;
use super::problem::Problem;
use super::request::{json, parameter};
use crate::audit::Use;
use crate::name::{Class, PartitionName};
use crate::remote_keyring::wire::{self, MAX_COUNTS};

/// More bytes than that many counts have.
const MAX_BODY: usize = 1024 * 1024;
/// Longest class, and longest caller.
const MAX_NAME: usize = 256;

/// Takes counts. A caller is named after the authenticated sidecar, then as that names it; partitions that are not its own are passed over in silence.
pub async fn counts(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let sidecar = api.sidecar(request.headers(), request.extensions().get()).await?;
    parameter(&request, "")?;
    let wire::Counts { counts } = json(request, MAX_BODY).await?;
    if counts.len() > MAX_COUNTS {
        return Err(Problem::invalid("too many counts in one report"));
    }
    let mut taken = Vec::with_capacity(counts.len());
    for count in &counts {
        let what = match count.what.as_str() {
            "sealed" => Use::Sealed,
            "opened" => Use::Opened,
            "refused" => Use::Refused,
            _ => return Err(Problem::invalid("a use is `sealed`, `opened` or `refused`")),
        };
        let long = |name: &str| name.chars().nth(MAX_NAME).is_some();
        if long(&count.class) || long(&count.caller) || count.values > 1 << 40 {
            return Err(Problem::invalid("a class, a caller or a count is too large"));
        }
        taken.push((count, what));
    }
    for (count, what) in taken {
        if count.partition.is_empty() {
            api.authority.audit.count_others(what, count.values);
            continue;
        }
        let Ok(name) = PartitionName::new(&count.partition) else { continue };
        match api.partition(&sidecar, name.as_str()).await {
            Ok(_) => {
                let class = Class::new(&count.class);
                let sidecar = &sidecar.caller.name;
                let caller =
                    if count.caller.is_empty() { sidecar.clone() } else { format!("{sidecar}, {}", count.caller) };
                api.authority.audit.count(&caller, &name, &class, what, count.values);
            }
            Err(problem) if problem.is_not_there() => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
