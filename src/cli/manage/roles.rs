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
        /// Permissions by name, such as AllowDecrypt,AllowEncrypt,AuditOnDecrypt, or their sum as a number (0xc000c)
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
    let [number] = allow else { return Ok(json!(allow)) };
    let parsed = match number.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None if number.bytes().all(|b| b.is_ascii_digit()) => number.parse(),
        None => return Ok(json!(allow)),
    };
    parsed.map(Into::into).map_err(|_| {
        Failure::new(Exit::Usage, "the number is none of permissions").help("give names, such as AllowDecrypt")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_names_or_a_number() {
        let read = |list: &[&str]| permissions(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read(&["12"]).unwrap(), json!(12));
        assert_eq!(read(&["0xF00FC"]).unwrap(), json!(0xF00FC));
        assert_eq!(read(&["AllowDecrypt", "AllowEncrypt"]).unwrap(), json!(["AllowDecrypt", "AllowEncrypt"]));
        assert_eq!(read(&["AllowDecrypt"]).unwrap(), json!(["AllowDecrypt"]));
        for wrong in ["", "0x", "0xG", "4294967296", "0x100000000"] {
            assert_eq!(read(&[wrong]).unwrap_err().code, Exit::Usage, "{wrong:?}");
        }
    }
}
