//! `kith`: the one binary.

use std::process::ExitCode;

use kith::services::RELEASE;

/// Returns memory of a burst to the operating system; see ADR 6.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    kith::main(RELEASE)
}
