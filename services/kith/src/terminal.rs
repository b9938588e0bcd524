//! What commands write. `println!` would panic when nobody reads any more (`kith events | head`).

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};

/// As a shell reports a program that a closed pipe ended: 128 + SIGPIPE.
const EXIT_UNREAD: u8 = 141;

/// What the process is to end with, by what became of its output so far.
static ENDS_WITH: AtomicU8 = AtomicU8::new(0);

/// A line of what was asked for, on the standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::terminal::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line beside what was asked for (progress, reasons), on the standard error.
macro_rules! note {
    ($($text:tt)*) => { $crate::terminal::note(format_args!($($text)*)) };
}

/// Writes to the standard output. Once that failed the command goes on to its end, with what it has to put away there, and
/// nothing more is written.
pub fn write(text: Arguments<'_>) {
    if exit_code() != 0 {
        return;
    }
    let mut output = io::stdout().lock();
    let Err(error) = output.write_fmt(text).and_then(|()| output.flush()) else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        ENDS_WITH.store(EXIT_UNREAD, Ordering::Relaxed);
    } else {
        note(format_args!("kith: cannot write: {error}"));
        ENDS_WITH.store(crate::EXIT_FAILED, Ordering::Relaxed);
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

/// What a command that went well ends with: 0 if all that it wrote was taken.
pub fn exit_code() -> u8 {
    ENDS_WITH.load(Ordering::Relaxed)
}
