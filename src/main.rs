//! The binary: see `cli`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request makes and drops some dozens of small things, for which this one takes fewer instructions than glibc's allocator: a
/// twelfth of all that a request takes in the proxy's own code. `tests/bench/README.md` has the figures.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    sidecloak::cli::main()
}
