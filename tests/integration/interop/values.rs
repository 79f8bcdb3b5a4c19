//! Values of every shape, as callers write them, and the vectors that the proxy's tokens for them make.

use serde_json::{Value, json};

use super::super::stage::Stage;

/// Each way to seal: the member under which values are posted, the class, whether it signs, what it pads to, and its suite.
const WAYS: [(&str, &str, bool, Option<u32>, u8); 6] = [
    ("plain", "plain", false, None, 1),
    ("gcm", "gcm", false, None, 2),
    ("deterministic", "deterministic", false, None, 3),
    ("padded", "padded", false, Some(32), 1),
    ("signed", "signed", true, None, 1),
    ("all", "straße 7", true, Some(100), 2),
];

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn lexemes() -> Vec<String> {
    let short = [
        r#""4111111111111111""#,
        r#""""#,
        r#""Zo\u00eb \"quoted\" \/ \\ \b\f\n\r\t\u0000\u001F""#,
        r#""Zoë 😀 \ud83d\uDE00 \u007f ""#,
        r#""null""#,
        r#"" sc1. is not at its beginning""#,
        "true",
        "false",
        "null",
        "0",
        "-0",
        "1.10",
        "1e3",
        "1E+400",
        "123456789012345678901234567890",
        "-0.000000000000000000000000000001",
        "{}",
        "[]",
        "[ 1,\t2 ]",
        "{ \"zip\" : \"10115\" ,\n \"no\":1e3, \"\": {\"\\u0061\": [null, \"ß\"]} }",
    ];
    let long = format!("\"{}\"", "long ä ".repeat(2_000));
    short.into_iter().map(str::to_owned).chain([long]).collect()
}

/// Posts every value in every way, checks that it comes back as it was, and gives the vectors of what was stored.
pub fn through(stage: &Stage, path: &str, partition: &str) -> Vec<Value> {
    let lexemes = lexemes();
    let one_of_each = |lexemes: &[String]| {
        let members: Vec<_> = WAYS.iter().map(|way| format!("\"{}\": [{}]", way.0, lexemes.join(" ,"))).collect();
        format!("{{ {} }}", members.join(",\n"))
    };
    let sent = one_of_each(&lexemes);
    assert_eq!(stage.post(path, sent.clone()).status, 200, "{path}");
    let canonical: Vec<_> = lexemes.iter().map(|lexeme| canonical(lexeme)).collect();
    let deterministic = |body: &[String]| format!("\"deterministic\": [{}]", body.join(" ,"));
    let back = sent.replace(&deterministic(&lexemes), &deterministic(&canonical));
    assert_eq!(stage.get(path).text(), back, "{path}");

    let stored: serde_json::Map<String, Value> = serde_json::from_slice(&stage.stored(path)).unwrap();
    let mut vectors = Vec::new();
    for (member, class, signed, pad, suite) in WAYS {
        let tokens = stored[member].as_array().unwrap();
        assert_eq!(tokens.len(), lexemes.len());
        let lexemes = if member == "deterministic" { &canonical } else { &lexemes };
        for (token, lexeme) in tokens.iter().zip(lexemes) {
            let text = lexeme.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            let token = token.as_str().unwrap();
            // Six bits of the suite stand in the header's first character, two in its second.
            let suite_of = token.as_bytes()[4..6]
                .iter()
                .fold(0, |bits, c| bits << 6 | BASE64.iter().position(|x| x == c).unwrap());
            assert_eq!(suite_of >> 4, usize::from(suite), "{member}");
            let mut vector = json!({
                "name": format!("{path}: {member}: {}", lexeme.chars().take(40).collect::<String>()),
                "token": token,
                "partition": partition,
                "class": class,
                "record_id": null,
                "text": text.unwrap_or(lexeme),
                "is_string": text.is_some(),
                "pad": pad,
            });
            if !signed {
                vector["signer"] = Value::Null;
            }
            vectors.push(vector);
        }
    }
    vectors
}

/// Strings as RFC 8785 writes them; everything else stays as it is.
fn canonical(lexeme: &str) -> String {
    match serde_json::from_str::<String>(lexeme) {
        Ok(text) => serde_json::to_string(&text).unwrap(),
        Err(_) => lexeme.to_owned(),
    }
}
