//! `sidecloak apikeys`.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::{Value, json};

use super::super::common::NewFile;
use super::super::exit::Failure;
use super::super::out::Out;
use super::{Link, LinkArgs, all, display, done, show};
use crate::authority::credentials::Purpose;
use crate::clock::{Clock, SystemClock};

const DAY: u64 = 86_400;

/// See `sidecloak apikeys --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub action: Action,
    #[command(flatten)]
    pub link: LinkArgs,
}

/// What is done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// List API keys
    List,
    /// Show an API key, without its text
    Show(Numbered),
    /// Make an API key; its text is shown once
    Create {
        /// What it is for
        #[arg(long, value_name = "PURPOSE", value_parser = PossibleValuesParser::new(Purpose::ALL.map(Purpose::word)))]
        purpose: String,
        /// What people call it
        #[arg(long, value_name = "TEXT")]
        label: String,
        /// Of a management key admin, operator or auditor; else the role in partitions [default: default]
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        /// Bind it to an application
        #[arg(long, value_name = "APP")]
        app: Option<String>,
        /// Bind it to a partition
        #[arg(long, value_name = "PARTITION")]
        partition: Option<String>,
        /// After so many days it ends [default: never]
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
        expires_days: Option<u64>,
        #[command(flatten)]
        to: To,
    },
    /// Give an API key another text, shown once; the old one is refused from then on
    Refresh {
        #[command(flatten)]
        numbered: Numbered,
        #[command(flatten)]
        to: To,
    },
    /// Take an API key away
    Revoke(Numbered),
}

/// One key.
#[derive(Debug, clap::Args)]
pub(crate) struct Numbered {
    /// Its number
    #[arg(value_name = "NUMBER")]
    pub number: u64,
}

/// Where a new text goes.
#[derive(Debug, clap::Args)]
pub(crate) struct To {
    /// Write the key into a new file (0600) instead of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let link = Link::open(&args.link, out)?;
    match &args.action {
        Action::List => {
            let items = all(&link, "apikeys", out)?;
            show::list(out, &["NUMBER", "PURPOSE", "ROLE", "APP", "PARTITION", "CREATED", "ENDS", "LABEL"], &items, row)
        }
        Action::Show(key) => show::one(out, &link.call(Method::GET, &format!("apikeys/{}", key.number), None)?),
        Action::Create { purpose, label, role, app, partition, expires_days, to } => {
            let expires = expires_days.map(|days| SystemClock.now().saturating_add(days.saturating_mul(DAY)));
            let body = json!({
                "purpose": purpose, "label": label, "role": role, "app": app, "partition": partition, "expires": expires,
            });
            shown(to, out, || link.call(Method::POST, "apikeys", Some(&body)))
        }
        Action::Refresh { numbered, to } => {
            shown(to, out, || link.call(Method::POST, &format!("apikeys/{}/refresh", numbered.number), None))
        }
        Action::Revoke(key) => {
            let gone = link.call(Method::DELETE, &format!("apikeys/{}", key.number), None)?;
            done(
                out,
                &format!("API key {} is refused from now on, at every process within about a second", key.number),
                &gone,
            )
        }
    }
}

/// Makes the key when there is a place for it, and puts it there: a text that could not be written would be lost.
fn shown(to: &To, out: &mut Out, make: impl FnOnce() -> Result<Value, Failure>) -> Result<(), Failure> {
    let file = to.out.as_deref().map(create).transpose()?;
    let key = make()?;
    let text = show::text(&key, "key");
    let secrets = key.get("secrets").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut lines = format!("{text}\n");
    for (name, _) in &secrets {
        lines.push_str(&format!("{name} {}\n", show::text(&Value::Object(secrets.clone()), name)));
    }
    let number = show::text(&key, "number");
    match (file, to.out.as_deref()) {
        (Some(file), Some(path)) => {
            file.finish(lines.as_bytes())?;
            let about = json!({ "number": key.get("number"), "file": display(path) });
            done(out, &format!("API key {number} is in {}", path.display()), &about)
        }
        _ if out.json() => out.value(&key),
        _ => {
            out.text(&lines)?;
            out.note(&format!("API key {number}, shown this once; it is kept nowhere"));
            Ok(())
        }
    }
}

fn create(path: &Path) -> Result<NewFile, Failure> {
    NewFile::create(path, 0o600).map_err(|error| Failure::io(path.display(), &error))
}

fn row(key: &Value) -> Vec<String> {
    let text = |member| show::text(key, member);
    let (created, ends) = (show::time(key, "created", "-"), show::time(key, "expires", "never"));
    vec![text("number"), text("purpose"), text("role"), text("app"), text("partition"), created, ends, text("label")]
}
