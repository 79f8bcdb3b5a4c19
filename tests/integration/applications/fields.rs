//! Before httpbin, which shows what it was sent: parameters, segments of the path, headers, cookies and forms, and the links that it
//! makes of them.

use serde_json::{Value, json};

use super::httpbin::httpbin;
use super::{Application, Front, json};
use crate::stage::Reply;

const SSN: &str = "123-45-6789";

/// Under `sealed` answers come as httpbin made them, under `both` they are opened.
const RULES: &str = r#"rules:
  - name: sealed
    match: { path: "/anything/sealed/**" }
    request:
      - { seal: ["query:ssn", "form:ssn", "$..ssn"], deterministic: true }
      - { seal: "header:x-card", class: card }
  - name: both
    match: { path: "/anything/both/**" }
    protect:
      - { fields: ["query:ssn", "form:ssn", "$..ssn"], deterministic: true }
      - { fields: ["header:x-card", "$.headers['X-Card']"], class: card }
  - name: people
    match: { path: "/anything/people/{ssn}" }
    protect:
      - { fields: "path:ssn", deterministic: true }
  - name: links
    match: { path: ["/anything/both/**", "/anything/people/*", "/redirect-to"] }
    response:
      - { open: ["$.url", "$.data", "header:location"], embedded: true, class: ssn }
"#;

fn is_token(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("sc1."))
}

fn fronts() -> Option<(Application, Front)> {
    let httpbin = httpbin()?;
    let front = Front::new(&httpbin, RULES);
    Some((httpbin, front))
}

fn get(front: &Front, path: &str, headers: &[(&str, &str)]) -> Reply {
    front.ask("GET", path, headers, "")
}

#[test]
fn parameters_headers_and_segments_are_sealed_and_what_shows_them_is_opened() {
    let Some((_httpbin, front)) = fronts() else { return };
    let card = [("x-card", "4111 1111"), ("x-other", "4111")];
    let seen = json(&get(&front, "/anything/sealed?a=%31&ssn=123%2D45-6789&ssn=x&b", &card));
    let tokens = seen["args"]["ssn"].as_array().unwrap();
    assert!(tokens.iter().all(is_token) && is_token(&seen["headers"]["X-Card"]), "{seen}");
    assert_eq!((&seen["args"]["a"], &seen["headers"]["X-Other"]), (&json!("1"), &json!("4111")));
    let shown = json(&get(&front, "/anything/both?a=1&ssn=123%2D45-6789", &card));
    assert_eq!(shown["args"], json!({ "a": "1", "ssn": SSN }));
    assert_eq!(shown["headers"]["X-Card"], "4111 1111");
    assert_eq!(shown["url"], format!("http://app.test/anything/both?a=1&ssn={SSN}"));

    // A segment, and a link that has the token already.
    let person = json(&get(&front, &format!("/anything/people/{SSN}"), &[]));
    assert_eq!(person["url"], format!("http://app.test/anything/people/{SSN}"));
    let token = tokens[0].as_str().unwrap();
    let linked = json(&get(&front, &format!("/anything/people/{token}"), &[]));
    assert_eq!(linked["url"], person["url"]);
}

#[test]
fn forms_are_sealed_field_by_field_and_files_are_not_touched() {
    let Some((_httpbin, front)) = fronts() else { return };
    let urlencoded = [("content-type", "application/x-www-form-urlencoded")];
    let post = |path: &str, headers: &[_], body: &str| json(&front.ask("POST", path, headers, body.to_owned()));
    let body = "name=Zo%C3%AB+Q&ssn=123%2D45-6789&empty=";
    let seen = post("/anything/sealed", &urlencoded, body);
    assert!(is_token(&seen["form"]["ssn"]), "{seen}");
    assert_eq!((&seen["form"]["name"], &seen["form"]["empty"]), (&json!("Zoë Q"), &json!("")));
    let shown = post("/anything/both", &urlencoded, body);
    assert_eq!(shown["form"], json!({ "name": "Zoë Q", "ssn": SSN, "empty": "" }));

    let boundary = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
    let multipart = format!("multipart/form-data; boundary={boundary}");
    let multipart = [("content-type", multipart.as_str())];
    let part =
        |head: &str, text: &str| format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n");
    let file = format!("ssn={SSN}\r\n--{{\"ssn\":\"{SSN}\"}}\n");
    let body = [
        part("name=\"ssn\"", SSN),
        part("name=\"note\"", "Zoë"),
        part("name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain", &file),
    ];
    let body = format!("{}--{boundary}--\r\n", body.concat());
    let seen = post("/anything/sealed", &multipart, &body);
    assert!(is_token(&seen["form"]["ssn"]), "{seen}");
    assert_eq!((&seen["form"]["note"], &seen["files"]["f"]), (&json!("Zoë"), &json!(file)));
    let shown = post("/anything/both", &multipart, &body);
    assert_eq!(shown["form"], json!({ "ssn": SSN, "note": "Zoë" }));
}

