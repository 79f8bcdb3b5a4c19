//! What a pod asks for. Whoever may create pods writes it: names and numbers are taken, in their narrowest forms, and nothing else.

use super::pod::Pod;

/// What the names of all our annotations and labels begin with.
pub(super) const PREFIX: &str = "sidecloak.dev/";
/// The label of a pod that has the sidecar.
pub(super) const INJECTED: &str = "sidecloak.dev/injected";
/// The annotation that says who put it there.
pub(super) const STATUS: &str = "sidecloak.dev/status";

/// The annotations of a pod that asks for a sidecar, checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes<'a> {
    /// The ConfigMap with its configuration and rules.
    pub(super) config: Option<&'a str>,
    /// The Secret with its keys.
    pub(super) secret: Option<&'a str>,
    /// Where the sidecar listens.
    pub(super) port: Option<u16>,
    /// Where the application moves.
    pub(super) moved_port: Option<u16>,
    /// The application's container.
    pub(super) app_container: Option<&'a str>,
    /// Which of its ports, by name or number.
    pub(super) app_port: Option<&'a str>,
    /// The variable that tells the application its port.
    pub(super) port_variable: Option<&'a str>,
}

impl<'a> Wishes<'a> {
    /// `None`: it asks for none.
    pub(super) fn read(pod: Pod<'a>) -> Result<Option<Self>, String> {
        match pod.annotations().find_map(|(key, value)| (key == "sidecloak.dev/inject").then_some(value)) {
            None | Some("false") => return Ok(None),
            Some("true") => {}
            Some(_) => return Err(r#"sidecloak.dev/inject is neither "true" nor "false"; write one of the two"#.into()),
        }
        let ours = || pod.annotations().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)));
        // Each at its turn, so that a pod with several mistakes gets the same answer from the policy.
        if let Some((key, _)) = ours().find(|(key, _)| !KNOWN.contains(key)) {
            return Err(format!(
                "{PREFIX}{} is no annotation of Sidecloak; take it away, or see whether it is misspelled",
                key.chars().take(63).collect::<String>()
            ));
        }
        let get = |key: &str| ours().find_map(|(k, value)| (k == key).then_some(value));
        let wishes = Self {
            config: checked(get("config"), is_object_name, "config is no name of a ConfigMap")?,
            secret: checked(get("secret"), is_object_name, "secret is no name of a Secret")?,
            port: get("port").map(|text| port(text, "port")).transpose()?,
            moved_port: get("moved-port").map(|text| port(text, "moved-port")).transpose()?,
            app_container: get("app-container"),
            app_port: get("app-port"),
            port_variable: checked(
                get("port-variable"),
                is_variable,
                "port-variable is no name of an environment variable",
            )?,
        };
        match (wishes.port, wishes.moved_port, wishes.port_variable) {
            (Some(_), _, Some(_)) => Err(
                "sidecloak.dev/port cannot be had with sidecloak.dev/port-variable: the sidecar takes the application's number; take it away"
                    .into(),
            ),
            (_, Some(_), None) => Err(
                "sidecloak.dev/moved-port needs sidecloak.dev/port-variable: without it the application does not move; take it away".into(),
            ),
            _ => Ok(Some(wishes)),
        }
    }
}

/// After [`PREFIX`].
const KNOWN: [&str; 9] =
    ["inject", "config", "secret", "port", "moved-port", "app-container", "app-port", "port-variable", "status"];

fn checked<'a>(value: Option<&'a str>, is_right: fn(&str) -> bool, wrong: &str) -> Result<Option<&'a str>, String> {
    match value {
        Some(text) if !is_right(text) => Err(format!("{PREFIX}{wrong}; correct it")),
        value => Ok(value),
    }
}

fn port(text: &str, key: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| format!("{PREFIX}{key} is no port number; write one from 1 to 65535"))
}

/// A DNS subdomain (RFC 1123).
pub fn is_object_name(text: &str) -> bool {
    let label = |label: &str| {
        let ends = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        label.bytes().all(|b| ends(b) || b == b'-')
            && label.bytes().next().is_some_and(ends)
            && label.bytes().last().is_some_and(ends)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// A name in the sense of POSIX.
fn is_variable(text: &str) -> bool {
    text.len() <= 128
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}
