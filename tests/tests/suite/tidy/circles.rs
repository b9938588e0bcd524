//! Modules of one crate do not import each other in a circle.
//!
//! Of every folder of a crate its modules are looked at, each with all that is under it. A module that names something of
//! another one depends on it; what a folder and its own modules name of each other does not count. Tests, and the crates of
//! `tests/`, are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{root, sources};

/// Names that lead from one re-export to the next.
const REEXPORTS_MAX: usize = 8;

type Module = Vec<String>;
/// The crate's modules with their text.
type Modules = BTreeMap<Module, String>;

#[test]
fn modules_do_not_import_each_other_in_a_circle() {
    let mut crates: BTreeMap<String, Modules> = BTreeMap::new();
    for (path, text) in sources() {
        let path = path.strip_prefix(root()).unwrap();
        if let Some((name, module)) = module_of(path).filter(|_| !path.starts_with("tests")) {
            crates.entry(name).or_default().insert(module, without_tests(&text));
        }
    }
    assert!(crates.len() > 10, "the crates are not where they were: {:?}", crates.keys());
    let found: Vec<String> = crates.iter().flat_map(|(name, modules)| circles(name, modules)).collect();
    assert!(found.is_empty(), "import circles: {found:#?}");
}

/// The crate and the module of a source file, unless it holds tests only.
fn module_of(path: &Path) -> Option<(String, Module)> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let src = parts.iter().position(|part| *part == "src")?;
    let mut module: Module = parts[src + 1..].iter().map(|part| part.trim_end_matches(".rs").to_owned()).collect();
    if module.iter().any(|part| part == "tests") {
        return None;
    }
    module.pop_if(|last| ["lib", "main", "mod"].contains(&last.as_str()));
    Some((parts[..src].join("/"), module))
}

fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    code.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Every circle of two or more modules, as `folder: a → b → a`.
fn circles(name: &str, modules: &Modules) -> Vec<String> {
    let mut folders: BTreeMap<Module, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    let named: Vec<(&Module, Module)> = modules
        .iter()
        .flat_map(|(from, text)| paths(from, text).into_iter().map(move |path| (from, path)))
        .map(|(from, path)| (from, owner(modules, path)))
        .collect();
    for (from, to) in &named {
        let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
            folders.entry(from[..shared].to_vec()).or_default().entry(a).or_default().insert(b);
        }
    }
    let mut found = Vec::new();
    for (folder, edges) in &folders {
        for start in edges.keys() {
            let back = shortest_way_back(edges, start);
            // Each circle once, from its first module.
            let Some(way) = back.filter(|way| way.iter().all(|module| module >= start)) else { continue };
            found.push(format!("{name}/{}: {} → {start}", folder.join("/"), way.join(" → ")));
        }
    }
    found
}

