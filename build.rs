//! Has the linker put the functions that run side by side (`layout/code.ld`), and relocations in a tenth of the room, in optimised
//! builds that Rust's own lld links: GNU ld takes minutes for these patterns, mold takes none. See
//! docs/adr/0026-order-of-the-code.md.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=layout/code.ld");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER");
    let is = |name: &str, value: &str| var(name).is_ok_and(|v| v == value);
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") && linked_by_own_lld() {
        let script = Path::new(&var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("layout/code.ld");
        println!("cargo::rustc-link-arg-bin=sidecloak=-Wl,-T,{}", script.display());
        if reads_packed_relocations() {
            println!("cargo::rustc-link-arg-bin=sidecloak=-Wl,-z,pack-relative-relocs");
        }
    }
}

/// Whether the glibc of this machine knows them (DT_RELR, 2.36): all are read as a process starts, and stay in memory.
fn reads_packed_relocations() -> bool {
    let Ok(found) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let said = String::from_utf8_lossy(&found.stdout);
    let mut version = said.trim().strip_prefix("glibc ").unwrap_or_default().split('.').map(str::parse::<u32>);
    matches!((version.next(), version.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (2, 36))
}

/// Whether this compiler comes with lld, which it then links with on this target, and nobody asked for another linker.
fn linked_by_own_lld() -> bool {
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let other = ["linker=", "fuse-ld", "linker-flavor", "linker-features", "link-self-contained"];
    if var("RUSTC_LINKER").is_ok() || other.iter().any(|word| flags.contains(word)) {
        return false;
    }
    let rustc = var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let Ok(found) = Command::new(rustc).args(["--print", "sysroot"]).output() else { return false };
    let sysroot = String::from_utf8_lossy(&found.stdout);
    Path::new(sysroot.trim()).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld").exists()
}
