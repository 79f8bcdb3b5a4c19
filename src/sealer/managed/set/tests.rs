use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::fallback::End;
use super::super::guard::Guard;
use super::super::settings::{
    CallLimits, CrittoraAccess, CrittoraSettings, EndpointTls, Granularity, NcloudCredential, NcloudKmsSettings,
    OpenedCache,
};
use super::super::{Answering, Api, How, KemApi};
use super::line::Ends;
use super::*;
use crate::crypto::kdf::{pae, sha256};
use crate::keyring::{KeySource, ManagedError, ManagedKeys};
use crate::name::Class;
use crate::rules::profile::Profile;
use crate::secret::{Secret, SecretBytes};
use crate::transform::delegate::{Answer, DelegateError, Delegated, Work};

/// How an API behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Good,
    Reverses,
    ReversesOpened,
    Echoes,
    Repeats,
    Forgets,
    Invents,
    IsDown,
    SaysNo,
    Hangs,
}

/// An API whose ciphertexts are `ncpkms:v1:` with a number and the text turned around in hexadecimal.
struct Fake {
    manner: Mutex<Manner>,
    calls: AtomicUsize,
    values: Mutex<Vec<usize>>,
    now: AtomicUsize,
    most: AtomicUsize,
    hows: Mutex<Vec<How>>,
}

impl Fake {
    fn new(manner: Manner) -> Arc<Self> {
        Arc::new(Self {
            manner: Mutex::new(manner),
            calls: AtomicUsize::new(0),
            values: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            hows: Mutex::default(),
        })
    }

    fn turn(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn begin(&self, values: usize, how: How) -> Result<Manner, ApiError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.values.lock().unwrap().push(values);
        self.hows.lock().unwrap().push(how);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        let manner = *self.manner.lock().unwrap_or_else(PoisonError::into_inner);
        match manner {
            Manner::IsDown => Err(ApiError::new(Fault::Server, "status 500")),
            Manner::SaysNo => Err(ApiError::new(Fault::Refused, "the key is disabled")),
            Manner::Hangs => std::future::pending().await,
            manner => Ok(manner),
        }
    }
}

fn sealed_form(text: &[u8], number: usize) -> Vec<u8> {
    let turned: Vec<u8> = text.iter().rev().copied().collect();
    format!("ncpkms:v1:{number}:{}", hex::encode(turned)).into_bytes()
}

fn opened_form(ciphertext: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(ciphertext).ok()?;
    let (_, turned) = text.strip_prefix("ncpkms:v1:")?.split_once(':')?;
    Some(hex::decode(turned).ok()?.into_iter().rev().collect())
}

fn lied<T: Clone>(manner: Manner, mut all: Vec<T>) -> Vec<T> {
    match manner {
        Manner::Reverses | Manner::ReversesOpened => all.reverse(),
        Manner::Forgets => drop(all.pop()),
        Manner::Invents => all.extend(all.first().cloned()),
        Manner::Repeats => {
            let first = all.first().cloned();
            all.fill(first.unwrap());
        }
        _ => {}
    }
    all
}

impl Api for Fake {
    fn encrypt<'a>(&'a self, texts: &'a [SecretBytes], how: How) -> Answering<'a, Vec<Vec<u8>>> {
        Box::pin(async move {
            let manner = self.begin(texts.len(), how).await?;
            if manner == Manner::Echoes {
                return Ok(texts.iter().map(|text| [b"ncpkms:v1:", text.expose()].concat()).collect());
            }
            let base = self.calls() * 1_000;
            let seal = |(n, text): (usize, &SecretBytes)| sealed_form(text.expose(), base + n);
            let manner = if manner == Manner::ReversesOpened { Manner::Good } else { manner };
            Ok(lied(manner, texts.iter().enumerate().map(seal).collect()))
        })
    }

    fn decrypt<'a>(&'a self, ciphertexts: &'a [Vec<u8>], how: How) -> Answering<'a, Vec<SecretBytes>> {
        Box::pin(async move {
            let manner = self.begin(ciphertexts.len(), how).await?;
            let no = || ApiError::new(Fault::Refused, "one of them is none of ours");
            let open = |ciphertext: &Vec<u8>| Ok(SecretBytes::new(opened_form(ciphertext).ok_or_else(no)?));
            let opened: Result<Vec<SecretBytes>, ApiError> = ciphertexts.iter().map(open).collect();
            // What reverses when sealing opens rightly: the damage is done.
            let manner = if manner == Manner::Reverses { Manner::Good } else { manner };
            Ok(lied(manner, opened?))
        })
    }
}