/// From `start` over other modules back to it.
fn shortest_way_back<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &'a str) -> Option<Vec<&'a str>> {
    let (mut ways, mut seen) = (vec![vec![start]], BTreeSet::new());
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| edges.get(last)).into_iter().flatten() {
                if *next == start {
                    return Some(way);
                }
                if seen.insert(*next) {
                    longer.push([&way[..], &[*next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// The module in which a path's item stands, behind re-exports.
fn owner(modules: &Modules, mut path: Module) -> Module {
    for _ in 0..REEXPORTS_MAX {
        let depth = (0..=path.len()).rev().find(|depth| modules.contains_key(&path[..*depth])).unwrap_or(0);
        let (module, rest) = path.split_at(depth);
        let again = rest.first().and_then(|item| reexported(module, modules.get(module)?, item));
        match again {
            Some(next) if next != path => path = next,
            _ => return module.to_vec(),
        }
    }
    path
}

/// What a module calls `item` without having made it. What it imports from another crate leads to none of its modules.
fn reexported(module: &[String], text: &str, item: &str) -> Option<Module> {
    let own = |path: Module| match absolute(module, path) {
        path if path.first().is_some_and(|first| first == "crate") => without_crate(path),
        path => [module, &path].concat(),
    };
    imports(text).into_iter().map(own).find(|path| path.last().is_some_and(|last| last == item))
}

/// All paths of a module's text that lead into its crate.
fn paths(module: &[String], text: &str) -> Vec<Module> {
    let of_imports = imports(text).into_iter().map(|path| absolute(module, path));
    let spoken = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let spoken = spoken.filter(|word| word.starts_with("crate::") || word.starts_with("super::"));
    let spoken = spoken.map(|word| absolute(module, word.split("::").map(str::to_owned).collect()));
    let into_crate = |path: &Module| path.first().is_some_and(|first| first == "crate");
    of_imports.chain(spoken).filter(into_crate).map(without_crate).collect()
}

fn without_crate(mut path: Module) -> Module {
    path.remove(0);
    path.retain(|part| !part.is_empty() && part != "*");
    path
}

/// With `crate` in front, where it is of this crate; a path of another crate stays as it is.
fn absolute(module: &[String], path: Module) -> Module {
    let ups = path.iter().take_while(|part| *part == "super").count();
    if ups > 0 {
        let kept = module.len().saturating_sub(ups);
        return [&["crate".to_owned()], &module[..kept], &path[ups..]].concat();
    }
    if path.first().is_some_and(|first| first == "self") {
        return [&["crate".to_owned()], module, &path[1..]].concat();
    }
    path
}

/// Every path that is imported, its braces taken apart.
fn imports(text: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for statement in text.split(';') {
        let words = statement.trim_start();
        let begins = words.rfind("\nuse ").map(|at| at + 5).or_else(|| words.rfind(" use ").map(|at| at + 5));
        let tree = words.strip_prefix("use ").or_else(|| begins.map(|at| &words[at..]));
        if let Some(tree) = tree {
            take_apart(&[], tree, &mut found);
        }
    }
    found
}

fn take_apart(prefix: &[String], tree: &str, found: &mut Vec<Module>) {
    let tree = tree.trim();
    let (head, inner) = match tree.split_once('{') {
        Some((head, rest)) => (head, rest.rsplit_once('}').map(|(inner, _)| inner)),
        None => (tree.split(" as ").next().unwrap_or(tree), None),
    };
    let parts = head.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
    let path: Module = prefix.iter().cloned().chain(parts).collect();
    let Some(inner) = inner else {
        found.push(path);
        return;
    };
    let (mut depth, mut from) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let one = inner[from..at].trim();
                from = at + 1;
                if !one.is_empty() {
                    take_apart(&path, one, found);
                }
            }
            _ => {}
        }
    }
}

fn crate_of(files: &[(&str, &str)]) -> Modules {
    let module = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    files.iter().map(|(path, text)| (module(path), without_tests(text))).collect()
}

#[test]
fn a_circle_is_found_through_reexports_folders_and_braces() {
    let lib = ("", "mod a;\nmod b;\nmod c;\npub use b::{inner::Thing, Other};\n");
    let straight = [lib, ("a", "use crate::{Thing, c};"), ("b", ""), ("b/inner", "pub struct Thing;"), ("c", "")];
    assert_eq!(circles("x", &crate_of(&straight)), [] as [&str; 0]);
    let mut circle = straight;
    circle[4].1 = "use other::thing;\npub fn c() { crate::a::run() }";
    assert_eq!(circles("x", &crate_of(&circle)), ["x/: a → c → a"]);
    circle[4].1 = "";
    circle[3].1 = "use super::super::a::run;\npub struct Thing;";
    assert_eq!(circles("x", &crate_of(&circle)), ["x/: a → b → a"]);
    circle[3].1 = "pub struct Thing;\n#[cfg(test)]\nmod tests { use crate::a; }";
    assert_eq!(circles("x", &crate_of(&circle)), [] as [&str; 0]);
    let nested = [lib, ("b", ""), ("b/left", "use super::right;"), ("b/right", "use crate::b::left::Thing;")];
    assert_eq!(circles("x", &crate_of(&nested)), ["x/b: left → right → left"]);
}
