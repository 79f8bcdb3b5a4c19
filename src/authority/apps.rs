//! Applications: a name that partitions `APP.…` share, and one switch for them all.
//!
//! The switch is thrown in signed records, so that it reaches processes that never ask an authority: every partition `APP.…` is
//! paused, and so is the partition `APP` itself (made for it), without which nobody makes further ones.

use serde::{Deserialize, Serialize};

use super::credentials::{check_app, check_text};
use super::lifecycle::Lifecycle;
use super::{Authority, Refused};
use crate::directory::{Directory, Ends};
use crate::keyring::store::Put;
use crate::keyring::{Change, Keyring, State};
use crate::name::PartitionName;

const KIND: &str = "app";
/// The state that a partition had before its application was paused, under the partition's name.
const BEFORE: &str = "app.before";
const PAGE: usize = 200;
const LABEL: usize = 200;

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The first part of its partitions' names.
    pub id: String,
    /// What people call it.
    pub label: String,
    /// Whether it is paused.
    pub paused: bool,
    /// When it was made (Unix seconds).
    pub created: u64,
}

impl Authority {
    /// Makes an application. May block.
    pub fn create_app(&self, id: &str, label: &str) -> Result<App, Refused> {
        check_app(id)?;
        check_text("a label", label, LABEL)?;
        let app = App { id: id.into(), label: label.into(), paused: false, created: self.clock.now() };
        match self.directory.put(KIND, id, 0, &app, Ends::never())? {
            Put::Done => Ok(app),
            Put::Conflict => Err(Refused::Conflict("there is such an application already".into())),
        }
    }

    /// The application with this name. May block.
    pub fn app(&self, id: &str) -> Result<Option<App>, Refused> {
        Ok(self.directory.get::<App>(KIND, id)?.map(|entry| entry.value))
    }

    /// Up to `limit` applications after `after`, in the order of their names. May block.
    pub fn apps(&self, after: &str, limit: usize) -> Result<Vec<App>, Refused> {
        Ok(self.directory.list::<App>(KIND, after, limit)?.into_iter().map(|entry| entry.value).collect())
    }

    /// Makes a partition; one of a paused application is refused. May block.
    pub fn create_partition(&self, name: &PartitionName) -> Result<(), Refused> {
        let app = name.as_str().split_once('.').map(|(app, _)| app);
        if let Some(app) = app
            && self.app(app)?.is_some_and(|app| app.paused)
        {
            return Err(Refused::State(State::Paused));
        }
        if !self.keyring.make_partition(name, State::Active)? {
            return Err(Refused::Conflict("there is such a partition already".into()));
        }
        // Whoever paused the application meanwhile may have gone past this name already.
        if let Some(app) = app
            && self.app(app)?.is_some_and(|app| app.paused)
        {
            pause(&self.keyring, &self.directory, name)?;
        }
        Ok(())
    }

    /// Sets the state of one partition. What an application paused, only the application resumes. May block.
    pub fn set_partition_state(
        &self,
        name: &PartitionName,
        state: State,
        expected: Option<u64>,
    ) -> Result<u64, Refused> {
        let app = name.as_str().split_once('.').map_or(name.as_str(), |(app, _)| app);
        if state != State::Paused && self.app(app)?.is_some_and(|app| app.paused) {
            return Err(Refused::Conflict("its application is paused; resume that".into()));
        }
        if state != State::Paused && self.is_dying(name)? {
            return Err(Refused::Conflict("it is to be destroyed; call that off first".into()));
        }
        let version = super::changed(self.keyring.change_partition(name, expected, Change::State(state))?)?;
        // It was meant for this partition, and stays when the application is resumed.
        self.directory.delete(BEFORE, name.as_str())?;
        Ok(version)
    }

    /// Pauses or resumes an application with all its partitions; `None`: there is no such application. What broke off is done to
    /// the end by asking again. May block.
    pub fn set_app_paused(&self, id: &str, paused: bool) -> Result<Option<App>, Refused> {
        let head = PartitionName::new(id).map_err(|_| Refused::NotFound)?;
        if paused {
            let Some(app) = self.mark(id, true)? else { return Ok(None) };
            if !self.keyring.make_partition(&head, State::Paused)? {
                pause(&self.keyring, &self.directory, &head)?;
            }
            self.each_partition(id, |name| pause(&self.keyring, &self.directory, name))?;
            return Ok(Some(app));
        }
        if self.app(id)?.is_none() {
            return Ok(None);
        }
        self.each_partition(id, |name| {
            // One that is to be destroyed stays paused.
            if self.is_dying(name)? { Ok(()) } else { resume(&self.keyring, &self.directory, name) }
        })?;
        if self.keyring.partition_info(&head).is_ok_and(|info| info.state == State::Paused) {
            self.directory.delete(BEFORE, id)?;
            self.keyring.change_partition(&head, None, Change::State(State::Active))?;
        }
        // Last: until it is done, the application counts as paused.
        self.mark(id, false)
    }

