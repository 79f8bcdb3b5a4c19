//! The kinds of values that `sidecloak.yaml` holds, each checked where it is read.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::uri::Authority;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::LogLevel;
use super::address::{self, Problem, Target};
use super::node::{At, Node, Value};
use super::quantity::{self, Size};
use super::read::{FromNode, Reader};
use crate::jwt::keys::Source;
use crate::keyring::KeySource;
use crate::keyring::store::StorePlace;
use crate::proxy::settings::{self, Address};

/// Declares a value that is parsed from text.
macro_rules! parsed {
    ($($(#[$meta:meta])* $name:ident($type:ty) = $parse:expr, $schema:tt;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub(in crate::config) struct $name(pub $type);

        impl FromNode for $name {
            fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                from_text(node, reader, $parse).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

parsed! {
    /// An address to listen on.
    Listen(Address) = address::listen, { "type": "string" };
    /// An address to forward to.
    Upstream(Target) = address::upstream, { "type": "string", "pattern": "^(https?://|unix:).+" };
    /// The `Host` that an upstream sees.
    UpstreamHost(settings::UpstreamHost) = upstream_host, { "type": "string" };
    /// A network or a single address.
    Network(IpNet) = address::network, { "type": "string" };
    /// A header's name.
    Header(HeaderName) = header, { "type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" };
    /// Where a secret stands.
    SecretSource(KeySource) = secret_source, { "type": "string", "pattern": "^(file|env):.+" };
    /// A JSON Web Key Set.
    Jwks(Source) = jwks, { "type": "string", "pattern": "^(file:|https?://).+" };
    /// Where the keyring lies.
    Store(StorePlace) = store, { "type": "string", "pattern": "^(sqlite:.+|postgres(ql)?://.+|https?://.+)" };
    /// The owner's key id.
    Owner([u8; 32]) = owner, { "type": "string", "pattern": "^[0-9a-fA-F]{64}$" };
    /// `route`, nothing else.
    Paths(()) = paths, { "const": "route" };
    /// A duration.
    DurationText(Duration) = duration, { "type": ["string", "integer"], "pattern": "^[0-9]+ *(ms|s|m|h|d)$" };
    /// A size.
    SizeText(Size) = size, { "type": ["string", "integer"], "pattern": "^[0-9]+ *(B|KiB|MiB|GiB|%)?$" };
}

/// Declares a choice of words.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::config) enum $name { $($variant),* }
        words!(impl $name { $($variant = $word),* });
    )*};
    (impl $name:ident { $($variant:ident = $word:literal),* }) => {
        impl FromNode for $name {
            fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                match &node.value {
                    $(Value::Text(text) if text == $word => Some(Self::$variant),)*
                    _ => reader.wrong_type(node, concat!("one of" $(, " `", $word, "`")*)),
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!({ "enum": [$($word),*] })
            }
        }
    };
}

words! {
    /// `unmatched`
    Unmatched { Pass = "pass", Reject = "reject" }
    /// `on_ambiguous`
    OnAmbiguous { Reject = "reject", Pass = "pass" }
    /// `on_invalid_jwt`
    OnInvalidJwt { Reject = "reject", Ignore = "ignore" }
    /// `case`
    PathCase { Sensitive = "sensitive", Ignore = "ignore" }
    /// What a caller of the authority is let in for.
    CallerPurpose { Management = "management", Sidecar = "sidecar", EncryptOnly = "encrypt-only" }
    /// `upstream_protocol`
    UpstreamProtocol { Http1 = "http1", Http2 = "http2", Auto = "auto" }
    /// `proxy_protocol`
    ProxyProtocol { Off = "off", Trusted = "trusted", Required = "required" }
}
words!(impl Retry { Never = "never", Idempotent = "idempotent", Any = "any" });
words!(impl LogLevel {
    Off = "off", Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace"
});

pub(super) use crate::proxy::settings::Retry;
pub(super) use {parsed, words};

/// A bound, or the word `off`.
#[derive(Debug, Clone)]
pub(super) enum OrOff<T> {
    Off,
    Bound(T),
}

impl<T: FromNode> FromNode for OrOff<T> {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text == "off" => Some(Self::Off),
            _ => T::from_node(node, reader).map(Self::Bound),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "off" }, generator.subschema_for::<T>()] })
    }
}

/// Names and values.
#[derive(Debug, Clone)]
pub(super) struct Table(pub Vec<(At<HeaderName>, String)>);

impl FromNode for Table {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return reader.wrong_type(node, "a mapping of names to values") };
        let mut table = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name = match header(&key.value) {
                Ok(name) => Some(At { value: name, span: key.span.clone() }),
                Err((code, message, help)) => {
                    reader.error(&key.span, code, message, help);
                    None
                }
            };
            let value = String::from_node(value, reader);
            table.extend(name.zip(value));
        }
        Some(Self(table))
    }
}

impl JsonSchema for Table {
    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" }, "minProperties": 1 })
    }
}

