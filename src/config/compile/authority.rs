//! A keyring at an authority.

use std::ops::Range;
use std::path::PathBuf;

use super::super::{Overrides, file};
use super::{Checks, value};
use crate::keyring::KeySource;
use crate::keyring::store::{Credential, Remote, StorePlace, check_url};

impl Checks<'_> {
    /// What is shown to an authority, if one is named.
    pub(super) fn remote(&mut self, file: &mut file::Keyring, flags: &Overrides) -> Remote {
        let token = file.token.take().and_then(|token| match token.value.0 {
            KeySource::File(path) => Some(Credential::Token(path)),
            KeySource::Env(_) => {
                let message = "`keyring.token` is read for each call, since somebody renews it";
                self.error("token", message.to_owned(), &token.span, "write `file:PATH`");
                None
            }
        });
        let api_key = match &flags.api_key_file {
            Some(path) => Some(KeySource::File(path.clone())),
            None => file.api_key.take().map(|key| key.value.0),
        };
        let identity = file.identity.take().and_then(|at| match (at.value.cert, at.value.key) {
            (Some(cert), Some(key)) => Some((PathBuf::from(cert.value), PathBuf::from(key.value))),
            _ => {
                let message = "`keyring.identity` is a certificate and its key";
                self.error("identity", message.to_owned(), &at.span, "give both `cert` and `key`");
                None
            }
        });
        Remote {
            url: String::new(),
            credential: api_key.map(Credential::ApiKey).or(token),
            ca: flags.ca.clone().or_else(|| file.ca.take().map(|ca| PathBuf::from(ca.value))),
            identity,
            insecure: value(file.insecure.take()).unwrap_or(false),
        }
    }

    /// The place with what is shown there, if it is an authority.
    pub(super) fn at_authority(
        &mut self,
        place: StorePlace,
        mut remote: Remote,
        pinned: bool,
        at: Option<&Range<usize>>,
        flags: &Overrides,
        file: &file::Keyring,
    ) -> StorePlace {
        let StorePlace::Authority(named) = place else { return place };
        if let Err(bad) = check_url(&named.url, remote.insecure) {
            self.somewhere("bad-store", &bad.message, at, &bad.help);
        }
        if !pinned {
            let message = "a process whose keyring is at an authority must pin the owner: the authority is not trusted";
            self.somewhere("no-owner", message, at, "add `keyring.owner` or --owner; `sidecloak keys list` shows it");
        }
        // One that was refused for what it is has been told of already.
        let written = file.master_key.as_ref().filter(|keys| !keys.value.refused).map(|keys| &keys.span);
        if flags.master_key_file.is_some() || written.is_some() {
            let message = "a keyring at an authority is used without the master key";
            self.somewhere("master-key", message, written, "take the master key away, or name the store itself");
        }
        remote.url.clone_from(&named.url);
        StorePlace::Authority(Box::new(remote))
    }

    fn somewhere(&mut self, code: &'static str, message: &str, at: Option<&Range<usize>>, help: &str) {
        match at {
            Some(span) => self.error(code, message.to_owned(), span, help),
            None => self.flag(code, message, help),
        }
    }
}
