//! `sidecloak completions`: a script that completes commands in a shell.

use clap_complete::Shell;

use super::command;
use super::exit::Failure;
use super::out::Out;

/// See `sidecloak completions --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    // Into memory first: the generator would panic on a pipe that has been closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "sidecloak", &mut script);
    out.bytes(&script)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_has_a_script_that_knows_the_commands() {
        for &shell in Shell::value_variants() {
            let (mut out, captured) = Out::captured();
            run(&Args { shell }, &mut out).unwrap();
            out.flush().unwrap();
            assert!(captured.out().contains("rotate-master"), "{shell}");
        }
    }
}
