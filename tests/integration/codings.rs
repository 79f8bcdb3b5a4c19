//! Coded bodies through the whole process: what is sealed and opened in them, what passes to the byte, and what is refused.

use sidecloak::proxy::budget::Budget;
use sidecloak::proxy::coding::encode::{Encoder, Form};
use sidecloak::proxy::coding::{Bounds, Codings, Decoder};

use super::stage::{Reply, Stage};
use super::support::{Client, Next, PATIENCE, upstream};

const RULES: &str = "rules:\n  - name: r\n    match: { path: \"/**\" }\n    protect: [{ fields: [\"$..ssn\"] }]\n";
const PLAIN: &str = r#"{"ssn":"123-45-6789","n":1e5}"#;

const STACKS: [(&str, &[Form]); 9] = [
    ("gzip", &[Form::Gzip]),
    ("x-gzip", &[Form::Gzip]),
    ("deflate", &[Form::Zlib]),
    ("Deflate", &[Form::Raw]),
    ("br", &[Form::Brotli]),
    ("zstd", &[Form::Zstd]),
    ("gzip, br", &[Form::Gzip, Form::Brotli]),
    ("identity, zstd", &[Form::Zstd]),
    ("deflate,gzip,zstd", &[Form::Zlib, Form::Gzip, Form::Zstd]),
];

pub fn coded(forms: &[Form], plain: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(forms, None, &Budget::new(64 << 20)).unwrap();
    let mut out = Vec::new();
    encoder.encode(plain, &mut out).unwrap();
    encoder.finish(&mut out).unwrap();
    out
}

/// With the forms that were met.
pub fn decoded(codings: &str, coded: &[u8]) -> (Vec<u8>, Vec<Form>) {
    let mut headers = http::HeaderMap::new();
    headers.insert("content-encoding", codings.parse().unwrap());
    let bounds = Bounds { decoded: u64::MAX, ratio: u64::MAX };
    let mut decoder = Decoder::new(&Codings::of(&headers).unwrap(), bounds, &Budget::new(64 << 20)).unwrap();
    let (mut rest, mut out) = (coded, Vec::new());
    while decoder.decode(&mut rest, &mut out).unwrap() {}
    decoder.finish().unwrap();
    (out, decoder.forms())
}

fn post(stage: &Stage, path: &str, coding: &str, body: Vec<u8>) -> Reply {
    stage.call("POST", path, &[("content-type", "application/json"), ("content-encoding", coding)], body)
}

/// Has the application answer what it stored under `path`, as of these codings.
fn serve(stage: &Stage, path: &str, coding: &str, body: Vec<u8>) {
    stage.answer(path, 200, &[("content-type", "application/json"), ("content-encoding", coding)], body);
}

