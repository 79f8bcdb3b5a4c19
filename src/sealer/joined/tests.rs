use arc_swap::ArcSwapOption;

use super::*;
use crate::clock::SystemClock;
use crate::crypto::kem::KemSuite;
use crate::keyring::{KeySource, Kind, Options};
use crate::metrics::Metrics;
use crate::name::Class;
use crate::token::Suite;
use crate::token::v1;

/// A keyring, with a control plane that says of its default partition what the test sets.
struct House {
    joined: Joined,
    said: Arc<ArcSwapOption<Standing>>,
    _dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            store: dir.path().join("keyring.db").into(),
            master_keys: vec![KeySource::File(dir.path().join("master.key"))],
            i_know: true,
            ..Options::default()
        };
        let clock = SystemClock::shared();
        let keyring = Arc::new(Keyring::init(&options, KemSuite::MlKem768, Arc::clone(&clock)).unwrap());
        keyring.create_partition(&other()).unwrap();
        let profiles = Profiles::open(Vec::new(), Arc::clone(&clock), &Metrics::default()).unwrap();
        let mut joined = Joined::open(Local::new(Arc::clone(&keyring)), profiles, &keyring, None, &clock).unwrap();
        let said = Arc::new(ArcSwapOption::empty());
        let heard = Arc::clone(&said);
        let control = Control { heard: Box::new(move || heard.load_full()), asked: watch::channel(true).1 };
        joined.control.insert(PartitionName::default_name(), control);
        Self { joined, said, _dir: dir }
    }

    fn say(&self, state: State, bits: u32) {
        let roles = vec![("default".to_owned(), Permissions(bits))];
        self.said.store(Some(Arc::new(Standing { version: 1, state, roles })));
    }

    fn fetch(&self, need: Need) -> Result<(), KeyringError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.joined.fetch(need))
    }

    fn seal(&self, partition: &PartitionName) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        for _ in 0..3 {
            let job = SealJob {
                partition,
                class: &Class::new("card"),
                suite: Suite::Xaes,
                sign: false,
                pad: None,
                text: b"4111",
                is_string: true,
                record_id: None,
            };
            match self.joined.seal(&job, &mut Memo::default(), &mut out).map_err(|error| error.to_string())? {
                Ready::Now(()) => return Ok(out),
                Ready::After(need) => self.fetch(need).map_err(|error| error.to_string())?,
            }
        }
        Err("it is never there".into())
    }

    fn open(&self, token: &[u8]) -> Result<Vec<u8>, String> {
        let token = v1::parse(token).unwrap();
        for _ in 0..3 {
            let job = OpenJob { token: token.clone(), class: &Class::new("card"), signers: &[], record_id: None };
            match self.joined.open(job, &mut Memo::default()).map_err(|error| error.to_string())? {
                Ready::Now(opened) => return Ok(opened.text.expose().to_vec()),
                Ready::After(need) => self.fetch(need).map_err(|error| error.to_string())?,
            }
        }
        Err("it is never there".into())
    }
}

fn other() -> PartitionName {
    PartitionName::new("other").unwrap()
}

const ALL: u32 = u32::MAX;

#[test]
fn its_state_counts_beside_the_keyrings() {
    let house = House::new();
    let here = PartitionName::default_name();
    house.say(State::Active, ALL);
    let token = house.seal(&here).unwrap();
    assert_eq!(house.open(&token).unwrap(), b"4111");

    house.say(State::DecryptOnly, ALL);
    assert_eq!(house.open(&token).unwrap(), b"4111");
    assert!(house.seal(&here).unwrap_err().contains("decrypt-only"));
    assert!(matches!(
        house.joined.at_hand(&Need::Sealing(here.clone(), Kind::Random), &mut Memo::default()),
        Cached::Denied(State::DecryptOnly)
    ));

    house.say(State::Paused, ALL);
    assert!(house.seal(&here).unwrap_err().contains("paused"));
    assert!(house.open(&token).unwrap_err().contains("paused"));
    assert!(matches!(house.joined.permissions(&here, "default", &mut Memo::default()), Cached::Denied(State::Paused)));
    let id = v1::parse(&token).unwrap().epoch;
    assert!(matches!(house.joined.at_hand(&Need::Opening(id), &mut Memo::default()), Cached::Denied(State::Paused)));
    assert!(house.seal(&other()).is_ok(), "other partitions are none of its business");
}

#[test]
fn without_its_word_nothing_is_sealed_or_opened() {
    let house = House::new();
    let here = PartitionName::default_name();
    house.say(State::Active, ALL);
    let token = house.seal(&here).unwrap();
    house.said.store(None);
    assert!(house.seal(&here).unwrap_err().contains("control plane"));
    assert!(house.open(&token).unwrap_err().contains("control plane"));
    assert!(matches!(house.joined.permissions(&here, "default", &mut Memo::default()), Cached::Miss));
    assert!(matches!(
        house.joined.at_hand(&Need::Sealing(here.clone(), Kind::Random), &mut Memo::default()),
        Cached::Miss
    ));
    let failed = house.fetch(Need::Partition(here.clone(), None)).unwrap_err();
    assert!(matches!(failed, KeyringError::Unavailable(_)), "{failed}");
    house.say(State::Active, ALL);
    assert_eq!(house.open(&token).unwrap(), b"4111");
    assert!(house.seal(&here).is_ok());
}

#[test]
fn a_role_may_do_what_both_allow_and_is_held_to_what_either_asks() {
    let house = House::new();
    let here = PartitionName::default_name();
    house.say(State::Active, ALL);
    house.fetch(Need::Partition(here.clone(), None)).unwrap();
    let role = |role: &str| match house.joined.permissions(&here, role, &mut Memo::default()) {
        Cached::Hit(permissions) => permissions,
        other => panic!("{other:?}"),
    };
    house.say(State::Active, Permissions::DECRYPT | Permissions::MASK);
    let default = role("default");
    assert!(default.has(Permissions::DECRYPT) && !default.has(Permissions::ENCRYPT));
    assert!(default.has(Permissions::MASK), "there");
    assert!(default.has(Permissions::AUDIT_DECRYPT | Permissions::AUDIT_ENCRYPT), "here");
    house.say(State::Active, ALL);
    assert!(!role("default").has(1), "the keyring does not allow what it does not list");
    assert!(!role("nobody").has(Permissions::DECRYPT) && !role("nobody").has(Permissions::ENCRYPT));
    house.said.store(Some(Arc::new(Standing { version: 1, state: State::Active, roles: Vec::new() })));
    assert!(!role("default").has(Permissions::DECRYPT), "a role that is not listed there may do nothing");
}
