//! Selectors that must see more than a value's place, through the whole process.

use super::stage::Stage;

fn stage(selectors: &str, more: &str) -> Stage {
    Stage::new(&format!(
        "rules:\n  - name: r\n    match: {{ path: \"/**\" }}\n{more}    protect: [{{ fields: [{selectors}], class: pan }}]\n"
    ))
}

#[test]
fn a_filter_seals_what_it_selects_and_the_same_comes_back() {
    let stage = stage(r#""$.cards[?@.type == 'card'].pan", "$.log[-1]""#, "");
    let cards: Vec<String> =
        (0..2_000).map(|n| format!(r#"{{"pan":"41{n:014}","type":"{}"}}"#, ["card", "iban"][n % 2])).collect();
    let body = format!(r#"{{"cards":[{}],"log":["first", {{"last" : 1.0}} ]}}"#, cards.join(" ,\n"));
    assert_eq!(stage.post("/1", body.clone()).status, 200);
    let stored = stage.stored_text("/1");
    assert_eq!(stored.matches("sc1.").count(), 1_001);
    assert!(!stored.contains("4100000000000000") && stored.contains("4100000000000001"), "the cards alone");
    assert!(stored.contains(r#""log":["first", "sc1."#), "the last element alone");
    assert_eq!(stage.get("/1").text(), body, "to the byte");
}

#[test]
fn what_a_filter_cannot_decide_is_refused() {
    let stage = stage(r#""$.cards[?@.type == 'card'].pan""#, "    max_buffered: 100\n");
    let post = |body: &str| stage.post("/1", body.to_owned());
    assert_eq!(post(r#"{"cards":[{"type":"card","type":"x","pan":"canary"}]}"#).status, 422, "duplicate names");
    assert_eq!(post(r#"{"cards":[{"\u0074ype":"x","type":"card","pan":"canary"}]}"#).status, 422, "escaped or not");
    let long = format!(r#"{{"cards":[{{"type":"card","pan":"canary","x":"{}"}}]}}"#, "x".repeat(100));
    assert_eq!(post(&long).status, 413, "over max_buffered");
    assert!(stage.nothing_stored());
    assert_eq!(post(r#"{"cards":[{"type":"card","pan":"1"},{"type":"card","pan":"2"}]}"#).status, 200);
}

#[test]
fn the_root_of_a_filter_is_the_document() {
    let stage = stage(r#""$.items[?@.owner == $.me].note""#, "");
    let body = r#"{"items":[{"owner":7,"note":"mine"},{"owner":8,"note":"other"}],"me":7.0}"#;
    assert_eq!(stage.post("/1", body).status, 200);
    let stored = stage.stored_text("/1");
    assert!(!stored.contains("mine") && stored.contains("other"), "{stored}");
    assert_eq!(stage.get("/1").text(), body);
}