impl KemApi for Fake {
    fn encapsulate(&self) -> Answering<'_, (Vec<u8>, Secret<32>)> {
        Box::pin(async move {
            self.begin(1, How::default()).await?;
            Ok((vec![7; 1088], Secret::from_slice(&[7; 32]).unwrap()))
        })
    }

    fn decapsulate<'a>(&'a self, kem_ct: &'a [u8]) -> Answering<'a, Secret<32>> {
        Box::pin(async move {
            self.begin(1, How::default()).await?;
            Ok(Secret::from_slice(&kem_ct[..32]).unwrap())
        })
    }
}

fn source() -> KeySource {
    KeySource::Env("NOWHERE".into())
}

fn settings(name: &str, provider: Provider, granularity: Granularity) -> ProfileSettings {
    ProfileSettings {
        name: name.into(),
        partition: PartitionName::new(name).unwrap(),
        provider,
        granularity,
        bare: false,
        prove: false,
        endpoint: "https://kms.example".into(),
        fallback_endpoints: Vec::new(),
        tls: EndpointTls::default(),
        calls: CallLimits { retries: 0, breaker_failures: 1_000, concurrency: 8, ..CallLimits::default() },
        max_stale: Duration::from_hours(24),
        opened_cache: None,
    }
}

fn naver(name: &str, granularity: Granularity) -> ProfileSettings {
    let kms = NcloudKmsSettings {
        key_tag: "tag".into(),
        credential: NcloudCredential::Token { token: source(), refresh: false },
        convergent: false,
    };
    settings(name, Provider::NcloudKms(kms), granularity)
}

fn crittora(name: &str) -> ProfileSettings {
    let crittora = CrittoraSettings {
        access: CrittoraAccess::Managed,
        username: source(),
        password: source(),
        api_key: source(),
        access_key: None,
        secret_key: None,
    };
    settings(name, Provider::Crittora(crittora), Granularity::Field)
}

fn line(settings: ProfileSettings, fakes: &[&Arc<Fake>]) -> Line {
    let metrics = Metrics::default();
    let limits = build::limits(&settings);
    let guard = || Guard::new(&settings.name, &limits, metrics.managed(&settings.name).calls);
    let ends = fakes.iter().map(|fake| End { client: Arc::clone(fake) as Arc<dyn Api>, guard: guard() }).collect();
    let seen = metrics.managed(&settings.name);
    Line::new(settings, Ends::Values(ends), seen).unwrap()
}

fn of(lines: Vec<Line>) -> Arc<Profiles> {
    Profiles::of(lines, runtime().unwrap()).unwrap()
}

fn one(settings: ProfileSettings, fake: &Arc<Fake>) -> Arc<Profiles> {
    of(vec![line(settings, &[fake])])
}

fn job(profiles: &Profiles, profile: &str, work: Work) -> Delegated {
    let facts = profiles.lines.get(profile).map(|line| Arc::new(line.facts.clone()));
    let facts = facts.unwrap_or_else(|| {
        Arc::new(Profile {
            name: profile.into(),
            partition: PartitionName::default_name(),
            local: false,
            per_value: None,
        })
    });
    Delegated { profile: facts, class: Class::new("card"), signed: false, work }
}

fn seal(profiles: &Profiles, profile: &str, text: &str) -> Delegated {
    job(profiles, profile, Work::Seal(SecretBytes::new(text.as_bytes().to_vec())))
}

fn open(profiles: &Profiles, profile: &str, ciphertext: &[u8]) -> Delegated {
    job(profiles, profile, Work::Open(ciphertext.to_vec()))
}

type Given = Vec<Result<Answer, DelegateError>>;

fn delegate(profiles: &Profiles, jobs: Vec<Delegated>) -> Given {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(profiles.delegate(jobs))
}

fn sealed(given: Given) -> Vec<Vec<u8>> {
    let take = |given| match given {
        Ok(Answer::Sealed(ciphertext)) => ciphertext,
        other => panic!("{other:?}"),
    };
    given.into_iter().map(take).collect()
}

fn opened(given: &Given) -> Vec<Result<String, &'static str>> {
    let take = |given: &Result<Answer, DelegateError>| match given {
        Ok(Answer::Opened(text)) => Ok(String::from_utf8(text.expose().to_vec()).unwrap()),
        Ok(Answer::Sealed(_)) => panic!("it was to be opened"),
        Err(DelegateError::Refused(_)) => Err("refused"),
        Err(DelegateError::Unavailable(_)) => Err("unavailable"),
    };
    given.iter().map(take).collect()
}

