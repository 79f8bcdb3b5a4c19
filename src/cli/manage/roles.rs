//! `sidecloak roles`.

use http::Method;
use serde_json::{Value, json};

use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::{Link, LinkArgs, done, segment, show};

/// See `sidecloak roles --help`.
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
    /// List what each role may do in a partition
    List {
        /// The partition
        #[arg(value_name = "PARTITION")]
        partition: String,
    },
    /// Set what a role may do in a partition
    Set {
        /// The partition
        #[arg(value_name = "PARTITION")]
        partition: String,
        /// The role; `default` is everybody's
        #[arg(value_name = "ROLE")]
        role: String,
        /// Permissions by name, such as AllowDecrypt,AllowEncrypt,AuditOnDecrypt, or their sum as a number
        #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
        allow: Vec<String>,
    },
    /// Take a role away from a partition
    Remove {
        /// The partition
        #[arg(value_name = "PARTITION")]
        partition: String,
        /// The role
        #[arg(value_name = "ROLE")]
        role: String,
    },
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let link = Link::open(&args.link, out)?;
    let at = |partition: &str, role: &str| format!("partitions/{}/roles/{}", segment(partition), segment(role));
    match &args.action {
        Action::List { partition } => {
            let found = link.call(Method::GET, &format!("partitions/{}", segment(partition)), None)?;
            let roles = found.get("roles").and_then(Value::as_array).cloned().unwrap_or_default();
            show::list(out, &["ROLE", "PERMISSIONS", "NAMES"], &roles, |role| {
                ["role", "permissions", "names"].map(|member| show::text(role, member)).to_vec()
            })
        }
        Action::Set { partition, role, allow } => {
            let body = json!({ "permissions": permissions(allow)? });
            let set = link.call(Method::PUT, &at(partition, role), Some(&body))?;
            let names = show::text(&set, "names");
            done(out, &format!("role {role} may do in partition {partition}: {names}"), &set)
        }
        Action::Remove { partition, role } => {
            let gone = link.call(Method::DELETE, &at(partition, role), None)?;
            done(out, &format!("role {role} may do nothing in partition {partition}"), &gone)
        }
    }
}

fn permissions(allow: &[String]) -> Result<Value, Failure> {
    let is_number = |text: &String| text.bytes().all(|b| b.is_ascii_digit());
    match allow {
        [number] if is_number(number) => number.parse::<u32>().map(Into::into).map_err(|_| {
            Failure::new(Exit::Usage, "the number is none of permissions").help("give names, such as AllowDecrypt")
        }),
        names => Ok(json!(names)),
    }
}
