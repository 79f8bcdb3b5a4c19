//! The binary: see `cli`.

use std::process::ExitCode;

/// A tenth of what a request takes went to the allocator of the C library, which also keeps what it was given once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sidecloak::cli::main()
}
