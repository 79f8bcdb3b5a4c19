//! The command line: every command is a file here with its `Args` and a `run`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod audit;
mod authority;
mod call;
mod check;
mod common;
mod completions;
mod demo;
mod documents;
mod exit;
mod explain;
mod health;
mod injector;
mod inspect;
mod keys;
mod man;
mod manage;
mod open;
mod out;
mod profiles;
mod report;
mod rewrite;
mod run;
mod schema;
mod seal;

use exit::{Exit, Failure};
use out::Out;

/// Encrypts chosen fields of JSON traffic, so that an application never has to change.
#[derive(Debug, Parser)]
#[command(name = "sidecloak", version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    /// Print results and errors as JSON, for machines
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the answer is no, 64 configuration or usage, 65 data, 66 input missing, \
69 port in use or service out of reach, 70 internal, 74 I/O, 77 keys or permissions, 78 the keyring does not fit the key.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    Run(Box<run::Args>),
    /// Run the service that a fleet shares: its keyring, management, and known APIs
    Authority(Box<authority::Args>),
    /// Run the Kubernetes webhook that puts the sidecar into pods
    Injector(Box<injector::Args>),
    /// Show the whole product on a small application, in memory and on loopback
    Demo(demo::Args),
    /// Check configuration and rules, and run the tests in the rules
    Check(check::Args),
    /// Show which rule and selector would act on a message, and why not
    Explain(explain::Args),
    /// Make a keyring, and work on its partitions and keys
    Keys(keys::Args),
    /// Set up and try the managed APIs that rules may name as `key`
    Profiles(profiles::Args),
    /// Check or read the log of what was done to the keyring and with it
    Audit(audit::Args),
    /// Work on the partitions of an authority, or of the keyring on this machine
    Partitions(manage::partitions::Args),
    /// Set what roles may do in a partition
    Roles(manage::roles::Args),
    /// Make API keys and take them away
    Apikeys(manage::apikeys::Args),
    /// Group partitions by application, and pause all of one at once
    Apps(manage::apps::Args),
    /// Make users who log in with a password
    Users(manage::users::Args),
    /// Seal values or fields of documents
    Seal(seal::Args),
    /// Open values or fields of documents
    Open(open::Args),
    /// Seal what is already stored, through the application's API or in streams, or open it again
    Rewrite(Box<rewrite::Args>),
    /// Show what a token says without keys
    Inspect(inspect::Args),
    /// Print the JSON Schema of the rules or of the configuration
    Schema(schema::Args),
    /// Ask a running process whether it is ready
    Health(health::Args),
    /// Say whether the next step of a roll-out is safe, and why not
    Report(report::Args),
    /// Print a script that completes commands in a shell
    Completions(completions::Args),
    /// Print the manual page, or write one per command
    Man(man::Args),
}

/// Runs the process's command line.
pub fn main() -> ExitCode {
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    let terminals = (stdout.is_terminal(), stderr.is_terminal());
    let mut out = Out::new(Box::new(stdout), Box::new(stderr), terminals);
    ExitCode::from(main_with(std::env::args_os(), &mut out) as u8)
}

/// The same with given arguments and streams.
pub(crate) fn main_with(args: impl IntoIterator<Item = OsString>, out: &mut Out) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && args.iter().any(|arg| arg == "--json") => {
            out.set_json(true);
            let text = error.to_string();
            out.failure(&Failure::new(Exit::Usage, text.trim().trim_start_matches("error: ")));
            return Exit::Usage;
        }
        Err(error) => return usage(&error, out),
    };
    out.set_json(cli.json);
    let done = dispatch(&cli.command, out).and_then(|()| out.flush());
    match done {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            out.failure(&failure);
            failure.code
        }
    }
}

fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

/// The whole command line. No help shows what stands in the environment: it may be a password.
fn command() -> clap::Command {
    fn hidden(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(hidden)
    }
    hidden(Cli::command())
}

fn dispatch(command: &Command, out: &mut Out) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Authority(args) => authority::run(args, out),
        Command::Injector(args) => injector::run(args),
        Command::Demo(args) => demo::run(args, out),
        Command::Check(args) => check::run(args, out),
        Command::Explain(args) => explain::run(args, out),
        Command::Keys(args) => keys::run(args, out),
        Command::Profiles(args) => profiles::run(args, out),
        Command::Audit(args) => audit::run(args, out),
        Command::Partitions(args) => manage::partitions::run(args, out),
        Command::Roles(args) => manage::roles::run(args, out),
        Command::Apikeys(args) => manage::apikeys::run(args, out),
        Command::Apps(args) => manage::apps::run(args, out),
        Command::Users(args) => manage::users::run(args, out),
        Command::Seal(args) => seal::run(args, out),
        Command::Open(args) => open::run(args, out),
        Command::Rewrite(args) => rewrite::run(args, out),
        Command::Inspect(args) => inspect::run(args, out),
        Command::Schema(args) => schema::run(args, out),
        Command::Health(args) => health::run(args, out),
        Command::Report(args) => report::run(args, out),
        Command::Completions(args) => completions::run(args, out),
        Command::Man(args) => man::run(args, out),
    }
}

/// What clap answers itself: help and version on standard output, a mistake on standard error.
fn usage(error: &clap::Error, out: &mut Out) -> Exit {
    let text = error.render();
    if error.use_stderr() {
        out.note(text.to_string().trim_end());
        return Exit::Usage;
    }
    match out.text(&text.to_string()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Ok,
        Err(failure) => failure.code,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[rstest]
    #[case(&["sidecloak"], Exit::Usage)]
    #[case(&["sidecloak", "--version"], Exit::Ok)]
    #[case(&["sidecloak", "help", "keys", "init"], Exit::Ok)]
    #[case(&["sidecloak", "runn"], Exit::Usage)]
    #[case(&["sidecloak", "run", "--workers", "many"], Exit::Usage)]
    #[case(&["sidecloak", "schema", "config"], Exit::Ok)]
    fn codes(#[case] args: &[&str], #[case] expected: Exit) {
        let (mut out, _) = Out::captured();
        assert_eq!(main_with(args.iter().map(OsString::from), &mut out), expected);
    }

    #[test]
    fn each_flag_of_the_configuration_has_its_variable() {
        let command = command();
        let arguments =
            ["run", "authority", "injector"].map(|name| command.find_subcommand(name).unwrap().get_arguments());
        let others = ["help", "version", "json", "openapi"];
        for arg in arguments.into_iter().flatten().filter(|a| !others.contains(&a.get_id().as_str())) {
            let long = arg.get_long().unwrap();
            let expected = format!("SIDECLOAK_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().unwrap().to_str().unwrap(), expected);
        }
    }

    #[test]
    fn no_help_shows_the_environment() {
        fn variables(command: &clap::Command) -> usize {
            let own = command.get_arguments().filter(|arg| arg.get_env().is_some());
            let own =
                own.inspect(|arg| assert!(arg.is_hide_env_values_set(), "{} {}", command.get_name(), arg.get_id()));
            own.count() + command.get_subcommands().map(variables).sum::<usize>()
        }
        assert!(variables(&command()) > 50);
    }
}
