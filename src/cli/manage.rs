//! `sidecloak partitions | roles | apps | apikeys | users`: the management API, of an authority or of the keyring on this machine.

use std::path::Path;

use http::Method;
use serde_json::Value;

use super::common::KeyringArgs;
use super::exit::{Exit, Failure};
use super::out::Out;

pub(super) mod apikeys;
pub(super) mod apps;
mod link;
pub(super) mod partitions;
mod password;
pub(super) mod roles;
mod show;
pub(super) mod users;

use link::{Link, segment};

/// Whom to ask.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Whom to ask")]
pub(crate) struct LinkArgs {
    /// The authority: https://HOST:PORT, with a management key in --api-key-file [default: the keyring on this machine]
    #[arg(long, global = true, value_name = "URL", env = "SIDECLOAK_AUTHORITY")]
    pub authority: Option<String>,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

/// One name.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Pages of a list that are asked for, of 200 each.
const PAGES: usize = 5_000;

/// The whole of a list.
fn all(link: &Link, path: &str, out: &mut Out) -> Result<Vec<Value>, Failure> {
    let (mut items, mut after) = (Vec::new(), String::new());
    for _ in 0..PAGES {
        let mut page = link.call(Method::GET, &format!("{path}?limit=200&after={}", segment(&after)), None)?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => next.clone_into(&mut after),
            None => {
                unread(link.unread(), out);
                return Ok(items);
            }
        }
    }
    Err(Failure::new(Exit::Data, "the list does not end"))
}

/// Warns of entries that a list lacks.
pub(super) fn unread(entries: u64, out: &mut Out) {
    if entries > 0 {
        let text =
            "left out, since they do not open under the master keys given: name all that are in use in `master_key`";
        out.note(&format!("warning: {entries} entries of the directory are {text}"));
    }
}

/// Says what was done.
fn done(out: &mut Out, text: &str, value: &Value) -> Result<(), Failure> {
    if out.json() {
        let nothing = serde_json::json!({ "done": true });
        out.value(if value.is_null() { &nothing } else { value })
    } else {
        out.line(&show::plain(text))
    }
}

/// Refuses to destroy what was not named twice.
fn confirmed(name: &str, confirm: Option<&str>) -> Result<(), Failure> {
    if confirm == Some(name) {
        return Ok(());
    }
    let text = format!("destroying {name} loses for good everything that was ever sealed in it");
    Err(Failure::new(Exit::Usage, text).help(format!("if that is meant, add `--confirm {name}`")))
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
