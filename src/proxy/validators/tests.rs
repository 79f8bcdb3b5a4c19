use super::*;

fn variant(byte: u8) -> Variant {
    Variant::new(&[byte; 32])
}

fn read(values: &[&str]) -> Tags {
    Tags::read(values.iter().map(|value| value.as_bytes()))
}

fn text(tags: &Tags) -> String {
    tags.write().map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

const OURS: &str = "-sc1-010101010101";

#[test]
fn a_tag_comes_back_as_it_was() {
    for tag in ["\"a\"", "W/\"a,b\"", "\"\"", "W/\"\"", "plain", "\"a-sc1-020202020202\"", "\"\u{e9}\""] {
        let ours =
            tag::ours(&HeaderValue::from_str(tag).unwrap_or_else(|_| tag.as_bytes().try_into().unwrap()), &variant(1));
        let ours = ours.unwrap();
        assert!(String::from_utf8_lossy(ours.as_bytes()).contains(OURS), "{tag}");
        let mut tags = Tags::read(std::iter::once(ours.as_bytes()));
        assert!(tags.keep(Some(&variant(1))));
        assert_eq!(tags.write().unwrap().as_bytes(), tag.as_bytes());
    }
    assert!(tag::ours(&HeaderValue::from_static(""), &variant(1)).is_none());
}

#[test]
fn lists_are_read_in_every_form() {
    let tags = read(&["\"a\" ,W/\"b,c\",, plain , *", "\"d\"\"e\"", "\"open"]);
    assert_eq!(text(&tags), "\"a\", W/\"b,c\", plain, *, \"d\", \"e\", \"open");
    assert_eq!(text(&read(&["", " , "])), "");
}

#[test]
fn only_the_view_that_the_client_has_may_be_unchanged() {
    let mut tags = read(&["\"a-sc1-010101010101\", \"b-sc1-020202020202\", W/\"c-sc1-010101010101\", \"d\", *"]);
    assert!(!tags.keep(Some(&variant(1))));
    assert_eq!(text(&tags), "\"a\", W/\"c\", *");
    let mut tags = read(&["\"a-sc1-010101010101\", \"d\""]);
    assert!(!tags.keep(None));
    assert_eq!(text(&tags), "\"d\"");
    let mut tags = read(&["\"b-sc1-020202020202\""]);
    assert!(!tags.keep(Some(&variant(1))));
    assert_eq!(text(&tags), "");
}

#[test]
fn whoever_writes_may_have_seen_any_view() {
    let mut tags =
        read(&["\"a-sc1-010101010101\", \"b-sc1-020202020202\", \"c\", \"-sc1-01\", \"x-sc1-01010101010G\", *"]);
    tags.turn_back(None);
    assert_eq!(text(&tags), "\"a\", \"b\", \"c\", \"-sc1-01\", \"x-sc1-01010101010G\", *");
    let mut tags = read(&["\"a-sc1-010101010101\", \"b-sc1-020202020202\""]);
    tags.turn_back(Some(&variant(2)));
    assert_eq!(text(&tags), "\"a-sc1-010101010101\", \"b\"");
}
