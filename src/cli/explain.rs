//! `sidecloak explain`: which rule and selector would act on a message, and why not. Shows places and names, never a value.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::exit::{Exit, Failure};
use super::out::Out;
use crate::app;
use crate::bounded;
use crate::config::{self, Machine, Overrides, Purpose};
use crate::rules::compile::{Context, Loaded, load};
use crate::rules::profile::Profile;
use crate::rules::route::{NormalPath, RequestFacts, normalize, override_header};
use crate::rules::{RuleSet, Words};
use crate::transform::plan::Direction;

mod decide;
mod outside;
mod show;

use decide::{Explanation, Message, decide};

/// A body is read whole, to show its places.
const MAX_BODY: u64 = 64 << 20;

/// See `sidecloak explain --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File or directory of rules
    #[arg(long, value_name = "PATH", env = "SIDECLOAK_RULES", default_value = "rules")]
    pub rules: PathBuf,
    /// Configuration file, for its profiles [default: ./sidecloak.yaml if it is there]
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_CONFIG")]
    pub config: Option<PathBuf>,
    /// The request's method [default: GET, or POST with a request's body]
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// The path as it is sent, with its query
    #[arg(long, value_name = "PATH")]
    pub path: String,
    /// A header of the request; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE")]
    pub headers: Vec<String>,
    /// The listener that takes the request
    #[arg(long, value_name = "NAME", default_value = "front")]
    pub listener: String,
    /// A name of the client's certificate (URIs, DNS names, e-mail addresses, in this order); may be repeated
    #[arg(long = "client", value_name = "NAME")]
    pub clients: Vec<String>,
    /// The server that the client's TLS handshake asks for
    #[arg(long, value_name = "HOST")]
    pub sni: Option<String>,
    /// A claim of the request's JSON Web Token; may be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
    /// The listener has `case: ignore`
    #[arg(long)]
    pub ignore_case: bool,
    /// The message's body: a file, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// The message's media type
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub content_type: String,
    /// The body is the response's
    #[arg(long)]
    pub response: bool,
    /// A header of the response; may be repeated
    #[arg(long = "response-header", value_name = "NAME:VALUE", requires = "response")]
    pub response_headers: Vec<String>,
    /// The response's status
    #[arg(long, value_name = "CODE", default_value_t = 200, requires = "response")]
    pub status: u16,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let context = Context { ignore_case: args.ignore_case, profiles: profiles(args)?, ..Context::default() };
    let Loaded { rules, findings, .. } = load(&args.rules, &context);
    let Some(rules) = rules else { return Err(Failure::findings(Exit::Usage, findings)) };
    let headers = headers("--header", &args.headers)?;
    let answer = self::headers("--response-header", &args.response_headers)?;
    let body = args.body.as_deref().map(read).transpose()?;
    let claims = claims(args)?;
    let sni = args.sni.as_ref().map(|sni| sni.to_ascii_lowercase());
    let words = Words {
        headers: &headers,
        client: &args.clients,
        sni: sni.as_deref(),
        claims: (!claims.is_empty()).then_some(&claims),
    };
    let explanation = explain(args, &rules, (words, &answer), body.as_deref());
    if out.json() { out.value(&explanation.to_json()) } else { out.text(&explanation.to_string()) }
}

/// What a key may name beside partitions.
fn profiles(args: &Args) -> Result<Vec<Arc<Profile>>, Failure> {
    if args.config.is_none() && !Path::new(config::DEFAULT_FILE).exists() {
        return Ok(Vec::new());
    }
    let loaded = config::load(args.config.as_deref(), &Overrides::default(), Purpose::Keys, Machine::detect());
    let (config, _) = Failure::config(loaded)?;
    Ok(app::context(&config).profiles)
}

fn explain(args: &Args, rules: &RuleSet, (words, answer): (Words<'_>, &HeaderMap), body: Option<&[u8]>) -> Explanation {
    let default_method = if body.is_some() && !args.response { "POST" } else { "GET" };
    let method = args.method.as_deref().unwrap_or(default_method);
    let target = args.path.split_once('?').map_or((args.path.as_str(), None), |(path, query)| (path, Some(query)));
    let path = target.0;
    let mut explanation = Explanation::new(method, &args.listener);
    let path: NormalPath = match normalize(path, args.ignore_case) {
        Ok(path) => path,
        Err(error) => {
            return explanation.refused(400, format!("{error}, unless the listener says `on_ambiguous: pass`"));
        }
    };
    explanation.path = Some(path.0.clone());
    if let Some(name) = override_header(words.headers) {
        let why =
            format!("header `{name}` names another path or method, unless the listener says `on_ambiguous: pass`");
        return explanation.refused(400, why);
    }
    let host = words.headers.get(HOST).and_then(|h| h.to_str().ok()).map(|h| h.split(':').next().unwrap_or(h));
    let facts =
        RequestFacts { method, path: &path, ignore_case: args.ignore_case, listener: &args.listener, host, words };
    let message = Message {
        direction: if args.response { Direction::Response } else { Direction::Request },
        target,
        headers: answer,
        status: args.status,
        content_type: &args.content_type,
        body,
    };
    decide(explanation, rules, &facts, &message)
}

/// As texts. A name that begins with `/` is a place within a claim.
fn claims(args: &Args) -> Result<Map<String, Value>, Failure> {
    let mut claims = Map::new();
    for claim in &args.claims {
        let bad = || Failure::new(Exit::Usage, "--claim takes a name and a value").help("write NAME=VALUE");
        let (name, value) = claim.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(bad)?;
        match name.strip_prefix('/') {
            None => drop(claims.insert(name.to_owned(), value.into())),
            Some(path) => {
                let mut names = path.split('/').map(|name| name.replace("~1", "/").replace("~0", "~"));
                let last = names.next_back().unwrap_or_default();
                let mut inside = &mut claims;
                for name in names {
                    let Value::Object(next) = inside.entry(name).or_insert_with(|| Value::Object(Map::new())) else {
                        return Err(bad());
                    };
                    inside = next;
                }
                inside.insert(last, value.into());
            }
        }
    }
    Ok(claims)
}

fn headers(option: &str, given: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (number, header) in given.iter().enumerate() {
        // The value may be a credential: only the place is told.
        let bad = || {
            Failure::new(Exit::Usage, format!("{option} number {} is no header", number + 1)).help("write NAME:VALUE")
        };
        let (name, value) = header.split_once(':').ok_or_else(bad)?;
        let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
        headers.append(name, HeaderValue::from_str(value.trim()).map_err(|_| bad())?);
    }
    if headers.contains_key(CONTENT_TYPE) {
        let failure = Failure::new(Exit::Usage, "the message's media type is given twice");
        return Err(failure.help("use --content-type instead of a header"));
    }
    Ok(headers)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    if path != Path::new("-") {
        return bounded::read_file(path, MAX_BODY).map_err(|e| Failure::io(path.display(), &e));
    }
    let mut body = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "bounded by `take`")]
    io::stdin().lock().take(MAX_BODY + 1).read_to_end(&mut body).map_err(|e| Failure::io("standard input", &e))?;
    if body.len() as u64 > MAX_BODY {
        return Err(Failure::new(Exit::Data, format!("standard input is larger than {MAX_BODY} bytes")));
    }
    Ok(body)
}