    fn is_dying(&self, name: &PartitionName) -> Result<bool, Refused> {
        Ok(Lifecycle::of(self)?.destruction_of(name)?.is_some())
    }

    fn mark(&self, id: &str, paused: bool) -> Result<Option<App>, Refused> {
        self.directory.edit::<App, Refused>(KIND, id, |app| {
            app.paused = paused;
            Ok(())
        })
    }

    fn each_partition(
        &self,
        app: &str,
        mut act: impl FnMut(&PartitionName) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let (prefix, mut after) = (format!("{app}."), String::new());
        loop {
            let (page, next) = self.keyring.partition_page(&prefix, &after, PAGE, |_| true)?;
            page.iter().try_for_each(|info| act(&info.name))?;
            match next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }
}

/// Pauses a partition and remembers how it was.
fn pause(keyring: &Keyring, directory: &Directory, name: &PartitionName) -> Result<(), Refused> {
    let state = keyring.partition_info(name)?.state;
    if !matches!(state, State::Active | State::DecryptOnly) {
        return Ok(());
    }
    let old = directory.get::<bool>(BEFORE, name.as_str())?.map_or(0, |entry| entry.version);
    // Before the change: if this breaks off, resuming finds a partition that is not paused, and leaves it.
    directory.put(BEFORE, name.as_str(), old, &(state == State::DecryptOnly), Ends::never())?;
    keyring.change_partition(name, None, Change::State(State::Paused))?;
    Ok(())
}

/// Gives a partition back the state that it was paused in; one that was paused for itself stays so.
fn resume(keyring: &Keyring, directory: &Directory, name: &PartitionName) -> Result<(), Refused> {
    let Some(before) = directory.get::<bool>(BEFORE, name.as_str())? else { return Ok(()) };
    if keyring.partition_info(name)?.state == State::Paused {
        let state = if before.value { State::DecryptOnly } else { State::Active };
        keyring.change_partition(name, None, Change::State(state))?;
    }
    directory.delete(BEFORE, name.as_str())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Settings;
    use crate::authority::lifecycle::{DEFAULT_WAIT, Wait};
    use crate::clock::ManualClock;
    use crate::crypto::kem::KemSuite;
    use crate::keyring::{KeySource, Options};
    use std::sync::Arc;

    fn name(text: &str) -> PartitionName {
        PartitionName::new(text).unwrap()
    }

    #[test]
    fn an_app_is_paused_as_one_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(1_700_000_000);
        let options = Options {
            store: dir.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(dir.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let keyring = Arc::new(Keyring::init(&options, KemSuite::MlKem768, clock.clone()).unwrap());
        for partition in ["shop.a", "shop.b", "shop.c", "shop.d", "shopper.a", "shop-x"] {
            keyring.create_partition(&name(partition)).unwrap();
        }
        let authority = Authority::new(keyring, clock, &Settings::default()).unwrap();
        assert_eq!(authority.set_app_paused("shop", true).unwrap(), None, "nobody made it");
        authority.create_app("shop", "Shop").unwrap();
        authority.set_partition_state(&name("shop.b"), State::DecryptOnly, None).unwrap();
        authority.set_partition_state(&name("shop.d"), State::Paused, None).unwrap();
        Lifecycle::of(&authority).unwrap().destroy_partition("me", &name("shop.c"), Wait::For(DEFAULT_WAIT)).unwrap();
        let states = |names: [&str; 4]| names.map(|n| authority.keyring.partition_info(&name(n)).unwrap().state);
        for _ in 0..2 {
            // Twice: what broke off is done to the end by asking again.
            assert!(authority.set_app_paused("shop", true).unwrap().unwrap().paused);
            assert_eq!(states(["shop.a", "shop.b", "shop.c", "shop.d"]), [State::Paused; 4]);
        }
        assert_eq!(states(["shop", "shopper.a", "shop-x", "default"])[1..], [State::Active; 3]);
        assert!(authority.create_partition(&name("shop.e")).is_err());
        assert!(authority.set_partition_state(&name("shop.a"), State::Active, None).is_err());
        assert!(!authority.set_app_paused("shop", false).unwrap().unwrap().paused);
        let after = [State::Active, State::DecryptOnly, State::Paused, State::Paused];
        assert_eq!(states(["shop.a", "shop.b", "shop.c", "shop.d"]), after, "as they were before");
    }
}
