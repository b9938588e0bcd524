//! The output of commands. `println!` would panic on a closed pipe (`kith events | head`).

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};

/// As a shell reports a program that a closed pipe ended: 128 + SIGPIPE.
const EXIT_UNREAD: u8 = 141;

/// The exit code, by the outcome of the output so far.
static ENDS_WITH: AtomicU8 = AtomicU8::new(0);

/// A line of the result, on standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::terminal::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// A line of progress or reasons, on standard error.
macro_rules! note {
    ($($text:tt)*) => { $crate::terminal::note(format_args!($($text)*)) };
}

/// Writes to standard output. After a failure the command continues to its end, with its clean-up, and writes nothing
/// more.
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

/// As [`write`], for text with its own line ends.
pub fn text(text: &str) {
    write(format_args!("{text}"));
}

/// A closed pipe changes nothing.
pub fn note(text: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The exit code of a successful command: 0 if all its output was written.
pub fn exit_code() -> u8 {
    ENDS_WITH.load(Ordering::Relaxed)
}
