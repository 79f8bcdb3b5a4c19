//! `sidecloak partitions`.

use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::{Value, json};

use super::super::exit::Failure;
use super::super::out::Out;
use super::{Link, LinkArgs, Named, all, confirmed, done, segment, show};

/// See `sidecloak partitions --help`.
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
    /// List partitions
    List,
    /// Show a partition
    Show(Named),
    /// Make a partition
    Create(Named),
    /// Neither seal nor open, until resumed
    Pause(Named),
    /// Seal and open again
    Resume(Named),
    /// Open, but do not seal
    DecryptOnly(Named),
    /// Begin a new epoch; what older ones sealed stays readable
    Rollover {
        #[command(flatten)]
        named: Named,
        /// Which epochs: rolling deterministic ones ends equality with older tokens
        #[arg(long, value_name = "KIND", default_value = "random", value_parser = PossibleValuesParser::new(["random", "deterministic", "all"]))]
        kind: String,
    },
    /// List a partition's epochs
    Epochs(Named),
    /// Pause a partition, and destroy it after a wait: what it sealed is lost
    Destroy {
        #[command(flatten)]
        named: Named,
        /// The name once more
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
        /// How many days it can be called off [default: 7]
        #[arg(long, value_name = "DAYS")]
        wait_days: Option<u64>,
    },
    /// Call a destruction off
    Keep(Named),
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let link = Link::open(&args.link, out)?;
    let at = |name: &str| format!("partitions/{}", segment(name));
    match &args.action {
        Action::List => {
            let items = all(&link, "partitions", out)?;
            show::list(out, &["PARTITION", "STATE", "VERSION", "EPOCHS", "CURRENT SINCE", "ROLES"], &items, row)
        }
        Action::Show(named) => show::one(out, &link.call(Method::GET, &at(&named.name), None)?),
        Action::Create(named) => {
            let made = link.call(Method::POST, "partitions", Some(&json!({ "name": named.name })))?;
            done(out, &format!("partition {} is made", named.name), &made)
        }
        Action::Pause(named) => state(&link, named, "paused", "neither seals nor opens", out),
        Action::Resume(named) => state(&link, named, "active", "seals and opens", out),
        Action::DecryptOnly(named) => state(&link, named, "decrypt-only", "opens and no longer seals", out),
        Action::Rollover { named, kind } => {
            let kinds = if kind == "all" { json!(["random", "deterministic"]) } else { json!([kind]) };
            let rolled =
                link.call(Method::POST, &format!("{}/rollover", at(&named.name)), Some(&json!({ "kinds": kinds })))?;
            done(
                out,
                &format!("partition {} has a new epoch; what older ones sealed stays readable", named.name),
                &rolled,
            )
        }
        Action::Epochs(named) => {
            let items = all(&link, &format!("{}/epochs", at(&named.name)), out)?;
            show::list(out, &["EPOCH", "KIND", "CREATED", "SEALS UNTIL", "CURRENT"], &items, |epoch| {
                let (created, until) = (show::time(epoch, "created", "-"), show::time(epoch, "not_after", "no end"));
                vec![show::text(epoch, "id"), show::text(epoch, "kind"), created, until, show::text(epoch, "current")]
            })
        }
        Action::Destroy { named, confirm, wait_days } => {
            confirmed(&named.name, confirm.as_deref())?;
            let body = json!({ "confirm": named.name, "wait_days": wait_days });
            let begun = link.call(Method::POST, &format!("{}/destruction", at(&named.name)), Some(&body))?;
            let due = show::time(&begun, "due", "later");
            done(
                out,
                &format!(
                    "partition {} is paused, and destroyed at {due}; `sidecloak partitions keep` calls that off",
                    named.name
                ),
                &begun,
            )
        }
        Action::Keep(named) => {
            let kept = link.call(Method::DELETE, &format!("{}/destruction", at(&named.name)), None)?;
            done(out, &format!("partition {} is not destroyed", named.name), &kept)
        }
    }
}

fn state(link: &Link, named: &Named, word: &str, means: &str, out: &mut Out) -> Result<(), Failure> {
    let path = format!("partitions/{}/state", segment(&named.name));
    let set = link.call(Method::PUT, &path, Some(&json!({ "state": word })))?;
    done(out, &format!("partition {} {means}; running processes follow by themselves", named.name), &set)
}

fn row(partition: &Value) -> Vec<String> {
    let list = |member: &str| partition.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
    let since: Vec<_> = list("current")
        .iter()
        .map(|epoch| format!("{} {}", show::text(epoch, "kind"), show::time(epoch, "created", "-")))
        .collect();
    let roles: Vec<_> = list("roles").iter().map(|role| show::text(role, "role")).collect();
    let text = |member| show::text(partition, member);
    vec![text("name"), text("state"), text("version"), text("epochs"), since.join(", "), roles.join(", ")]
}
