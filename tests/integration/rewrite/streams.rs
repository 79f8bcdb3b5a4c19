//! In streams.

use futures_util::{SinkExt, StreamExt};
use rstest::rstest;

use super::*;
use crate::cluster::{Cluster, Settings};

const CSV: &str = "\u{feff}id,name,ssn,\"balance\",data\r\n\
    1,\"O'Brien, \"\"Zoë\"\"\",123-45-0001,12.50,\"{\"\"pan\"\": \"\"4111\"\",\"\"x\"\":[1.0]}\"\r\n\
    2,,\"123-45-0002\",,\r\n\
    \"3\",\"a\nb\",\" 123-45-\t\"\"3\"\"\",-1e3,\"{}\"\r\n\
    4,x,\"\",0,\"{\"\"pan\"\":null}\"";

const CHOSEN: [&str; 8] =
    ["--column", "ssn", "--number", "balance=amount", "--json-column", "data=$.pan", "--partition", "customers"];

#[test]
fn csv_there_and_back_to_the_byte() {
    let place = Place::with_keyring();
    let run =
        |more: &[&str], input: &str| place.feed(&[&["rewrite", "csv"], &CHOSEN[..], more].concat(), input).ends(0);
    let sealed = run(&[], CSV);
    assert_eq!(sealed.err, "4 rows, 4 changed\n");
    assert!(!sealed.out.contains(SSN) && !sealed.out.contains("4111") && !sealed.out.contains("12.50"));
    assert!(sealed.out.starts_with("\u{feff}id,name,ssn,\"balance\",data\r\n1,\"O'Brien, \"\"Zoë\"\"\",sc1."));
    assert!(sealed.out.contains(",\"{\"\"pan\"\": \"\"sc1.") && sealed.out.contains("\r\n2,,\"sc1."));
    let again = run(&[], &sealed.out);
    assert_eq!((again.out, again.err.as_str()), (sealed.out.clone(), "4 rows, 0 changed\n"), "what is sealed stays");
    let opened = run(&["--open"], &sealed.out);
    assert_eq!(opened.out, CSV);
    assert_eq!(run(&["--open"], CSV).out, CSV, "and so does plaintext on the way back");
    let twice: Vec<_> = (0..2).map(|_| run(&["--deterministic", "--json"], CSV)).collect();
    assert_eq!(twice[0].out, twice[1].out);
    assert_eq!(serde_json::from_str::<Value>(&twice[0].err).unwrap(), json!({ "rows": 4, "changed": 4 }));
    // To a file, in one step.
    place.write("in.csv", CSV);
    place.run(&[&["rewrite", "csv", "in.csv", "-o", "in.csv"], &CHOSEN[..]].concat()).ends(0);
    assert!(!place.read("in.csv").contains(SSN));
}

/// Bound to the path's segment, deterministic, in a partition of the tenant: what only rules can say.
const BOUND: &str = r#"rules:
  - name: customers
    match: { path: "/tenants/{tenant}/customers/{id}" }
    mode: MODE
    protect:
      - { fields: "$.ssn", bind: "path:id", key: "t-{tenant}", max_length: 400 }
      - { fields: "$.card.pan", bind: "$.id", key: "t-{tenant}", class: card }
      - { fields: "$.email", deterministic: true, key: "t-{tenant}" }
"#;

fn keys(stage: &Stage) -> Vec<String> {
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    ["--keyring", &path("keyring.db"), "--master-key-file", &path("master.key")].map(str::to_owned).to_vec()
}

