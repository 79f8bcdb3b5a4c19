use super::*;

#[test]
fn addresses_are_those_of_the_configuration_and_names() {
    let unix = address("unix:/run/a.sock").unwrap();
    assert_eq!(unix, Address::Unix("/run/a.sock".into()));
    assert_eq!(address("127.0.0.1:9902").unwrap(), Address::Tcp("127.0.0.1:9902".parse().unwrap()));
    assert_eq!(address("[::1]:9902").unwrap(), Address::Tcp("[::1]:9902".parse().unwrap()));
    assert_eq!(address("web.shop:9902").unwrap(), Address::Host("web.shop".into(), 9902));
    for bad in ["", "unix:", "9902", ":9902", "web", "http://web:9902", "web:port", "a@b:1", "fe80::1"] {
        assert_eq!(address(bad).unwrap_err().code, Exit::Usage, "{bad}");
    }
}

#[test]
fn counts_of_another_version_are_not_guessed_at() {
    assert!(read(b"{}").unwrap_err().contains("no answer of /rollout"));
    let text = r#"{"version":2,"instance":"a","now":1,"digest":null,"loaded":1,"reload_failed":false,"draining":false,"rules":[]}"#;
    assert!(read(text.as_bytes()).unwrap_err().contains("version 2"));
    assert!(read(text.replace('2', "1").as_bytes()).is_ok());
}

#[test]
fn codes_and_times_are_checked() {
    assert!(code("type-change").is_ok() && code("typechange").unwrap_err().contains("unfit"));
    assert_eq!(duration("10m").unwrap().as_secs(), 600);
    assert!(duration("10").is_err());
}