#[test]
fn what_shows_a_token_within_text_is_opened_where_it_stands() {
    let Some((_httpbin, front)) = fronts() else { return };
    let document = json!({ "ssn": "1 \"q\" é", "cards": [{ "ssn": SSN }] });
    let shown = json(&front.json("POST", "/anything/both", &document));
    assert_eq!(shown["json"], document);
    // `data` is the body as text: the value is written in it as it is, not as JSON would have it.
    let data = shown["data"].as_str().unwrap();
    assert!(data.contains("\"1 \"q\" é\"") && data.contains(SSN), "{data}");
}

#[test]
fn a_redirect_with_a_token_leads_to_where_the_client_meant() {
    let Some((_httpbin, front)) = fronts() else { return };
    let seen = json(&get(&front, &format!("/anything/sealed?ssn={SSN}"), &[]));
    let token = seen["args"]["ssn"].as_str().unwrap();
    for (path, opened) in [
        (format!("/anything/people/{token}"), format!("/anything/people/{SSN}")),
        (format!("/anything/both%3Fa=%2531%26ssn={token}%23f"), format!("/anything/both?a=%31&ssn={SSN}#f")),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let reply = get(&front, &format!("/redirect-to?status_code={status}&url={path}"), &[]);
            assert_eq!((reply.status, reply.headers["location"].to_str().unwrap()), (status, opened.as_str()));
            assert_eq!(reply.headers["cache-control"], "no-store");
        }
        let followed = json(&get(&front, opened.split('#').next().unwrap(), &[]));
        assert!(followed["url"].as_str().unwrap().ends_with(opened.replace("%31", "1").split('#').next().unwrap()));
        assert!(!followed.to_string().contains("sc1."), "{followed}");
    }
}

#[test]
fn cookies_that_the_application_sets_come_back_as_they_were() {
    let Some(httpbin) = httpbin() else { return };
    let rules = r#"rules:
  - name: kept-from-the-application
    match: { path: "/cookies/**" }
    protect:
      - { fields: ["query:ssn", "cookie:ssn", "$.cookies.ssn"] }
  - name: kept-from-the-browser
    match: { path: "/cookies/**" }
    expose:
      - { fields: "cookie:session" }
"#;
    let front = Front::new(&httpbin, rules);
    let set = get(&front, &format!("/cookies/set?ssn={SSN}&session=s3cret&plain=1"), &[]);
    assert_eq!((set.status, set.headers["location"].to_str().unwrap()), (302, "/cookies"), "{}", set.text());
    let cookies: Vec<_> = set.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap().to_owned()).collect();
    assert!(
        cookies.contains(&format!("ssn={SSN}; Path=/")) && cookies.contains(&"plain=1; Path=/".into()),
        "{cookies:?}"
    );
    let session = cookies.iter().find_map(|cookie| cookie.strip_prefix("session=")?.strip_suffix("; Path=/")).unwrap();
    assert!(session.starts_with("sc1."), "the browser holds a token");

    let jar = format!("plain=1; session={session}; ssn={SSN}");
    let shown = json(&get(&front, "/cookies", &[("cookie", &jar)]));
    assert_eq!(shown["cookies"], json!({ "plain": "1", "session": "s3cret", "ssn": SSN }));
    let direct = json(&httpbin.ask("GET", "/cookies", &[("cookie", &jar)], ""));
    assert_eq!(direct["cookies"]["session"], session);
    // Made up by a browser, or the token of something else.
    for forged in ["session=s3cret".to_owned(), format!("session={}x", &session[..session.len() - 1])] {
        assert_eq!(get(&front, "/cookies", &[("cookie", &forged)]).status, 422, "{forged}");
    }

    let gone = get(&front, "/cookies/delete?ssn&session", &[("cookie", &jar)]);
    assert_eq!(gone.status, 302, "{}", gone.text());
    for cookie in gone.headers.get_all("set-cookie") {
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("=;") && cookie.contains("Max-Age=0"), "{cookie}");
    }
    // An application that sets it from elsewhere shows it in the clear: refused, as a plaintext is where a token should be.
    let refused = get(&front, &format!("/cookies/set/ssn/{SSN}"), &[]);
    assert!(refused.status == 502 && !refused.headers.contains_key("set-cookie"));
}

#[test]
fn who_asks_is_the_applications_business() {
    let Some(httpbin) = httpbin() else { return };
    let front = Front::new(
        &httpbin,
        "rules:\n  - { name: all, match: { path: /** }, protect: [{ fields: [$..ssn, query:ssn, cookie:ssn] }] }\n",
    );
    let (right, wrong) = ([("authorization", "Basic dTpw")], [("authorization", "Basic dTpx")]);
    for path in ["/basic-auth/u/p", "/hidden-basic-auth/u/p", "/bearer"] {
        for headers in [&right[..], &wrong[..], &[("authorization", "Bearer t0ken")], &[]] {
            let (through, direct) = (get(&front, path, headers), httpbin.ask("GET", path, headers, ""));
            assert_eq!((through.status, through.text()), (direct.status, direct.text()), "{path} {headers:?}");
            assert_eq!(through.headers.get("www-authenticate"), direct.headers.get("www-authenticate"));
        }
    }
    assert_eq!(get(&front, "/basic-auth/u/p", &right).status, 200);
}