#[test]
fn a_record_is_as_the_proxy_would_have_had_it_stored() {
    let stage = Stage::new(&BOUND.replace("MODE", "enforce"));
    let keys = keys(&stage);
    let place = Place::empty();
    let mut init = vec!["keys", "init", "--partition", "t-acme"];
    init.extend(keys.iter().map(String::as_str));
    place.run(&init).ends(0);
    place.write("rules.yaml", BOUND.replace("MODE", "enforce"));
    let documents: Vec<String> = (1..=3)
        .map(|n| format!("{{\"id\": {n}, \"ssn\":\"{SSN}{n}\",\"card\":{{\"pan\":4111{n}}},\"email\":\"z{n}@x\", \"rest\":[1.50]}}"))
        .collect();
    let input = documents.join("\r\n") + "\r\n\r\n";
    let rules = ["--rules", "rules.yaml", "--path", "/tenants/acme/customers/{id}"];
    let run = |format: &[&str], input: &str| {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        place.feed(&[&["rewrite"], format, &rules[..], &keys].concat(), input)
    };
    let sealed = run(&["ndjson"], &input).ends(0);
    assert!(!sealed.out.contains(SSN) && sealed.out.ends_with(", \"rest\":[1.50]}\r\n\r\n"), "{}", sealed.out);
    for (line, document) in sealed.out.lines().zip(&documents) {
        let id = serde_json::from_str::<Value>(line).unwrap()["id"].to_string();
        let path = format!("/tenants/acme/customers/{id}");
        stage.put(&path, line);
        let reply = stage.get(&path);
        assert_eq!((reply.status, reply.text()), (200, document.clone()), "enforced");
        stage.put("/tenants/acme/customers/9", line);
        assert_ne!(stage.get("/tenants/acme/customers/9").status, 200, "bound");
    }
    assert_eq!(run(&["ndjson"], &sealed.out).ends(0).out, sealed.out);
    // What the proxy itself stored, the stream leaves alone.
    stage.call("PUT", "/tenants/acme/customers/1", &[("content-type", "application/json")], documents[0].clone());
    let stored = stage.stored_text("/tenants/acme/customers/1");
    assert_eq!(run(&["ndjson"], &stored).ends(0).out, stored);
    // A token of another record.
    let moved = stored.replace("\"id\": 1", "\"id\": 2");
    run(&["ndjson"], &moved).ends(1).says("row 1");
    // The same documents in a column, and their members as columns.
    let table = format!("1\t{}\n", documents[0].replace('\\', "\\\\"));
    let column = run(&["copy", "--columns", "n,doc", "--document", "doc"], &table).ends(0).out;
    let line = column.trim_end().split_once('\t').unwrap().1;
    stage.put("/tenants/acme/customers/1", line);
    assert_eq!(stage.get("/tenants/acme/customers/1").text(), documents[0]);
    let rows = format!("id,ssn,email,card\n1,{SSN}7,z@x,\"{{\"\"pan\"\":5}}\"\n");
    let rows = run(&["csv", "--number", "id", "--json-column", "card"], &rows).ends(0).out;
    let cells: Vec<&str> = rows.lines().nth(1).unwrap().splitn(4, ',').collect();
    let card = cells[3].trim_matches('"').replace("\"\"", "\"");
    stage.put(
        "/tenants/acme/customers/1",
        format!("{{\"id\":{},\"ssn\":\"{}\",\"email\":\"{}\",\"card\":{card}}}", cells[0], cells[1], cells[2]),
    );
    assert_eq!(
        stage.get("/tenants/acme/customers/1").text(),
        format!("{{\"id\":1,\"ssn\":\"{SSN}7\",\"email\":\"z@x\",\"card\":{{\"pan\":5}}}}")
    );

    // The way back is for proxies that take plaintext.
    run(&["ndjson", "--open"], &sealed.out).ends(64).says("refuses plaintext");
    place.write("rules.yaml", BOUND.replace("MODE", "read"));
    assert_eq!(run(&["ndjson", "--open"], &sealed.out).ends(0).out, input);
    assert_eq!(run(&["ndjson"], &input).ends(0).err, "3 rows, 3 changed\n", "readers are there: rows may be sealed");
    place.write("rules.yaml", BOUND.replace("MODE", "observe"));
    run(&["ndjson"], &input).ends(64).says("only observes").says("mode: read");
    place.write("rules.yaml", BOUND.replace("MODE", "migrate"));
    let fixed = ["ndjson", "--rules", "rules.yaml", "--path", "/tenants/acme/customers/1"];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    place.feed(&[&["rewrite"], &fixed[..], &keys].concat(), &input).ends(64).says("another for each row").says("{id}");
    run(&["ndjson"], "{\"ssn\":\"1\"}\n").ends(65).says("row 1").says("what --path names is not there");
}

#[rstest]
#[case(&["csv", "--column", "nossn"], "ssn\n123-45-1\n", 65, "none of the 1 columns is called `nossn`")]
#[case(&["csv", "--column", "ssn", "--max-length", "80"], "ssn\n1\n123-45-1234567890\n", 1, "row 2")]
#[case(&["csv", "--column", "ssn"], "ssn\nsc1.AAAA\n", 1, "row 1")]
#[case(&["csv", "--number", "n"], "n\n1,5\n", 65, "it has 2 fields")]
#[case(&["csv", "--number", "n"], "n\n123-45-x\n", 65, "column `n` holds no JSON number")]
#[case(&["csv", "--json-column", "n=$.a"], "n\n123-45-x\n", 65, "column `n` holds no JSON")]
#[case(&["csv"], "", 64, "no column is named")]
#[case(&["csv", "--column", "3"], "", 64, "needs a class")]
#[case(&["csv", "--json-column", "data"], "", 64, "NAME=JSONPATH")]
#[case(&["csv", "--column", "a", "--delimiter", "ab"], "", 64, "one character")]
#[case(&["csv", "--column", "a", "--rules", "r"], "", 64, "cannot be used with")]
#[case(&["copy", "--columns", "a,b", "--column", "c"], "1\t2\n", 65, "none of the 2 columns is called `c`")]
#[case(&["copy", "--columns", "a,b", "--column", "b"], "1\t2\t3\n", 65, "it has 3 fields, and there are 2 columns")]
#[case(&["copy", "--column", "1=ssn"], "PGCOPY\n\x01", 65, "binary")]
#[case(&["ndjson"], "", 64, "--fields")]
#[case(&["ndjson", "--fields", "$.a"], "{\"a\":\"123-45-\n", 65, "row 1")]
fn what_cannot_be_done_is_refused(#[case] args: &[&str], #[case] input: &str, #[case] code: i32, #[case] says: &str) {
    let place = Place::with_keyring();
    let done = place.feed(&[&["rewrite"], args].concat(), input).ends(code).says(says);
    assert!(!done.err.contains(SSN), "{}", done.err);
}

