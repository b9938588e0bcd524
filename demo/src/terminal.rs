//! What is written. `println!` would panic when nobody reads any more (`kith-demo run | head`).

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};

use anyhow::Context;

/// Nobody reads the standard output any more.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads what is printed")]
pub struct Unread;

/// Writes what was asked for to the standard output. `text` ends its lines itself.
pub fn say(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Unread.into()),
        written => written.context("cannot write"),
    }
}

/// A line beside it (progress, reasons), to the standard error. Whether anybody reads that changes nothing.
pub fn note(text: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}
