//! `sidecloak man`: the manual pages.

use std::path::PathBuf;

use clap_mangen::Man;

use super::command;
use super::exit::Failure;
use super::out::Out;

/// See `sidecloak man --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write a page per command into this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    match &args.out {
        Some(directory) => std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(command(), directory))
            .map_err(|e| Failure::io(format!("cannot write manual pages to {}", directory.display()), &e)),
        None => {
            let mut page = Vec::new();
            Man::new(command()).render(&mut page).map_err(|e| Failure::io("cannot render the manual page", &e))?;
            out.bytes(&page)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command() {
        let directory = tempfile::tempdir().unwrap();
        let (mut out, captured) = Out::captured();
        run(&Args { out: Some(directory.path().join("man1")) }, &mut out).unwrap();
        for page in ["sidecloak.1", "sidecloak-run.1", "sidecloak-keys.1", "sidecloak-keys-rollover.1"] {
            assert!(directory.path().join("man1").join(page).is_file(), "{page}");
        }
        run(&Args { out: None }, &mut out).unwrap();
        out.flush().unwrap();
        assert!(captured.out().contains(".TH sidecloak 1"));
    }
}
