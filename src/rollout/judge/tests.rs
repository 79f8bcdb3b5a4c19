use std::collections::BTreeMap;

use rstest::rstest;

use super::super::Way;
use super::super::snapshot::{FieldCounts, Process, VERSION};
use super::*;
use crate::metrics::sketch::Sketch;
use crate::rules::Verb;

use Mode::{Enforce, Migrate, Observe, Read};

const NOW: u64 = 1_000_000;

fn question(toward: Toward) -> Question {
    Question { toward, min_requests: 100, window: 3_600, replicas: None, rules: Vec::new(), accept: Vec::new() }
}

fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

/// A class that was found in 200 bodies.
fn field(verb: Verb, mode: Mode) -> FieldCounts {
    let (direction, ends): (Way, &[(&str, u64)]) = match (verb, mode) {
        (Verb::Seal, Observe | Read) => (Way::Request, &[("plaintext", 200)]),
        (Verb::Seal, Migrate | Enforce) => (Way::Request, &[("sealed", 200)]),
        (Verb::Open, Observe | Read) => (Way::Response, &[("plaintext", 200)]),
        (Verb::Open, Migrate | Enforce) => (Way::Response, &[("opened", 200)]),
    };
    let lengths = Sketch::default();
    (0..200).for_each(|_| lengths.add(88));
    FieldCounts {
        selector: Some("$..ssn".into()),
        class: "ssn".into(),
        direction,
        verb,
        mode,
        max_length: Some(255),
        format_refuses: false,
        refuses_tokens: verb == Verb::Seal,
        bodies: 200,
        absent: 0,
        matched: 200,
        events: counts(ends),
        types: BTreeMap::new(),
        token_length: (verb == Verb::Seal).then(|| lengths.read()),
        last_matched: Some(NOW - 1),
        last_unwanted: None,
        since_unwanted: 200,
    }
}

fn rule_in(mode: Mode) -> RuleCounts {
    let added = Sketch::default();
    (0..400).for_each(|_| added.add(20));
    RuleCounts {
        name: "customers".into(),
        pattern: "/customers/**".into(),
        fingerprint: "0123456789abcdef".into(),
        since: NOW - 86_400,
        requests: 400,
        added_latency_us: added.read(),
        refused: BTreeMap::new(),
        last_refused: None,
        unread_requests: BTreeMap::new(),
        unread_responses: BTreeMap::new(),
        fields: vec![field(Verb::Seal, mode), field(Verb::Open, mode)],
    }
}

fn replica(name: &str, rules: Vec<RuleCounts>) -> Replica {
    let snapshot = Snapshot {
        version: VERSION,
        process: Process {
            instance: name.to_owned(),
            now: NOW,
            digest: Some("ab".repeat(32)),
            loaded: NOW - 86_400,
            reload_failed: false,
            draining: false,
        },
        rules,
    };
    Replica { address: name.to_owned(), told: Ok(snapshot) }
}

fn fleet(modes: &[Mode]) -> Vec<Replica> {
    modes.iter().enumerate().map(|(n, mode)| replica(&format!("replica-{n}"), vec![rule_in(*mode)])).collect()
}

/// The first rule of each replica.
fn change(replicas: &mut [Replica], change: impl Fn(&mut RuleCounts)) {
    replicas.iter_mut().for_each(|r| change(&mut r.told.as_mut().unwrap().rules[0]));
}

