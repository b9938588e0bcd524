//! The callers' file: whether it reads, with the keys that it names, whether those at URLs come, and who can change it.

use std::path::Path;

use kith_finding::{Finding, Weight};
use kith_runtime::Runtime;
use kith_service::auth::{CallersFile, FetchError, KeyTransport, Principals};

use super::machine::mode;

/// `proven`: operators have to prove themselves.
pub async fn examine(path: &Path, over: KeyTransport, (runtime, proven): (&Runtime, bool)) -> Vec<Finding> {
    let subject = path.display().to_string();
    let (name, wanted) = ("calling services", "issuers with their keys, and services with rights");
    match Principals::check(path, over) {
        Err(error) => {
            let fix = "mend it: with it a process does not start, and a running one keeps what it had";
            vec![Finding::judged(subject, name, (error.to_string(), wanted), Weight::Wrong, fix)]
        }
        Ok(file) => {
            let mut checks = vec![Finding::sound(subject.clone(), name, summary(&file))];
            checks.extend(file.idle().map(|idle| {
                let found = (format!("`{idle}` has no rights"), "rights for each");
                let fix = "give it rights, or take its entry out";
                Finding::judged(subject.clone(), name, found, Weight::Doubtful, fix)
            }));
            if proven && file.operators() == 0 {
                let found = ("nobody has the right `operate`", "somebody");
                let fix = "give it to those who operate: without it nobody is let in to operators' commands";
                checks.push(Finding::judged(subject, "operators", found, Weight::Doubtful, fix));
            }
            checks.extend(Principals::look(&file, runtime).await.into_iter().map(|(url, found)| keys_at(url, found)));
            checks.push(mode(path, 0o644, who_can_change));
            checks
        }
    }
}

/// What one fetch from here found.
fn keys_at(url: String, found: Result<usize, FetchError>) -> Finding {
    let name = "an issuer's keys";
    match found {
        Ok(count) => Finding::sound(url, name, format!("{count} that fit")),
        Err(error) => {
            let fix = "let every process reach it: until its keys come the issuer's tokens are refused";
            Finding::judged(url, name, (error.to_string(), "keys that fit the algorithm"), Weight::Wrong, fix)
        }
    }
}

fn summary(file: &CallersFile) -> String {
    let (issuers, principals) = file.counts();
    format!("{issuers} issuers, {principals} services")
}

/// It holds no secret; whoever can write it can give rights.
fn who_can_change(mode: u32) -> Weight {
    match mode {
        open if open & 0o002 != 0 => Weight::Wrong,
        shared if shared & 0o020 != 0 => Weight::Doubtful,
        _ => Weight::Sound,
    }
}
