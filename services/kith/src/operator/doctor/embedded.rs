//! The folders of the embedded stores: their content, checked before any advice to change or delete one, and who may
//! read it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kith_finding::{Finding, Weight};

use super::machine::{Use, mode};

const FORMAT: &str = "FORMAT";
/// The prefix of FORMAT in a log's folder, for every version.
const OF_A_LOG: &str = "kith-log ";
/// The prefix in a tables' folder.
const OF_TABLES: &str = "kith tables ";
/// The rest of FORMAT is not read.
const FORMAT_BYTES: u64 = 256;
/// Left by an interrupted first start.
const UNFINISHED: [&str; 3] = ["LOCK", "FORMAT.new", "rows"];
/// Present in a log that lost its FORMAT.
const LOG_STORE: &str = "store";

/// What is in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    Nothing,
    Log,
    Tables,
    /// Another program's.
    Other,
}

/// The store's finding about its folder, with advice that fits its content: only tables may ever be deleted.
pub fn advised(mut finding: Finding, folder: &Path, used: Use) -> Finding {
    let format = first_line(&folder.join(FORMAT));
    let contents = contents(folder, &format);
    let (setting, others) = match used {
        Use::Truth => ("log", "the folder of the tables"),
        Use::Disposable => ("tables", "the log's folder"),
    };
    match (contents, used) {
        (Contents::Nothing, _) | (Contents::Log, Use::Truth) => return finding,
        (Contents::Tables, Use::Disposable) => {
            if finding.weight != Weight::Sound {
                finding.fix = "delete FORMAT and rows in it while kith does not run: the tables are filled again from \
                               the log"
                    .to_owned();
            }
        }
        (Contents::Log | Contents::Tables, _) => {
            finding.weight = Weight::Wrong;
            finding.found = "a log without FORMAT".to_owned();
            finding.fix = format!("this is {others}: correct the setting `{setting}`");
        }
        (Contents::Other, _) if finding.weight == Weight::Sound => {
            finding.weight = Weight::Doubtful;
            finding.fix = format!("name a folder of its own in `{setting}`");
            finding.found += ", among other files";
        }
        (Contents::Other, _) => finding.fix = format!("this is no folder of kith's: correct the setting `{setting}`"),
    }
    if let Ok(line) = format {
        finding.found = line;
    }
    finding
}

/// It contains private messages and password hashes. Another program's folder is not judged: it may need its mode.
pub fn folder_mode(folder: &Path) -> Option<Finding> {
    let is_ours = contents(folder, &first_line(&folder.join(FORMAT))) != Contents::Other;
    let weight = |mode: u32| match mode {
        open if open & 0o002 != 0 => Weight::Wrong,
        shared if shared & 0o077 != 0 => Weight::Doubtful,
        _ => Weight::Sound,
    };
    (is_ours && folder.is_dir()).then(|| mode(folder, 0o700, weight))
}

/// Log and tables in one folder lock each other out; a log below the tables is lost with them when they are deleted.
pub fn apart(log: &Path, tables: &Path) -> Option<Finding> {
    let (log, tables) = (place(log), place(tables));
    let (found, weight) = match log.strip_prefix(&tables) {
        Err(_) => return None,
        Ok(rest) if rest == Path::new("") => (format!("both in {}", log.display()), Weight::Wrong),
        Ok(_) => ("the log below the tables, which may be deleted".to_owned(), Weight::Doubtful),
    };
    let fix = "name another folder in the one of `log` and `tables` that is mistaken";
    Some(Finding::judged("settings", "log and tables", (found, "folders apart"), weight, fix))
}

/// Its canonical path.
fn place(folder: &Path) -> PathBuf {
    let place = folder.canonicalize().or_else(|_| std::path::absolute(folder));
    place.unwrap_or_else(|_| folder.to_owned())
}

fn contents(folder: &Path, format: &io::Result<String>) -> Contents {
    match format {
        Ok(line) if line.starts_with(OF_A_LOG) => Contents::Log,
        Ok(line) if line.starts_with(OF_TABLES) => Contents::Tables,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            without_format(folder)
        }
        _ => Contents::Other,
    }
}

fn without_format(folder: &Path) -> Contents {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let is_known = |name: &String| name == LOG_STORE || UNFINISHED.contains(&name.as_str());
    match names.iter().all(is_known) {
        true if names.iter().any(|name| name == LOG_STORE) => Contents::Log,
        true => Contents::Nothing,
        false => Contents::Other,
    }
}