fn numbered(n: usize) -> String {
    format!("the value number {n}")
}

#[test]
fn two_hundred_values_are_one_call_together_and_two_hundred_one_by_one() {
    let (naver_api, crittora_api) = (Fake::new(Manner::Good), Fake::new(Manner::Good));
    let profiles =
        of(vec![line(naver("kms", Granularity::Message), &[&naver_api]), line(crittora("partner"), &[&crittora_api])]);
    let both = |n: usize| if n.is_multiple_of(2) { "kms" } else { "partner" };
    let ciphertexts = sealed(delegate(&profiles, (0..400).map(|n| seal(&profiles, both(n), &numbered(n))).collect()));
    assert_eq!((naver_api.calls(), crittora_api.calls()), (1, 200));
    assert!(crittora_api.most.load(Ordering::SeqCst) <= 8, "bounded");
    let jobs = ciphertexts.iter().enumerate().map(|(n, ciphertext)| open(&profiles, both(n), ciphertext)).collect();
    let texts = opened(&delegate(&profiles, jobs));
    assert_eq!(texts, (0..400).map(|n| Ok(numbered(n))).collect::<Vec<_>>(), "in the order of the body");
    assert_eq!((naver_api.calls(), crittora_api.calls()), (2, 400));
}

#[test]
fn what_differs_in_class_signature_or_direction_is_no_one_call() {
    let api = Fake::new(Manner::Good);
    let mut settings = naver("kms", Granularity::Message);
    let Provider::NcloudKms(kms) = &mut settings.provider else { panic!("it is one") };
    kms.convergent = true;
    let profiles = one(settings, &api);
    let mut jobs: Vec<_> = (0..6).map(|n| seal(&profiles, "kms", &numbered(n))).collect();
    jobs[1].class = Class::new("pan");
    jobs[2].signed = true;
    jobs[3] = open(&profiles, "kms", &sealed_form(b"opened", 1));
    let given = delegate(&profiles, jobs);
    assert_eq!(opened(&given[3..4].to_vec()), [Ok("opened".to_owned())]);
    assert!(given.iter().all(Result::is_ok));
    assert_eq!(api.calls(), 4);
    let context = |class: &[u8]| Some(sha256(&pae(&[b"sidecloak/1 context", b"kms", class])));
    let hows = api.hows.lock().unwrap();
    assert!(hows.contains(&How { signed: false, context: context(b"pan") }));
    assert!(hows.contains(&How { signed: true, context: context(b"card") }));
}

#[test]
fn a_call_has_no_more_than_its_answer_has_room_for() {
    let api = Fake::new(Manner::Good);
    let mut settings = naver("kms", Granularity::Message);
    settings.calls.answer = 1_000;
    let profiles = one(settings, &api);
    let mut texts: Vec<String> = (0..40).map(|n| format!("{n:0>100}")).collect();
    texts.push("x".repeat(5_000));
    let jobs = texts.iter().map(|text| seal(&profiles, "kms", text)).collect();
    assert_eq!(sealed(delegate(&profiles, jobs)).len(), 41);
    let values = api.values.lock().unwrap().clone();
    assert!(values.iter().all(|values| (1..=4).contains(values)), "{values:?}");
    assert_eq!(values.iter().sum::<usize>(), 41);
}

#[test]
fn answers_that_cannot_be_right_are_none() {
    for manner in [Manner::Echoes, Manner::Repeats, Manner::Forgets, Manner::Invents] {
        let api = Fake::new(manner);
        let profiles = one(naver("kms", Granularity::Message), &api);
        let given = delegate(&profiles, (0..5).map(|n| seal(&profiles, "kms", &numbered(n))).collect());
        assert_eq!(opened(&given), vec![Err("unavailable"); 5], "{manner:?}");
        assert!(given.iter().all(|given| !format!("{given:?}").contains("number 3")));
    }
    for manner in [Manner::Forgets, Manner::Invents] {
        let api = Fake::new(manner);
        let profiles = one(naver("kms", Granularity::Message), &api);
        let jobs = (0..5).map(|n| open(&profiles, "kms", &sealed_form(b"text", n))).collect();
        assert_eq!(opened(&delegate(&profiles, jobs)), vec![Err("unavailable"); 5], "{manner:?}");
    }
}