#[test]
fn out_of_a_real_table_and_into_it_again() {
    let Some(cluster) = Cluster::start(&Settings::default()) else { return };
    let url = cluster.database();
    cluster.sql(
        &url,
        "create table customers (id int, ssn text, note text, data jsonb);
         insert into customers select n, case n % 7 when 0 then null when 1 then '' when 2 then E'\\\\N' when 3 then E'tab\\tback\\\\slash\\nline\\r' else '123-45-' || n end,
           E'nö\\te\\\\' || n, case n % 3 when 0 then null else jsonb_build_object('pan', '4111' || n, 'x', E'\\\\\"\\n') end
         from generate_series(1, 200) n;
         create table original as select * from customers",
    );
    let place = Place::with_keyring();
    let chosen = ["--column", "ssn", "--json-column", "data=$.pan", "--partition", "customers"];
    let pass = |more: &[&str], what: &str| {
        let text = copy_out(&url, what);
        let done = place.feed(&[&["rewrite", "copy"], &chosen[..], more].concat(), &text).ends(0);
        cluster.sql(&url, "truncate customers");
        copy_in(
            &url,
            &format!("copy customers from stdin{}", if what.contains("header") { " with (header)" } else { "" }),
            done.out.as_bytes(),
        );
        done.err
    };
    let named = ["--columns", "id,ssn,note,data"];
    assert_eq!(pass(&named, "copy customers to stdout"), "200 rows, 191 changed\n");
    let count = |what: &str| cluster.sql(&url, &format!("select count(*)::text from customers where {what}")).unwrap();
    assert_eq!(count("ssn not like 'sc1.%' or data->>'pan' not like 'sc1.%'"), "0");
    assert_eq!(count("ssn is null"), "28");
    let others = "select count(*)::text from original o join customers c using (id) where (o.note, o.data->>'x') is distinct from (c.note, c.data->>'x')";
    assert_eq!(cluster.sql(&url, others).unwrap(), "0");
    let header = "copy customers to stdout with (header)";
    assert_eq!(pass(&["--header"], header), "200 rows, 0 changed\n");
    pass(&["--header", "--open"], header);
    let others = "select count(*)::text from original o full join customers c using (id) where o is distinct from c";
    assert_eq!(cluster.sql(&url, others).unwrap(), "0", "as it was");
    // The same as CSV, which tells nothing from an empty text by quotes.
    let text = copy_out(&url, "copy customers to stdout with (format csv, header)");
    let sealed = place.feed(&[&["rewrite", "csv"], &chosen[..]].concat(), &text).ends(0).out;
    cluster.sql(&url, "truncate customers");
    copy_in(&url, "copy customers from stdin with (format csv, header)", sealed.as_bytes());
    assert_eq!((count("ssn not like 'sc1.%'"), count("ssn is null")), ("0".into(), "28".into()));
    let opened = place.feed(&[&["rewrite", "csv", "--open"], &chosen[..]].concat(), &sealed).ends(0).out;
    assert_eq!(opened, text);
}

fn copy_out(url: &str, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let chunks: Vec<_> = client.copy_out(sql).await.unwrap().collect().await;
        String::from_utf8(chunks.into_iter().flat_map(|chunk| chunk.unwrap().to_vec()).collect()).unwrap()
    })
}

fn copy_in(url: &str, sql: &str, text: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut sink = Box::pin(client.copy_in(sql).await.unwrap());
        sink.send(bytes::Bytes::copy_from_slice(text)).await.unwrap();
        sink.as_mut().finish().await.unwrap();
    });
}

/// A stream in which nothing is sealed is no success, and says nothing of what stands in it.
#[test]
fn a_stream_of_which_nothing_is_sealed_is_told() {
    let place = Place::with_keyring();
    let run = |args: &[&str], input: &str| place.feed(&[&["rewrite"], args].concat(), input);
    let line = format!("{{\"ssn\":\"{SSN}1\"}}\n");
    let done = run(&["ndjson", "--fields", "$.nothing", "--partition", "customers", "-o", "out"], &line).ends(1);
    let done = done.says("standard input: nothing is selected in any of the 1 rows");
    assert!(!place.path("out").exists() && !done.err.contains(SSN));
    run(&["ndjson", "--fields", "$.ssn", "--partition", "customers"], "").ends(0);
    let nulls = "{\"ssn\":null}\n";
    assert_eq!(run(&["ndjson", "--fields", "$.ssn", "--partition", "customers"], nulls).ends(0).out, nulls);
    let dump = format!("COPY public.customer (id, ssn) FROM stdin;\n1\t{SSN}1\n\\.\n");
    let copy = ["copy", "--table", "customers", "--column", "ssn", "--partition", "customers"];
    run(&copy, &dump).ends(65).says("standard input: it has no rows of a table `customers`");
    // Values that nobody said were no names.
    let done = run(&["csv", "--column", "ssn", "--partition", "customers"], &format!("7,{SSN}1\n")).ends(65);
    assert!(!done.err.contains(SSN), "{}", done.err);
}