fn first_line(path: &Path) -> io::Result<String> {
    let mut start = Vec::new();
    File::open(path)?.take(FORMAT_BYTES).read_to_end(&mut start)?;
    Ok(String::from_utf8_lossy(&start).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LOG: &str = "kith-log format 2\npartitions 16\n";
    const TABLES: &str = "kith tables 2\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// As the stores judge it, then advised.
    fn of_tables(folder: &Path) -> Finding {
        let mut found = kith_tables::embedded::inspect(folder);
        advised(found.pop().unwrap(), folder, Use::Disposable)
    }

    fn of_log(folder: &Path) -> Finding {
        let mut found = kith_log::embedded::inspect(folder, 16);
        advised(found.pop().unwrap(), folder, Use::Truth)
    }

    #[test]
    fn nothing_but_tables_is_to_be_deleted() {
        let log = folder(&[(FORMAT, LOG)]);
        let said = of_tables(log.path());
        assert_eq!((said.weight, &*said.found), (Weight::Wrong, "kith-log format 2"));
        assert_eq!(said.fix, "this is the log's folder: correct the setting `tables`");
        let damaged = folder(&[(LOG_STORE, "")]);
        let damaged = of_tables(damaged.path());
        assert_eq!((damaged.fix, &*damaged.found), (said.fix, "a log without FORMAT"));
        for other in [&[(FORMAT, "somebody's\n")][..], &[("passwd", "")], &[(FORMAT, ""), ("rows", "")]] {
            let said = of_tables(folder(other).path());
            assert!(said.weight != Weight::Sound && !said.fix.contains("delete"), "{other:?}: {said:?}");
        }
        let older = of_tables(folder(&[(FORMAT, "kith tables 0\nmore\n")]).path());
        assert_eq!((older.weight, &*older.found), (Weight::Wrong, "kith tables 0"));
        assert!(older.fix.starts_with("delete FORMAT and rows"), "{older:?}");
    }

    #[test]
    fn tables_named_as_the_log_are_said_to_be_tables() {
        let said = of_log(folder(&[(FORMAT, TABLES)]).path());
        assert_eq!((said.weight, &*said.found), (Weight::Wrong, "kith tables 2"));
        assert_eq!(said.fix, "this is the folder of the tables: correct the setting `log`");
        let fewer = of_log(folder(&[(FORMAT, "kith-log format 2\npartitions 8\n")]).path());
        assert!(fewer.found.contains("partitions 8") && fewer.fix.contains("`partitions`"), "{fewer:?}");
    }

    #[test]
    fn what_is_as_it_should_be_stays_so() {
        for sound in [
            of_tables(folder(&[]).path()),
            of_tables(folder(&[("LOCK", "")]).path()),
            of_tables(folder(&[(FORMAT, TABLES)]).path()),
            of_tables(Path::new("/nowhere/tables")),
            of_log(folder(&[(FORMAT, LOG)]).path()),
        ] {
            assert_eq!((sound.weight, &*sound.fix), (Weight::Sound, ""));
        }
    }

    #[test]
    fn log_and_tables_are_apart() {
        let both = folder(&[]);
        let (log, below) = (both.path().join("log"), both.path().join("log/../log"));
        std::fs::create_dir(&log).unwrap();
        assert_eq!(apart(&log, &below).unwrap().weight, Weight::Wrong);
        assert_eq!(apart(Path::new("nowhere/a"), Path::new("./nowhere/a")).unwrap().weight, Weight::Wrong);
        assert_eq!(apart(&log, both.path()).unwrap().weight, Weight::Doubtful);
        assert_eq!(apart(&log, &both.path().join("tables")), None);
    }

    #[test]
    fn who_may_read_a_folder_is_judged_where_it_is_ours() {
        let weight = |files: &[(&str, &str)], mode| {
            let folder = folder(files);
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let found = folder_mode(folder.path());
            assert!(found.iter().all(|found| found.weight == Weight::Sound || found.fix.starts_with("chmod 0700 ")));
            found.map(|found| found.weight)
        };
        assert_eq!(weight(&[(FORMAT, LOG)], 0o700), Some(Weight::Sound));
        assert_eq!(weight(&[(FORMAT, LOG)], 0o755), Some(Weight::Doubtful));
        assert_eq!(weight(&[], 0o777), Some(Weight::Wrong));
        assert_eq!(weight(&[("passwd", "")], 0o755), None);
        assert_eq!(folder_mode(Path::new("/nowhere/log")), None);
    }
}