#[test]
fn a_proof_finds_what_was_put_in_another_order() {
    let api = Fake::new(Manner::Reverses);
    let jobs = |profiles: &Profiles| (0..4).map(|n| seal(profiles, "kms", &numbered(n))).collect();
    let trusting = one(naver("kms", Granularity::Message), &api);
    assert!(delegate(&trusting, jobs(&trusting)).iter().all(Result::is_ok), "nothing tells");
    let proving = one(ProfileSettings { prove: true, ..naver("kms", Granularity::Message) }, &api);
    assert_eq!(opened(&delegate(&proving, jobs(&proving))), vec![Err("unavailable"); 4]);
    api.turn(Manner::Good);
    let before = api.calls();
    assert_eq!(sealed(delegate(&proving, jobs(&proving))).len(), 4);
    assert_eq!(api.calls(), before + 2, "one more call for all of a body");
}

#[test]
fn what_is_opened_in_another_order_is_noticed_whether_or_not_it_is_proven() {
    let api = Fake::new(Manner::ReversesOpened);
    let profiles = one(naver("kms", Granularity::Message), &api);
    let jobs =
        |count: usize| (0..count).map(|n| open(&profiles, "kms", &sealed_form(numbered(n).as_bytes(), n))).collect();
    let given = opened(&delegate(&profiles, jobs(200)));
    assert_eq!(given, vec![Err("unavailable"); 200]);
    assert_eq!(opened(&delegate(&profiles, jobs(1))), [Ok(numbered(0))]);
    assert_eq!(*api.values.lock().unwrap(), [401, 1], "each goes out twice, the first once more");
    api.turn(Manner::Good);
    assert_eq!(opened(&delegate(&profiles, jobs(3))), [0, 1, 2].map(|n| Ok(numbered(n))));
    let before = api.calls();
    delegate(&profiles, jobs(600));
    delegate(&profiles, (0..600).map(|n| seal(&profiles, "kms", &numbered(n))).collect());
    assert_eq!(api.calls() - before, 3 + 3);
    let values = api.values.lock().unwrap().clone();
    assert!(values.iter().all(|values| *values <= 511), "{values:?}");
}

#[test]
fn one_bad_ciphertext_fails_alone() {
    let api = Fake::new(Manner::Good);
    let profiles = one(naver("kms", Granularity::Message), &api);
    for bad in [0, 57, 199] {
        let before = api.calls();
        let ciphertext = |n: usize| if n == bad { b"garbage".to_vec() } else { sealed_form(numbered(n).as_bytes(), n) };
        let texts = opened(&delegate(&profiles, (0..200).map(|n| open(&profiles, "kms", &ciphertext(n))).collect()));
        for (n, text) in texts.into_iter().enumerate() {
            assert_eq!(text, if n == bad { Err("refused") } else { Ok(numbered(n)) });
        }
        assert!(api.calls() - before <= 21, "{}", api.calls() - before);
    }
    api.turn(Manner::SaysNo);
    let before = api.calls();
    let jobs = (0..200).map(|n| open(&profiles, "kms", &sealed_form(b"text", n))).collect();
    assert_eq!(opened(&delegate(&profiles, jobs)), vec![Err("refused"); 200]);
    assert!(api.calls() - before <= 21, "a key that is disabled is not asked for each value");
}

#[test]
fn an_outage_ends_the_body_and_not_the_api() {
    let api = Fake::new(Manner::IsDown);
    let profiles = one(crittora("partner"), &api);
    let given = delegate(&profiles, (0..500).map(|n| seal(&profiles, "partner", &numbered(n))).collect());
    assert_eq!(opened(&given), vec![Err("unavailable"); 500]);
    assert!(api.calls() <= 16, "what cannot help any more is left out: {}", api.calls());
}

#[test]
fn an_api_that_hangs_is_waited_for_within_the_budget() {
    let api = Fake::new(Manner::Hangs);
    let mut settings = naver("kms", Granularity::Field);
    settings.calls.budget = Duration::from_millis(50);
    settings.calls.concurrency = 2;
    let profiles = one(settings, &api);
    let given = delegate(&profiles, (0..50).map(|n| seal(&profiles, "kms", &numbered(n))).collect());
    assert_eq!(opened(&given), vec![Err("unavailable"); 50]);
    let error = profiles.protect("kms", &SecretBytes::new(b"sc1k:key".to_vec())).unwrap_err();
    assert!(matches!(error, ManagedError::Unavailable(_)), "{error}");
}