#[test]
fn a_coded_body_is_sealed_and_opened_in_the_codings_it_came_in() {
    let stage = Stage::new(RULES);
    for (coding, forms) in STACKS {
        assert_eq!(post(&stage, "/1", coding, coded(forms, PLAIN.as_bytes())).status, 200, "{coding}");
        let stored = stage.stored("/1");
        let headers = stage.stored_headers("/1");
        assert_eq!(headers["content-encoding"], coding);
        assert_eq!(headers["content-length"], stored.len().to_string(), "{coding}: of the coded bytes");
        let (plain, met) = decoded(coding, &stored);
        assert_eq!(met, forms, "{coding}: in the same forms");
        let plain = String::from_utf8(plain).unwrap();
        assert!(plain.starts_with(r#"{"ssn":"sc1."#) && plain.ends_with(r#"","n":1e5}"#), "{coding}: {plain}");

        serve(&stage, "/2", coding, stored);
        let reply = stage.get("/2");
        assert_eq!((reply.status, reply.headers["content-encoding"].to_str().unwrap()), (200, coding));
        assert_eq!(reply.headers["content-length"], reply.body.len().to_string());
        let (plain, met) = decoded(coding, &reply.body);
        assert_eq!((String::from_utf8(plain).unwrap().as_str(), met), (PLAIN, forms.to_vec()), "{coding}");
    }
}

#[test]
fn gzip_of_several_members_is_read_as_one() {
    let stage = Stage::new(RULES);
    let (head, tail) = PLAIN.split_at(12);
    let body = [coded(&[Form::Gzip], head.as_bytes()), coded(&[Form::Gzip], tail.as_bytes())].concat();
    assert_eq!(post(&stage, "/1", "gzip", body).status, 200);
    assert!(String::from_utf8(decoded("gzip", &stage.stored("/1")).0).unwrap().contains("sc1."));
}

#[test]
fn long_bodies_stream_and_come_back_whole() {
    let stage = Stage::new(RULES);
    let items: Vec<String> = (0..3_000).map(|n| format!(r#"{{"id":{n},"ssn":"{n:09}"}}"#)).collect();
    let plain = format!("[{}]", items.join(","));
    for (coding, forms) in STACKS {
        let reply = post(&stage, "/1", coding, coded(forms, plain.as_bytes()));
        assert_eq!(reply.status, 200, "{coding}: {}", reply.text());
        let stored = stage.stored("/1");
        assert!(!stage.stored_headers("/1").contains_key("content-length"), "{coding}");
        let (sealed, met) = decoded(coding, &stored);
        assert_eq!((String::from_utf8(sealed).unwrap().matches("sc1.").count(), met), (3_000, forms.to_vec()));
        serve(&stage, "/2", coding, stored);
        let reply = stage.get("/2");
        assert!(!reply.cut && decoded(coding, &reply.body).0 == plain.as_bytes(), "{coding}");
    }
    assert_eq!(stage.app().shared().budget.used(), 0, "all memory came back");
}

#[test]
fn what_nothing_was_changed_in_leaves_with_its_own_bytes() {
    let stage = Stage::new(RULES);
    // Stored blocks, as no encoder of ours writes them.
    let plain = r#"{"other": 1}"#;
    let mut body = vec![0x78, 0x01, 0x01, u8::try_from(plain.len()).unwrap(), 0];
    body.extend([!body[3], 0xff]);
    body.extend(plain.as_bytes());
    body.extend(adler32(plain.as_bytes()).to_be_bytes());
    let headers =
        [("content-type", "application/json"), ("content-encoding", "deflate"), ("content-digest", "sha-256=:x:")];
    assert_eq!(stage.call("POST", "/1", &headers, body.clone()).status, 200);
    assert_eq!(stage.stored("/1"), body);
    assert_eq!(stage.stored_headers("/1")["content-digest"], "sha-256=:x:", "it is still true");
    serve(&stage, "/2", "deflate", body.clone());
    assert_eq!(stage.get("/2").body, body);

    let long = format!(r#"{{"other":"{}"}}"#, "x".repeat(5_000));
    let body = [coded(&[Form::Gzip], long.as_bytes()), coded(&[Form::Gzip], b"\n")].concat();
    post(&stage, "/3", "gzip", body.clone());
    assert_eq!(stage.stored("/3"), body);
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    b << 16 | a
}

#[test]
fn an_empty_body_has_no_coding_to_undo() {
    let stage = Stage::new(RULES);
    assert_eq!(post(&stage, "/1", "gzip", Vec::new()).status, 200);
    assert_eq!(stage.stored("/1"), b"");
    let empty = coded(&[Form::Gzip], b"");
    assert_eq!(post(&stage, "/1", "gzip", empty.clone()).status, 200);
    assert_eq!(stage.stored("/1"), empty);
}

#[test]
fn cut_spoilt_and_overlong_streams_are_refused() {
    let stage = Stage::new(RULES);
    for (coding, forms) in STACKS {
        let body = coded(forms, PLAIN.as_bytes());
        for wrong in [
            body[..body.len() - 1].to_vec(),
            body[..body.len() / 2].to_vec(),
            [&body[..], b"x"].concat(),
            b"no".to_vec(),
        ] {
            let reply = post(&stage, "/1", coding, wrong.clone());
            assert_eq!(reply.status, 415, "{coding}: {}", reply.text());
            assert!(reply.headers.contains_key("accept-encoding"));
            serve(&stage, "/2", coding, wrong);
            assert_eq!(stage.get("/2").status, 502, "{coding}");
        }
    }
    assert!(stage.nothing_stored());
}

#[test]
fn an_answer_that_breaks_off_late_is_cut() {
    let stage = Stage::new(RULES);
    let items: Vec<String> = (0..30_000).map(|n| format!(r#"{{"id":{n},"no":"{n:09}"}}"#)).collect();
    let plain = format!("[{}]", items.join(","));
    for (coding, forms) in STACKS {
        let body = coded(forms, plain.as_bytes());
        serve(&stage, "/1", coding, body[..body.len() - 3].to_vec());
        let reply = stage.get("/1");
        assert!(reply.status == 200 && reply.cut, "{coding}");
        let reply = post(&stage, "/2", coding, body[..body.len() - 3].to_vec());
        assert_eq!(reply.status, 415, "{coding}");
    }
    assert!(stage.nothing_stored(), "the upstream never saw an end");
}

#[test]
fn what_is_not_read_goes_where_the_rule_says() {
    let stage = Stage::new(RULES);
    for coding in ["compress", "gzip, gzip, gzip, gzip", "aes128gcm", "gzip;x=1"] {
        let reply = post(&stage, "/1", coding, b"whatever".to_vec());
        assert_eq!(reply.status, 415, "{coding}");
        assert_eq!(reply.headers["accept-encoding"], "gzip, deflate, br, zstd");
        serve(&stage, "/2", coding, b"whatever".to_vec());
        assert_eq!(stage.get("/2").body, b"whatever", "{coding}: tokens stay tokens");
    }
    let stage = Stage::new(&format!("{RULES}    on_encoding: pass\n"));
    assert_eq!(post(&stage, "/1", "compress", b"whatever".to_vec()).status, 200);
    assert_eq!(stage.stored("/1"), b"whatever");
}

#[test]
fn bombs_are_refused_in_both_directions() {
    let limits = "limits: { decoded: 4MiB, ratio: 150 }\n";
    let stage = Stage::with(RULES, "", limits);
    let bomb = format!(r#"{{"a":"{}"}}"#, " ".repeat(3 << 20));
    for (coding, forms) in STACKS {
        let body = coded(forms, bomb.as_bytes());
        let reply = post(&stage, "/1", coding, body.clone());
        assert_eq!(reply.status, 413, "{coding}: ratio: {}", reply.text());
        serve(&stage, "/2", coding, body);
        let reply = stage.get("/2");
        assert!(reply.status == 502 || reply.cut, "{coding}");
    }
    // One that grows by little, and too far.
    let noise: Vec<String> = (0..700_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_string()).collect();
    let long = format!("[{}]", noise.join(","));
    for (coding, forms) in STACKS {
        let reply = post(&stage, "/1", coding, coded(forms, long.as_bytes()));
        assert_eq!(reply.status, 413, "{coding}: size");
    }
    assert!(stage.nothing_stored());
    assert_eq!(stage.app().shared().budget.used(), 0);
}

#[test]
fn what_cannot_be_read_as_json_passes_in_its_own_bytes_where_the_rule_says() {
    let stage = Stage::new(&format!("{RULES}    on_invalid_json: pass\n"));
    let body = [coded(&[Form::Gzip], b"not "), coded(&[Form::Gzip], b"json")].concat();
    assert_eq!(post(&stage, "/1", "gzip", body.clone()).status, 200);
    assert_eq!(stage.stored("/1"), body);
}

#[test]
fn a_watched_body_passes_to_the_byte_and_is_counted() {
    let stage = Stage::new(&RULES.replace("    protect", "    mode: observe\n    protect"));
    for (coding, forms) in STACKS {
        let body = coded(forms, PLAIN.as_bytes());
        post(&stage, "/1", coding, body.clone());
        assert_eq!(stage.stored("/1"), body, "{coding}");
    }
    let metrics = stage.app().shared().metrics.render();
    let seen = format!(r#"rule="r",class="ssn",event="plaintext"}} {}"#, STACKS.len());
    assert!(metrics.contains(&seen), "{metrics}");
    // What it cannot read passes all the same.
    let cut = coded(&[Form::Zstd], PLAIN.as_bytes())[..9].to_vec();
    assert_eq!(post(&stage, "/1", "zstd", cut.clone()).status, 200);
    assert_eq!(stage.stored("/1"), cut);
}

#[test]
fn the_upstream_is_asked_for_what_can_be_undone() {
    let up = upstream(|request, out| {
        let accepts = request.field("accept-encoding").unwrap_or_default();
        write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{accepts}", accepts.len()).unwrap();
        Next::KeepAlive
    });
    let stage = Stage::before(
        &up,
        "rules:\n  - name: r\n    match: { path: /a }\n    response: [{ open: $.a }]\n    on_invalid_json: pass\n",
    );
    let mut client = Client::tcp(stage.front);
    let mut ask =
        |path: &str, wish: &str| client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{wish}\r\n")).receive().text();
    assert_eq!(ask("/a", "Accept-Encoding: br;q=0.5, snappy, gzip\r\n"), "br;q=0.5, gzip");
    assert_eq!(ask("/a", ""), "identity");
    assert_eq!(
        ask("/b", "Accept-Encoding: br;q=0.5, snappy, gzip\r\n"),
        "br;q=0.5, snappy, gzip",
        "where no rule reads"
    );
}

#[test]
fn a_slow_coded_stream_does_not_wait_for_its_end() {
    // An event stream whose second event comes only when the client has read the first.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let up = upstream(move |_, out| {
        let mut encoder = Encoder::new(&[Form::Gzip], None, &Budget::new(1 << 20)).unwrap();
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let mut send = |encoder: &mut Encoder, text: &str| {
            let mut bytes = Vec::new();
            encoder.encode(text.as_bytes(), &mut bytes).unwrap();
            encoder.flush(&mut bytes).unwrap();
            write!(out, "{:x}\r\n", bytes.len()).unwrap();
            out.write_all(&bytes).unwrap();
            out.write_all(b"\r\n").unwrap();
        };
        send(&mut encoder, "data: {\"a\":1}\n\n");
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        send(&mut encoder, "data: {\"a\":2}\n\n");
        Next::Close
    });
    let stage = Stage::before(&up, "rules:\n  - name: r\n    match: { path: /a }\n    response: [{ open: $.ssn }]\n");
    let mut client = Client::tcp(stage.front);
    client.send("GET /a HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        std::io::BufRead::read_line(&mut client.read, &mut head).unwrap();
    }
    let mut headers = http::HeaderMap::new();
    headers.insert("content-encoding", "gzip".parse().unwrap());
    let bounds = Bounds { decoded: 1 << 20, ratio: 1_000 };
    let mut decoder = Decoder::new(&Codings::of(&headers).unwrap(), bounds, &Budget::new(1 << 20)).unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"{\"a\":1}\n\n") {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut client.read, &mut line).unwrap();
        let mut chunk = vec![0; usize::from_str_radix(line.trim(), 16).unwrap() + 2];
        std::io::Read::read_exact(&mut client.read, &mut chunk).unwrap();
        let mut rest = &chunk[..chunk.len() - 2];
        while decoder.decode(&mut rest, &mut text).unwrap() {}
    }
    go.send(()).unwrap();
}

#[test]
fn every_split_into_chunks_is_the_same_to_the_upstream() {
    let stage = Stage::new(RULES);
    for (coding, forms) in [STACKS[0], STACKS[3], STACKS[6]] {
        let body = coded(forms, PLAIN.as_bytes());
        let mut client = Client::tcp(stage.front);
        for at in 1..body.len() {
            let head = format!(
                "PUT /1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let mut message = head.into_bytes();
            for piece in [&body[..at], &body[at..]] {
                message.extend(format!("{:x}\r\n", piece.len()).bytes());
                message.extend(piece);
                message.extend(b"\r\n");
            }
            message.extend(b"0\r\n\r\n");
            assert_eq!(client.send(message).receive().status(), 200, "{coding} at {at}");
            let plain = String::from_utf8(decoded(coding, &stage.stored("/1")).0).unwrap();
            assert!(
                plain.starts_with(r#"{"ssn":"sc1."#) && plain.ends_with(r#"","n":1e5}"#),
                "{coding} at {at}: {plain}"
            );
        }
    }
}
