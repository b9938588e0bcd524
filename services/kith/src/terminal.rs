//! What commands write. `say!` panics when nobody reads any more (`kith events | head`).

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};
use std::process::exit;

/// As a shell reports a program that a closed pipe ended: 128 + SIGPIPE.
const EXIT_UNREAD: i32 = 141;

/// A line of what was asked for, on the standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::terminal::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line beside what was asked for (progress, reasons), on the standard error.
macro_rules! note {
    ($($text:tt)*) => { $crate::terminal::note(format_args!($($text)*)) };
}

/// Writes to the standard output; ends the process when that cannot be done, as there is nothing left to do then.
pub fn write(text: Arguments<'_>) {
    let mut output = io::stdout().lock();
    match output.write_fmt(text).and_then(|()| output.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(EXIT_UNREAD),
        Err(error) => {
            note(format_args!("kith: cannot write: {error}"));
            exit(crate::EXIT_FAILED.into());
        }
    }
}

/// As [`write`], of text that ends its lines itself.
pub fn text(text: &str) {
    write(format_args!("{text}"));
}

/// Whether anybody reads it changes nothing.
pub fn note(text: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}
