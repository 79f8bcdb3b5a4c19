//! What the parsers of applications find in forms that are let through: no protected value that was not sealed.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sidecloak::form::{Form, select::select};

use crate::tools;

const NAMES: [&str; 2] = ["ssn", "card_pan"];
const CASES: usize = 10_000;

const URLENCODED: &[&str] = &[
    "ssn",
    "card_pan",
    "card.pan",
    "card pan",
    "a",
    "b",
    "SSN",
    "=",
    "=",
    "=",
    "&",
    "&",
    "&",
    ";",
    "+",
    "%20",
    "%73",
    "%2573",
    "%",
    "%zz",
    "%u0073",
    "[",
    "]",
    "[]",
    "[0]",
    "%00",
    "%0a",
    "\n",
    "1",
    "2",
    "_charset_=",
    "utf-8",
    "é",
    "%EF%BB%BF",
    "&amp;",
    "%3d",
    "%26",
    "?",
    "#",
];

const LINES: &[&str] = &[
    "Content-Disposition: form-data; name=\"ssn\"\r\n",
    "Content-Disposition: form-data; name=\"ssn\"\r\n",
    "Content-Disposition: form-data; name=ssn\r\n",
    "content-disposition: Form-Data; NAME=\"card_pan\"\r\n",
    "Content-Disposition: form-data; name=\"a\"\r\n",
    "Content-Disposition: form-data; name=\"a\"\r\n",
    "Content-Disposition: form-data; name=\"a\"; filename=\"x;y=z\"\r\n",
    "Content-Disposition: form-data; name=\"a\"; filename*=utf-8''x\r\n",
    "Content-Disposition: form-data; filename=\"name=ssn\"; name=\"a\"\r\n",
    "Content-Disposition: form-data; name=\"a\\\"; name=\"ssn\"\r\n",
    "Content-Disposition: form-data; name=\"a\"; name*=utf-8''ssn\r\n",
    "Content-Disposition: form-data; name*0=\"s\"; name*1=\"sn\"\r\n",
    "Content-Disposition: form-data; name='ssn'\r\n",
    "Content-Disposition: form-data; name=\"%73sn\"\r\n",
    "Content-Disposition: form-data; name=\"ssn\n\"\r\n",
    "Content-Disposition: form-data;\r\n name=\"ssn\"\r\n",
    "Content-Disposition : form-data; name=\"ssn\"\r\n",
    "Content-Disposition: attachment; name=\"ssn\"\r\n",
    "Content-Type: text/plain\r\n",
    "Content-Type: text/plain; charset=utf-8\r\n",
    "Content-Type: text/plain; charset=utf-16\r\n",
    "Content-Type: multipart/mixed; boundary=q\r\n",
    "Content-Type: application/octet-stream\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Content-Length: 1\r\n",
    "Content-Length: 200\r\n",
    "X: y\n",
    "no colon\r\n",
];

const BETWEEN: &[&str] = &[
    "\r\n--XyZ\r\n",
    "\r\n--XyZ\r\n",
    "\r\n--XyZ\r\n",
    "\r\n--XyZ\r\n",
    "\r\n--XyZ\r\n",
    "\r\n--XyZ\r\n",
    "\n--XyZ\r\n",
    "\r\n--XyZ \r\n",
    "\r\n--XyZ\n",
    "--XyZ\r\n",
    "\r\n--XyZ--\r\n",
    "\r\n--XyZ--\r\n\r\n--XyZ\r\n",
    "\r\n--XyZq\r\n",
    "\r--XyZ\r\n",
];

const CONTENT: &[&str] = &[
    "1",
    "22",
    "",
    "4111",
    "a=b",
    "MQ==",
    "x\r\ny",
    "\r\n",
    "--",
    "--Xy",
    "--q\r\nContent-Disposition: form-data; name=\"ssn\"\r\n\r\n7\r\n--q--",
    "Content-Disposition: form-data; name=\"ssn\"\r\n\r\n8",
];

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

fn urlencoded(dice: &mut Dice) -> String {
    // Mostly what browsers write, with something odd now and then.
    let usual = ["ssn=1", "card_pan=4111+1", "a=b", "a=", "%73sn=%32"];
    let mut body = String::new();
    for _ in 0..dice.below(6) {
        body.push_str(dice.of(&usual));
        for _ in 0..[0, 0, 1, 3][dice.below(4)] {
            body.push_str(dice.of(URLENCODED));
        }
        body.push('&');
    }
    body
}