/// What keeps the step from being safe.
fn codes(report: &Report) -> Vec<&'static str> {
    let mut codes: Vec<_> = report.reasons.iter().filter(|r| !r.accepted).map(|r| r.code.word()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[rstest]
#[case(&[Observe, Observe], Toward::Enforce, Some(Read))]
#[case(&[Observe, Read], Toward::Enforce, Some(Read))]
#[case(&[Read, Read], Toward::Enforce, Some(Migrate))]
#[case(&[Read, Migrate], Toward::Enforce, Some(Migrate))]
#[case(&[Migrate, Migrate], Toward::Enforce, Some(Enforce))]
#[case(&[Migrate, Enforce], Toward::Enforce, Some(Enforce))]
#[case(&[Enforce, Enforce], Toward::Enforce, None)]
#[case(&[Enforce, Enforce], Toward::Observe, Some(Migrate))]
#[case(&[Enforce, Migrate], Toward::Observe, Some(Migrate))]
#[case(&[Migrate, Migrate], Toward::Observe, Some(Read))]
#[case(&[Migrate, Read], Toward::Observe, Some(Read))]
#[case(&[Read, Read], Toward::Observe, Some(Observe))]
#[case(&[Read, Observe], Toward::Observe, Some(Observe))]
#[case(&[Observe, Observe], Toward::Observe, None)]
fn each_step_is_safe_when_nothing_speaks_against_it(
    #[case] modes: &[Mode],
    #[case] toward: Toward,
    #[case] next: Option<Mode>,
) {
    let report = judge(fleet(modes), &question(toward));
    assert!(report.safe, "{:#?}", report.reasons);
    assert_eq!((report.next, report.rules[0].next), (next, next));
    let under_way = report.rules[0].notes.iter().any(|note| note.code == Code::UnderWay);
    assert_eq!(under_way, modes[0] != modes[1]);
}

type Change = fn(&mut RuleCounts);

#[test]
fn what_speaks_against_a_step_is_named() {
    let cases: &[(Mode, Toward, Change, &str)] = &[
        // Evidence.
        (Observe, Toward::Enforce, |r| r.requests = 9, "too-little-evidence"),
        (Read, Toward::Enforce, |r| r.requests = 9, "too-little-evidence"),
        (Migrate, Toward::Enforce, |r| r.requests = 9, "too-little-evidence"),
        (Read, Toward::Observe, |r| r.requests = 9, "too-little-evidence"),
        (Observe, Toward::Enforce, |r| r.fields.iter_mut().for_each(unmatched), "never-matched"),
        (Read, Toward::Enforce, |r| unmatched(&mut r.fields[0]), "never-matched"),
        (Migrate, Toward::Enforce, |r| unmatched(&mut r.fields[1]), "never-matched"),
        (Read, Toward::Observe, |r| unmatched(&mut r.fields[1]), "never-matched"),
        (Migrate, Toward::Enforce, |r| r.since = NOW - 60, "too-early"),
        (Read, Toward::Observe, |r| r.since = NOW - 60, "too-early"),
        // What the application would not take.
        (Read, Toward::Enforce, |r| r.fields[0].events = counts(&[("plaintext", 199), ("unfit", 1)]), "unfit"),
        (Read, Toward::Enforce, |r| r.fields[0].events = counts(&[("already-sealed", 1)]), "tokens-sent"),
        (Read, Toward::Enforce, |r| r.fields[0].types = counts(&[("number", 3)]), "type-change"),
        (Read, Toward::Enforce, |r| r.unread_requests = counts(&[("media-type", 3)]), "unreadable"),
        // What went wrong.
        (Read, Toward::Enforce, refused, "refusals"),
        (Migrate, Toward::Enforce, refused, "refusals"),
        (Read, Toward::Enforce, |r| r.fields[1].events = counts(&[("refused", 1)]), "failing-values"),
        (Migrate, Toward::Enforce, |r| r.fields[0].events = counts(&[("refused", 1)]), "failing-values"),
        (Migrate, Toward::Enforce, |r| unwanted(r, "plaintext", 60), "plaintext"),
        (Migrate, Toward::Enforce, |r| unwanted(r, "lesser", 60), "lesser"),
        (Read, Toward::Observe, |r| unwanted(r, "opened", 60), "tokens-seen"),
        (
            Migrate,
            Toward::Enforce,
            |r| {
                unwanted(r, "plaintext", 4_000);
                r.fields[1].since_unwanted = 7
            },
            "too-little-evidence",
        ),
    ];
    for (mode, toward, wrong, code) in cases {
        let mut replicas = fleet(&[*mode]);
        change(&mut replicas, wrong);
        let report = judge(replicas.clone(), &question(*toward));
        assert!(!report.safe && !report.rules[0].safe, "{mode:?} {code}");
        assert_eq!(codes(&report), [*code], "{mode:?}: {:#?}", report.reasons);
        let accepted = Question { accept: vec![Code::named(code).unwrap()], ..question(*toward) };
        let report = judge(replicas, &accepted);
        assert!(report.safe, "accepted");
        assert!(report.reasons.iter().all(|reason| reason.accepted) && !report.reasons.is_empty(), "but told");
    }
}

fn unmatched(field: &mut FieldCounts) {
    *field = FieldCounts { matched: 0, bodies: 0, absent: 200, since_unwanted: 0, ..field.clone() };
    field.events.clear();
    field.token_length = field.token_length.take().map(|_| Distribution::default());
}

fn refused(rule: &mut RuleCounts) {
    rule.refused = counts(&[("token", 2)]);
    rule.last_refused = Some(NOW - 60);
}

fn unwanted(rule: &mut RuleCounts, event: &str, ago: u64) {
    rule.fields[1].events.insert(event.into(), 1);
    rule.fields[1].last_unwanted = Some(NOW - ago);
    rule.fields[1].since_unwanted = 150;
}

#[test]
fn what_is_past_or_of_no_matter_to_the_step_stops_nothing() {
    let cases: &[(Mode, Toward, Change)] = &[
        (Migrate, Toward::Enforce, |r| unwanted(r, "plaintext", 4_000)),
        (Read, Toward::Observe, |r| unwanted(r, "opened", 4_000)),
        (Migrate, Toward::Enforce, |r| {
            r.last_refused = {
                refused(r);
                Some(NOW - 4_000)
            }
        }),
        (Observe, Toward::Enforce, |r| r.fields[0].events = counts(&[("unfit", 200)])),
        (Observe, Toward::Enforce, |r| r.fields[0].types = counts(&[("number", 200)])),
        (Observe, Toward::Enforce, |r| unmatched(&mut r.fields[0])),
        (Observe, Toward::Enforce, |r| r.since = NOW),
        (Read, Toward::Enforce, |r| unmatched(&mut r.fields[1])),
        (Read, Toward::Enforce, |r| r.unread_responses = counts(&[("media-type", 9)])),
        (Enforce, Toward::Observe, refused),
        (Enforce, Toward::Observe, |r| r.requests = 0),
        (Migrate, Toward::Observe, |r| unwanted(r, "plaintext", 1)),
        (Migrate, Toward::Observe, |r| r.requests = 0),
    ];
    for (mode, toward, harmless) in cases {
        let mut replicas = fleet(&[*mode]);
        change(&mut replicas, harmless);
        let report = judge(replicas, &question(*toward));
        assert!(report.safe, "{:#?}", report.reasons);
    }
}

#[test]
fn counts_of_replicas_are_put_together() {
    let mut replicas = fleet(&[Migrate, Migrate, Migrate]);
    change(&mut replicas, |rule| rule.requests = 40);
    let told = replicas[1].told.as_mut().unwrap();
    unwanted(&mut told.rules[0], "plaintext", 4_000);
    told.rules[0].fields[1].since_unwanted = 2;
    let report = judge(replicas, &question(Toward::Enforce));
    assert!(report.safe, "{:#?}", report.reasons);
    let rule = &report.rules[0];
    let opened = rule.classes.iter().find(|class| class.verb == Verb::Open).unwrap();
    assert_eq!((rule.requests, opened.matched, opened.plaintext, opened.since_unwanted), (120, 600, 1, 402));
    assert_eq!(opened.unwanted_seconds_ago, Some(4_000));
    let sealed = rule.classes.iter().find(|class| class.verb == Verb::Seal).unwrap();
    let lengths = sealed.token_length.as_ref().unwrap();
    assert_eq!((lengths.count, lengths.p50, lengths.p99, lengths.max), (600, 88, 88, 88));
}

#[rstest]
#[case(&[Observe, Migrate], Toward::Enforce, "modes-apart")]
#[case(&[Read, Enforce], Toward::Enforce, "modes-apart")]
#[case(&[Observe, Enforce], Toward::Enforce, "modes-apart")]
#[case(&[Migrate, Observe], Toward::Observe, "modes-apart")]
fn replicas_two_steps_apart_are_no_ground_for_a_third(
    #[case] modes: &[Mode],
    #[case] toward: Toward,
    #[case] code: &str,
) {
    let report = judge(fleet(modes), &question(toward));
    assert_eq!((report.safe, codes(&report)), (false, vec![code]));
    let told: Vec<_> = report.rules[0].modes.values().flatten().collect();
    assert_eq!(told.len(), 2, "it says which is where");
}

#[test]
fn a_replica_that_does_not_tell_is_named_and_nothing_is_safe_but_the_way_out() {
    for (mode, toward, safe) in [
        (Observe, Toward::Enforce, false),
        (Read, Toward::Enforce, false),
        (Migrate, Toward::Enforce, false),
        (Enforce, Toward::Enforce, false),
        (Enforce, Toward::Observe, true),
        (Migrate, Toward::Observe, false),
        (Read, Toward::Observe, false),
        (Observe, Toward::Observe, false),
    ] {
        let mut replicas = fleet(&[mode, mode]);
        replicas.push(Replica { address: "10.0.0.9:9902".into(), told: Err("refused".into()) });
        let report = judge(replicas, &question(toward));
        assert_eq!(report.safe, safe, "{mode:?} {toward:?}");
        let reason = report.reasons.iter().find(|reason| reason.code == Code::Unreachable).unwrap();
        assert!(reason.message.contains("10.0.0.9:9902"));
        assert_eq!(report.replicas[2].error.as_deref(), Some("refused"));
    }
}

#[test]
fn a_fleet_that_is_not_of_one_mind_is_not_safe() {
    let question = question(Toward::Enforce);
    let mut other = fleet(&[Read, Read]);
    other[1].told.as_mut().unwrap().rules[0].fingerprint = "ffff".into();
    assert_eq!(codes(&judge(other, &question)), ["rules-differ"]);
    let mut failed = fleet(&[Read, Read]);
    failed[1].told.as_mut().unwrap().process.reload_failed = true;
    assert_eq!(codes(&judge(failed, &question)), ["reload-failed"]);
    let mut lacking = fleet(&[Read, Read]);
    lacking[1].told.as_mut().unwrap().rules.clear();
    let report = judge(lacking, &question);
    assert_eq!(codes(&report), ["missing-rule"]);
    assert!(report.reasons[0].message.contains("replica-1"));
    let few = Question { replicas: Some(3), ..question.clone() };
    assert_eq!(codes(&judge(fleet(&[Read, Read]), &few)), ["too-few-replicas"]);
    let mut twice = fleet(&[Read, Read]);
    twice[1].told = twice[0].told.clone();
    let two = Question { replicas: Some(2), ..question.clone() };
    assert_eq!(codes(&judge(twice, &two)), ["too-few-replicas"], "one process under two names");
    assert!(judge(fleet(&[Read, Read]), &two).safe);
    assert_eq!(codes(&judge(vec![replica("none", Vec::new())], &question)), ["no-rules"]);
    assert!(!judge(Vec::new(), &question).safe, "nobody was asked");
    let named = Question { rules: vec!["orders".into()], ..question };
    assert_eq!(codes(&judge(fleet(&[Read]), &named)), ["missing-rule"]);
}

#[test]
fn each_rule_is_judged_by_itself_and_can_be_asked_for_alone() {
    let mut other = rule_in(Observe);
    other.name = "orders".into();
    other.requests = 1;
    let replicas = vec![replica("one", vec![rule_in(Migrate), other])];
    let report = judge(replicas.clone(), &question(Toward::Enforce));
    assert_eq!((report.safe, report.next), (false, Some(Read)));
    assert_eq!(report.rules.iter().map(|rule| rule.safe).collect::<Vec<_>>(), [true, false]);
    let alone = Question { rules: vec!["customers".into()], ..question(Toward::Enforce) };
    let report = judge(replicas, &alone);
    assert_eq!((report.safe, report.next, report.rules.len()), (true, Some(Enforce), 1));
}

#[test]
fn items_with_modes_of_their_own_go_one_after_the_other() {
    let mut replicas = fleet(&[Migrate]);
    change(&mut replicas, |rule| {
        let mut iban = field(Verb::Seal, Read);
        iban.class = "iban".into();
        rule.fields.push(iban);
    });
    let report = judge(replicas.clone(), &question(Toward::Enforce));
    let rule = &report.rules[0];
    assert_eq!((rule.mode, rule.next, rule.safe), (Read, Some(Migrate), true));
    assert_eq!(rule.classes.iter().map(|class| &*class.class).collect::<Vec<_>>(), ["iban"]);
    let report = judge(replicas, &question(Toward::Observe));
    assert_eq!((report.rules[0].mode, report.rules[0].next), (Migrate, Some(Read)));
}

#[test]
fn what_cannot_be_proven_is_said() {
    let notes = |mode, toward| {
        let report = judge(fleet(&[mode]), &question(toward));
        report.rules[0].notes.iter().map(|note| note.code.word()).collect::<Vec<_>>()
    };
    assert_eq!(notes(Migrate, Toward::Enforce), ["unread-rows"]);
    assert_eq!(notes(Read, Toward::Observe), ["unread-rows"]);
    let mut replicas = fleet(&[Observe]);
    change(&mut replicas, |rule| {
        rule.fields[0].max_length = None;
        let mut silent = rule.fields[0].clone();
        unmatched(&mut silent);
        silent.selector = Some("$.other.ssn".into());
        rule.fields.push(silent);
    });
    let report = judge(replicas, &question(Toward::Enforce));
    assert!(report.safe);
    let told: Vec<_> = report.rules[0].notes.iter().map(|note| note.code.word()).collect();
    assert_eq!(told, ["no-max-length", "silent-selector"]);
    assert!(report.rules[0].notes[1].message.contains("$.other.ssn"));
}

#[test]
fn the_report_is_json_with_stable_names() {
    let mut replicas = fleet(&[Read]);
    change(&mut replicas, |rule| rule.fields[0].types = counts(&[("number", 3)]));
    let json = serde_json::to_value(judge(replicas, &question(Toward::Enforce))).unwrap();
    assert_eq!((&json["safe"], &json["toward"], &json["next"]), (&false.into(), &"enforce".into(), &"migrate".into()));
    let reason = &json["reasons"][0];
    for (key, value) in [("code", "type-change"), ("rule", "customers"), ("class", "ssn"), ("direction", "request")] {
        assert_eq!(reason[key], value);
    }
    assert!(reason["help"].as_str().unwrap().contains("--accept") && reason["accepted"] == false);
    let rule = &json["rules"][0];
    assert_eq!((&rule["mode"], &rule["modes"]["read"][0]), (&"read".into(), &"replica-0".into()));
    assert_eq!(rule["classes"][0]["token_length"]["p95"], 88);
}