#[test]
fn opened_values_are_kept_for_a_moment_if_that_is_asked_for() {
    let api = Fake::new(Manner::Good);
    let cache = OpenedCache { ttl: Duration::from_mins(1), entries: 100 };
    let profiles = one(ProfileSettings { opened_cache: Some(cache), ..naver("kms", Granularity::Message) }, &api);
    let look = || {
        let jobs = (0..10).map(|n| open(&profiles, "kms", &sealed_form(numbered(n).as_bytes(), n))).collect();
        assert_eq!(opened(&delegate(&profiles, jobs)), (0..10).map(|n| Ok(numbered(n))).collect::<Vec<_>>());
        api.calls()
    };
    assert_eq!((look(), look()), (1, 1));
    let mut signed = open(&profiles, "kms", &sealed_form(numbered(1).as_bytes(), 1));
    signed.signed = true;
    delegate(&profiles, vec![signed]);
    assert_eq!(api.calls(), 2, "what was not verified is not taken for verified");
    let kms = PartitionName::new("kms").unwrap();
    profiles.state_is(&kms, State::DecryptOnly);
    assert_eq!(look(), 2);
    profiles.state_is(&kms, State::Paused);
    assert_eq!(look(), 3, "forgotten");

    let without = one(naver("kms", Granularity::Message), &api);
    for _ in 0..2 {
        delegate(&without, vec![open(&without, "kms", &sealed_form(b"text", 1))]);
    }
    assert_eq!(api.calls(), 5, "by default nothing is kept");
}

#[test]
fn fallback_endpoints_open_and_never_seal() {
    let (primary, fallback) = (Fake::new(Manner::IsDown), Fake::new(Manner::Good));
    let mut settings = naver("kms", Granularity::Message);
    settings.fallback_endpoints = vec!["https://other.example".into()];
    assert_eq!(build::limits(&settings).budget, settings.calls.budget / 2);
    let profiles = of(vec![line(settings, &[&primary, &fallback])]);
    let look = || opened(&delegate(&profiles, vec![open(&profiles, "kms", &sealed_form(b"text", 1))]));
    assert_eq!(look(), [Ok("text".to_owned())]);
    assert_eq!(opened(&delegate(&profiles, vec![seal(&profiles, "kms", "text")])), [Err("unavailable")]);
    assert_eq!((primary.calls(), fallback.calls()), (2, 1));
    primary.turn(Manner::SaysNo);
    assert_eq!(look(), [Err("refused")]);
    assert_eq!(fallback.calls(), 1, "no is no");
    primary.turn(Manner::IsDown);
    fallback.turn(Manner::SaysNo);
    assert_eq!(look(), [Err("unavailable")], "a fallback does not say what is good data");
}

#[test]
fn data_keys_go_through_the_same_calls() {
    let api = Fake::new(Manner::Good);
    let mut settings = naver("kms", Granularity::Envelope);
    let Provider::NcloudKms(kms) = &mut settings.provider else { panic!("it is one") };
    kms.convergent = true;
    let profiles = one(settings, &api);
    let profile = profiles.profile_of(MANAGED, b"kms").unwrap();
    assert!(profiles.profile_of(MANAGED, b"others").is_none() && profiles.profile_of(1, b"kms").is_none());
    let key = SecretBytes::new(b"sc1k:a-data-key-in-base64url".to_vec());
    let ciphertext = profiles.protect(&profile, &key).unwrap();
    assert_eq!(profiles.unprotect(&profile, &ciphertext).unwrap().expose(), key.expose());
    let context = Some(sha256(&pae(&[b"sidecloak/1 context", b"kms", b""])));
    assert_eq!(*api.hows.lock().unwrap(), [How { signed: false, context }; 2]);
    api.turn(Manner::SaysNo);
    let refused = profiles.unprotect(&profile, &ciphertext).unwrap_err();
    assert_eq!(refused, ManagedError::Refused("the key is disabled".into()));
    for manner in [Manner::IsDown, Manner::Invents, Manner::Echoes] {
        api.turn(manner);
        assert!(matches!(profiles.protect(&profile, &key), Err(ManagedError::Unavailable(_))), "{manner:?}");
    }
    assert!(matches!(profiles.unprotect("others", &ciphertext), Err(ManagedError::Unavailable(_))));
    assert!(matches!(profiles.decapsulate("kms", b"ct"), Err(ManagedError::Refused(_))));
    assert_eq!(profiles.max_stale("kms"), Duration::from_hours(24));
    assert_eq!(profiles.max_stale("others"), Duration::ZERO);
}

