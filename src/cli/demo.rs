//! `sidecloak demo`: a small legacy app, the proxy and a keyring in one process on loopback, and what each of them sees. Every
//! claim it prints is checked; the demo fails if one does not hold.

mod legacy;
mod story;

use super::exit::Failure;
use super::out::Out;

/// See `sidecloak demo --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs in a temporary folder that is removed again.
pub(crate) fn run(_args: &Args, out: &mut Out) -> Result<(), Failure> {
    story::tell(out)
}
