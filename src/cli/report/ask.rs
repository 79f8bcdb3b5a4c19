//! Asking many processes at once.

use std::time::Duration;

use http::StatusCode;
use tokio::net::lookup_host;
use tokio::task::JoinSet;

use super::super::exit::{Exit, Failure};
use super::super::health;
use super::{MAX_SNAPSHOT, address, read};
use crate::keyring::KeySource;
use crate::proxy::settings::Address;
use crate::rollout::fleet::Replica;
use crate::secret::SecretBytes;

/// More are no fleet that one command asks.
const MAX_REPLICAS: usize = 1_000;
const AT_ONCE: usize = 16;

/// One process, or all behind a name.
pub(super) struct Target {
    /// As it was named.
    pub(super) name: String,
    pub(super) address: Address,
    /// For an admin interface over TCP.
    pub(super) token: Option<SecretBytes>,
}

impl Target {
    pub(super) fn new(text: &str, token: Option<&KeySource>) -> Result<Self, Failure> {
        let address = address(text)?;
        // Whoever may open the socket needs no token, and should not be shown it.
        let token = token.filter(|_| !matches!(address, Address::Unix(_)));
        Ok(Self { name: text.to_owned(), address, token: token.map(health::token).transpose()? })
    }
}

/// What they tell, in the order they were named.
pub(super) fn all(whom: Vec<Target>, limit: Duration) -> Result<Vec<Replica>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io("cannot start", &e))?;
    runtime.block_on(async {
        let mut each = Vec::new();
        for target in whom {
            each.extend(resolved(target, limit).await);
        }
        if each.len() > MAX_REPLICAS {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} replicas; at most {MAX_REPLICAS} are asked", each.len()),
            ));
        }
        let (mut asking, mut answers) = (JoinSet::new(), Vec::new());
        for (index, target) in each.into_iter().enumerate() {
            if asking.len() >= AT_ONCE
                && let Some(answer) = asking.join_next().await
            {
                answers.extend(answer.ok());
            }
            asking.spawn(async move { (index, one(target, limit).await) });
        }
        while let Some(answer) = asking.join_next().await {
            answers.extend(answer.ok());
        }
        answers.sort_by_key(|(index, _)| *index);
        Ok(answers.into_iter().map(|(_, replica)| replica).collect())
    })
}

/// Every address of a name: those of a headless service are the replicas.
async fn resolved(target: Target, limit: Duration) -> Vec<Target> {
    let Address::Host(host, port) = target.address.clone() else { return vec![target] };
    let mut addresses: Vec<_> = match tokio::time::timeout(limit, lookup_host((host.as_str(), port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    addresses.sort_unstable();
    addresses.dedup();
    let copy = |token: &SecretBytes| SecretBytes::new(token.expose().to_vec());
    let of = |at: std::net::SocketAddr| Target {
        name: at.to_string(),
        address: Address::Tcp(at),
        token: target.token.as_ref().map(copy),
    };
    match addresses.len() {
        // `localhost` is one process at two addresses.
        0 | 1 => vec![target],
        _ if host == "localhost" => vec![target],
        _ => addresses.into_iter().map(of).collect(),
    }
}

async fn one(target: Target, limit: Duration) -> Replica {
    let most = usize::try_from(MAX_SNAPSHOT).unwrap_or(usize::MAX);
    let asking = health::ask(&target.address, "/rollout", target.token.as_ref(), most);
    let told = match tokio::time::timeout(limit, asking).await {
        Ok(Ok((StatusCode::OK, body))) => read(&body),
        Ok(Ok((StatusCode::UNAUTHORIZED, _))) => Err("it wants another token: --admin-token-file".to_owned()),
        Ok(Ok((StatusCode::NOT_FOUND, _))) => {
            Err("it has no /rollout: an older version, or no proxy with rules".to_owned())
        }
        Ok(Ok((status, _))) => Err(format!("it answers {status}")),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    };
    Replica { address: target.name, told }
}