#[test]
fn a_shared_secret_is_asked_for_once_and_not_for_as_long_as_an_epoch_lives() {
    let api = Fake::new(Manner::Good);
    let metrics = Metrics::default();
    let settings = naver("remote", Granularity::Envelope);
    let guard = Guard::new("remote", &settings.calls, metrics.managed("remote").calls);
    let ends = Ends::Kem(vec![End { client: Arc::clone(&api) as Arc<dyn KemApi>, guard }]);
    let profiles = of(vec![Line::new(settings, ends, metrics.managed("remote")).unwrap()]);
    let (kem_ct, secret) = profiles.encapsulate("remote").unwrap();
    for _ in 0..3 {
        assert_eq!(profiles.decapsulate("remote", &kem_ct).unwrap().expose(), secret.expose());
    }
    assert_eq!(api.calls(), 2);
    profiles.decapsulate("remote", &[8; 1088]).unwrap();
    assert_eq!(api.calls(), 3);
    assert_eq!(profiles.max_stale("remote"), Duration::from_hours(23));
    profiles.was_wrong("remote", &[8; 1088]);
    profiles.decapsulate("remote", &[8; 1088]).unwrap();
    assert_eq!(api.calls(), 4, "what opens nothing is not kept");
    profiles.state_is(&PartitionName::new("remote").unwrap(), State::Destroyed);
    profiles.decapsulate("remote", &kem_ct).unwrap();
    assert_eq!(api.calls(), 5);
    let text = metrics.render();
    assert!(text.contains(r#"managed_cache_hits_total{profile="remote",cache="shared-secrets"} 2"#), "{text}");
    assert!(text.contains(r#"managed_cache_misses_total{profile="remote",cache="shared-secrets"} 4"#), "{text}");
}

#[test]
fn what_the_process_must_find_in_the_keyring_is_told() {
    let api = Fake::new(Manner::Good);
    let mut settings = naver("kms", Granularity::Field);
    assert_eq!(recipient(&settings).unwrap(), Some((MANAGED, b"kms".to_vec())));
    settings.partition = PartitionName::new("payments").unwrap();
    assert_eq!(recipient(&settings).unwrap(), Some((MANAGED, b"kms".to_vec())));
    let profiles = one(settings, &api);
    assert!(profiles.proves("kms"), "a data key is worth a call, whatever `prove` says of values");
}

#[test]
fn the_rules_are_told_what_each_api_can_do() {
    let message = naver("kms", Granularity::Message).facts();
    let api = message.delegated().unwrap();
    assert!(api.batch > 1 && !api.signs && !api.convergent && !api.plain_text && api.prefix == "ncpkms:v");
    let field = naver("kms", Granularity::Field).facts();
    assert_eq!(field.delegated().unwrap().batch, 1);
    let envelope = naver("kms", Granularity::Envelope).facts();
    assert!(envelope.delegated().is_none() && envelope.per_value.is_some(), "what was sealed per value still opens");
    let crittora = ProfileSettings { bare: true, ..crittora("partner") }.facts();
    let api = crittora.delegated().unwrap();
    assert!(api.batch == 1 && api.signs && api.bare && api.plain_text);
}

#[test]
fn a_profile_that_is_not_there_seals_nothing() {
    let api = Fake::new(Manner::Good);
    let profiles = one(naver("kms", Granularity::Message), &api);
    let given = delegate(&profiles, vec![seal(&profiles, "others", "text"), seal(&profiles, "kms", "text")]);
    assert!(matches!((&given[0], &given[1]), (Err(DelegateError::Unavailable(_)), Ok(Answer::Sealed(_)))));
}

#[test]
fn the_end_waits_for_no_api() {
    let api = Fake::new(Manner::Hangs);
    let profiles = one(naver("kms", Granularity::Message), &api);
    let waits = {
        let profiles = Arc::clone(&profiles);
        std::thread::spawn(move || profiles.protect("kms", &SecretBytes::new(b"sc1k:key".to_vec())))
    };
    while api.calls() == 0 {
        std::thread::yield_now();
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let jobs = vec![seal(&profiles, "kms", "text")];
        let gone = tokio::time::timeout(Duration::from_millis(20), profiles.delegate(jobs)).await;
        assert!(gone.is_err());
        let other = one(naver("kms", Granularity::Message), &api);
        drop(other);
    });
    drop(profiles);
    assert!(waits.join().unwrap().is_err());
}