fn multipart(dice: &mut Dice) -> String {
    let mut body = String::from(if dice.below(12) == 0 { "\r\n--XyZ\r\n" } else { "--XyZ\r\n" });
    for _ in 0..=dice.below(4) {
        // Mostly what browsers write, with something odd now and then.
        if dice.below(4) > 0 {
            body.push_str(dice.of(&LINES[..7]));
        }
        for _ in 0..[0, 0, 0, 1, 2][dice.below(5)] {
            body.push_str(dice.of(LINES));
        }
        body.push_str("\r\n");
        body.push_str(dice.of(CONTENT));
        body.push_str(if dice.below(3) > 0 { BETWEEN[0] } else { dice.of(BETWEEN) });
    }
    let end = body.trim_end_matches("\r\n").len();
    body.truncate(end);
    body.push_str(if dice.below(12) == 0 { "" } else { "--\r\n" });
    body
}

fn run(mut command: Command, cases: &[u8]) -> Vec<Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let cases = cases.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&cases).unwrap());
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn no_parser_finds_a_protected_value_that_was_not_sealed() {
    let lists = ["tests/tools/forms/requirements.txt", "tests/tools/forms_js/package.json"];
    let (Some(python), Some(node)) = (tools::installed("forms", lists[0]), tools::installed("forms-js", lists[1]))
    else {
        return;
    };
    let mut dice = Dice(7);
    let mut cases = Vec::new();
    let mut asked = Vec::new();
    for index in 0..CASES {
        let (content_type, body) = if index % 2 == 0 {
            ("application/x-www-form-urlencoded", urlencoded(&mut dice))
        } else {
            ("multipart/form-data; boundary=XyZ", multipart(&mut dice))
        };
        let form = Form::of(content_type).unwrap().unwrap();
        // What is refused reaches no parser.
        let Ok(found) = select(&form, body.as_bytes(), NAMES) else { continue };
        let Some(texts) = found.into_iter().map(|one| one.text).collect::<Option<Vec<_>>>() else { continue };
        let sealed: Vec<String> =
            texts.iter().map(|text| String::from_utf8_lossy(text.expose()).into_owned()).collect();
        let line = json!({ "type": content_type, "body": hex::encode(&body) });
        cases.extend_from_slice(format!("{line}\n").as_bytes());
        asked.push((body, sealed));
    }
    let (accepted, with_values) = (asked.len(), asked.iter().filter(|(_, sealed)| !sealed.is_empty()).count());
    assert!(accepted > 600 && with_values > 300, "{accepted} of {CASES}, {with_values} with values");

    let script = |path: &str| tools::repository().join("tests/tools").join(path);
    let mut in_python = Command::new(python.join("venv/bin/python"));
    in_python.arg(script("forms/read.py"));
    let mut in_node = Command::new("node");
    in_node.env("NODE_PATH", node.join("node_modules")).arg(script("forms_js/read.cjs"));
    let mut agreed: BTreeMap<String, usize> = BTreeMap::new();
    for answers in [run(in_python, &cases), run(in_node, &cases)] {
        assert_eq!(answers.len(), asked.len());
        for ((body, sealed), answer) in asked.iter().zip(answers) {
            for (parser, fields) in answer.as_object().unwrap() {
                let Some(fields) = fields.as_array() else { continue };
                for field in fields {
                    let (name, value) = (field[0].as_str().unwrap(), field[1].as_str().unwrap());
                    if !NAMES.contains(&name) || value.is_empty() {
                        continue;
                    }
                    // Some end a value at a `;`, or without the line end that it ends with.
                    let known = sealed.iter().any(|text| text.contains(value));
                    assert!(known, "{parser} reads {name} = {value:?} in {body:?}, of which {sealed:?} was sealed");
                    *agreed.entry(parser.clone()).or_default() += 1;
                }
            }
        }
    }
    assert_eq!(agreed.len(), 12, "{agreed:?}");
    assert!(agreed.values().all(|values| *values > 20), "{agreed:?}");
}