/// Claims of a token and what they must match; names are taken as they are written.
#[derive(Debug, Clone)]
pub(super) struct Claims(pub Vec<(String, String)>);

impl FromNode for Claims {
    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return reader.wrong_type(node, "a mapping of claims to texts") };
        let claim = |(name, value): &(At<String>, Node), reader: &mut Reader<'_>| {
            Some((name.value.clone(), String::from_node(value, reader)?))
        };
        Some(Self(entries.iter().filter_map(|entry| claim(entry, reader)).collect()))
    }
}

impl JsonSchema for Claims {
    fn schema_name() -> Cow<'static, str> {
        "Claims".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" }, "minProperties": 1 })
    }
}

/// `sqlite:PATH`, `postgres://…` or `https://…`
pub(super) fn store(text: &str) -> Result<StorePlace, Problem> {
    match StorePlace::parse(text) {
        Some(place) => place.map_err(|bad| ("bad-store", bad.message, bad.help)),
        None => Err((
            "bad-store",
            "this is no keyring".to_owned(),
            "write `sqlite:PATH`, `postgres://USER@HOST/DATABASE` or `https://AUTHORITY`".to_owned(),
        )),
    }
}

/// 64 hexadecimal digits.
pub(super) fn owner(text: &str) -> Result<[u8; 32], Problem> {
    let bytes: Option<Vec<u8>> = (text.len() == 64 && text.is_ascii())
        .then(|| {
            text.as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?.trim_start_matches('+'), 16).ok())
                .collect()
        })
        .flatten();
    bytes.filter(|_| text.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|b| b.try_into().ok()).ok_or_else(|| {
        let help = "write the 64 hexadecimal digits that `sidecloak keys list` shows as the owner".to_owned();
        ("bad-owner", "`owner` is not a key id".to_owned(), help)
    })
}

fn header(text: &str) -> Result<HeaderName, Problem> {
    // `HeaderName` in lower case: names are compared without case.
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        let help = "use letters, digits and `-`".to_owned();
        ("bad-header-name", format!("`{}` is no header name", text.escape_debug()), help)
    })
}

/// A secret itself is refused, and not repeated: the file, a log, or a terminal would then hold it.
fn secret_source(text: &str) -> Result<KeySource, Problem> {
    match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Ok(KeySource::File(PathBuf::from(path))),
        Some(("env", name)) if !name.is_empty() && !name.contains(['=', '\0']) => Ok(KeySource::Env(name.to_owned())),
        _ => Err((
            "inline-secret",
            "a secret is never written here, only where it stands".to_owned(),
            "write `file:PATH` or `env:NAME`".to_owned(),
        )),
    }
}

fn jwks(text: &str) -> Result<Source, Problem> {
    let help = "write `file:PATH` or `https://HOST/PATH`";
    Source::parse(text).map_err(|why| ("bad-jwks", why, help.to_owned()))
}

fn upstream_host(text: &str) -> Result<settings::UpstreamHost, Problem> {
    match text {
        "keep" => return Ok(settings::UpstreamHost::Keep),
        "upstream" => return Ok(settings::UpstreamHost::Upstream),
        _ => {}
    }
    let authority = text.parse::<Authority>().ok().filter(|a| !a.as_str().contains('@') && !a.host().is_empty());
    let value = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    value.map(settings::UpstreamHost::Name).ok_or_else(|| {
        let help = "write `keep`, `upstream`, or a host such as `api.example:8443`".to_owned();
        ("bad-host", "this is no host".to_owned(), help)
    })
}

fn paths(text: &str) -> Result<(), Problem> {
    if text == "route" {
        return Ok(());
    }
    let message = "a `telemetry.paths` other than `route` is not available yet".to_owned();
    Err(("not-yet", message, "write `route`, or leave it out".to_owned()))
}

fn duration(text: &str) -> Result<Duration, Problem> {
    quantity::duration(text).ok_or_else(|| {
        let help = "write a whole number and a unit: `250ms`, `4s`, `5m`, `24h`, at most `366d`".to_owned();
        ("bad-duration", format!("`{}` is no duration", text.escape_debug()), help)
    })
}

fn size(text: &str) -> Result<Size, Problem> {
    quantity::size(text).ok_or_else(|| {
        let help = if text.ends_with('%') {
            "write a share from `1%` to `100%`, as a whole number"
        } else {
            "write bytes, or a whole number and a unit: `32KiB`, `1MiB`, `2GiB`"
        };
        let help = help.to_owned();
        ("bad-size", format!("`{}` is no size", text.escape_debug()), help)
    })
}

pub(super) fn from_text<T>(node: &Node, reader: &mut Reader<'_>, parse: fn(&str) -> Result<T, Problem>) -> Option<T> {
    let text = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return reader.wrong_type(node, "text"),
    };
    match parse(&text) {
        Ok(value) => Some(value),
        Err((code, message, help)) => {
            if code == "inline-secret" || text.contains(['@', '?']) {
                reader.hide(node);
            }
            reader.error(&node.span, code, format!("`{}`: {message}", reader.key()), help);
            None
        }
    }
}
