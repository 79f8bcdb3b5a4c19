//! The four calls.

use axum::extract::Request;
use axum::response::Response;
use time::OffsetDateTime;
use time::macros::format_description;

use super::answer::{Failure, Shape};
use super::assumptions::MAX_BODY;
use super::envelope::{self, Around};
use super::who::{self, Who};
use super::wire::{self, ToOpen, ToSeal};
use super::{Call, Face};
use crate::audit::Use;
use crate::authority::{Refused, blocking};
use crate::crypto::base64url;
use crate::keyring::{Cached, KeyringError, Permissions};
use crate::name::PartitionName;
use crate::secret::SecretBytes;
use crate::token::{EpochId, Suite, v1};
use crate::transform::SealJob;

impl Face {
    /// Answers a call.
    pub(super) async fn serve(&self, shape: Shape, call: Call, request: Request) -> Response {
        match self.done(shape, call, request).await {
            Ok(response) => response,
            Err(failure) => failure.response(shape),
        }
    }

    async fn done(&self, shape: Shape, call: Call, request: Request) -> Result<Response, Failure> {
        let (head, body) = request.into_parts();
        // Before the body: nobody unknown gets us to hold one.
        let who = match self.who(shape, &head.headers, who::address(&head.extensions)).await {
            Ok(who) => who,
            Err(failure) => {
                wire::drain(body).await;
                return Err(failure);
            }
        };
        let body = wire::body(body, MAX_BODY).await?;
        match call {
            Call::Encrypt | Call::SignEncrypt => {
                let inner = self.seal(&who, call, &ToSeal::read(&body, call)?).await?;
                Ok(shape.success(&inner))
            }
            Call::Decrypt | Call::DecryptVerify => {
                let inner = self.open(&who, call, &ToOpen::read(&body)?).await?;
                let inner = std::str::from_utf8(inner.expose()).map_err(|_| Failure::from(Refused::NotAuthentic))?;
                Ok(shape.success(inner))
            }
        }
    }

    async fn seal(&self, who: &Who, call: Call, asked: &ToSeal<'_>) -> Result<String, Failure> {
        let (data, partners) = (asked.data()?, asked.partners()?);
        if let Err(refused) = who.permit(self, &who.partition, Permissions::ENCRYPT).await {
            self.count_refused(who, &who.partition);
            return Err(refused.into());
        }
        let signed = call.is_signed().then(|| (who.user.as_str(), timestamp(self.authority.clock.micros())));
        let enveloped = if partners.is_some() || signed.is_some() {
            Some(envelope::seal(data, Around { partners, signed }, &who.key)?)
        } else {
            None
        };
        let job = SealJob {
            partition: &who.partition,
            class: &self.class,
            suite: Suite::Xaes,
            sign: call.is_signed(),
            pad: None,
            text: enveloped.as_ref().map_or(data.as_bytes(), SecretBytes::expose),
            is_string: enveloped.is_none(),
            record_id: enveloped.as_ref().map(|_| envelope::RECORD_ID),
        };
        let token = self.authority.vault.seal(&who.caller, &job).await?;
        let mut inner = Vec::with_capacity(token.len() * 4 / 3 + 32);
        inner.extend_from_slice(br#"{"encrypted_data":""#);
        base64url::encode_public_into(&token, &mut inner);
        inner.extend_from_slice(br#""}"#);
        String::from_utf8(inner).map_err(|_| Failure::unavailable())
    }

    async fn open(&self, who: &Who, call: Call, asked: &ToOpen<'_>) -> Result<SecretBytes, Failure> {
        if let Err(refused) = who.permit(self, &who.partition, Permissions::DECRYPT).await {
            self.count_refused(who, &who.partition);
            return Err(refused.into());
        }
        let token = asked.token().and_then(|text| v1::parse(&text).ok());
        let (token, home) = match self.checked(who, call, token).await {
            Ok(checked) => checked,
            Err(failure) => {
                self.count_refused(who, &who.partition);
                return Err(failure);
            }
        };
        let record_id = token.bound.then_some(envelope::RECORD_ID);
        let accept = |opened: v1::Opened| envelope::reveal(&opened, token.bound, &home, who);
        let opened = self.authority.vault.open_if(&who.caller, &home, &self.class, &token, record_id, accept).await;
        opened.map_err(|refused| abroad(refused, home != who.partition).into())
    }

    /// The token and its partition, if this call may try to open it.
    async fn checked(
        &self,
        who: &Who,
        call: Call,
        token: Option<v1::Token>,
    ) -> Result<(v1::Token, PartitionName), Failure> {
        let token = token.ok_or(Refused::NotAuthentic)?;
        if token.signed && !call.is_signed() {
            return Err(Failure::invalid("encrypted_data is signed: call decrypt-verify"));
        }
        if !token.signed && call.is_signed() {
            return Err(Failure::invalid("encrypted_data is not signed: call decrypt"));
        }
        let home = self.home(token.epoch).await?;
        if home != who.partition {
            // Only an envelope can name a partner of another partition.
            if !token.bound {
                return Err(Refused::NotAuthentic.into());
            }
            who.permit(self, &home, Permissions::DECRYPT).await.map_err(|refused| abroad(refused, true))?;
        }
        Ok((token, home))
    }

    /// The partition that an epoch belongs to.
    async fn home(&self, epoch: EpochId) -> Result<PartitionName, Refused> {
        match self.authority.keyring.opening_cached(epoch) {
            Cached::Hit(epoch) => Ok(epoch.partition.clone()),
            Cached::Unknown | Cached::Denied(_) => Err(Refused::NotAuthentic),
            Cached::Miss => {
                let keyring = std::sync::Arc::clone(&self.authority.keyring);
                blocking(move || match keyring.opening(epoch) {
                    Ok(epoch) => Ok(epoch.partition.clone()),
                    Err(KeyringError::Unknown(_) | KeyringError::Denied(..)) => Err(Refused::NotAuthentic),
                    Err(other) => Err(other.into()),
                })
                .await
            }
        }
    }

    fn count_refused(&self, who: &Who, partition: &PartitionName) {
        self.authority.vault.count(&who.caller, partition, &self.class, Use::Refused, 1);
    }
}

/// Nobody learns of another's partition more than that a value does not open.
fn abroad(refused: Refused, is_abroad: bool) -> Refused {
    match refused {
        Refused::Forbidden | Refused::State(_) | Refused::NotFound | Refused::Invalid(_) if is_abroad => {
            Refused::NotAuthentic
        }
        other => other,
    }
}

/// Such as `2025-10-19T17:28:27.659100+00:00`.
fn timestamp(micros: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00");
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000);
    at.ok().and_then(|at| at.format(&format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_six_digits() {
        assert_eq!(timestamp(1_760_894_907_659_100), "2025-10-19T17:28:27.659100+00:00");
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000+00:00");
    }
}
