//! The order of the rooms, and of the files in them: imports lead downwards, and no files import each other in a circle.
//!
//! Both tests read the source without comments and unit tests: the paths of its `use` lines, and all paths that begin with
//! `crate`, `self`, `super` or `oci_discovery`. A `mod.rs` that calls the files of its room by plain paths (`directory::open`) puts
//! them together, and does not import them.

#![allow(clippy::disallowed_methods, reason = "a test reads the source itself")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;

/// The rooms, from the lowest level to the highest. A room imports rooms of lower levels only, so those of one level do not know
/// each other.
const LEVELS: [&[&str]; 15] = [
    &["oci_discovery", "oci_discovery::error", "oci_discovery::parallel", "oci_discovery::pool"],
    &["oci_discovery::seen"],
    &["oci_discovery::digest", "oci_discovery::json", "oci_discovery::rfc3986"],
    &["oci_discovery::name"],
    &["oci_discovery::template"],
    &["oci_discovery::oci"],
    &["oci_discovery::discovery"],
    &["progress", "root", "terminal"],
    &["shell"],
    &["layout", "outbound"],
    &["site"],
    &["client", "store"],
    &["catalogue", "client_config", "registry", "server_config"],
    &["maintenance", "publish", "serve", "verify"],
    &["cli"],
];

#[test]
fn rooms_import_downwards_only() {
    let imports = imports();
    let mut unknown = BTreeSet::new();
    let mut upwards = BTreeMap::<_, BTreeSet<_>>::new();
    for (module, targets) in &imports {
        let room = room(module);
        if level(room).is_none() && !module.is_empty() {
            unknown.insert(room);
        }
        for target in targets.iter().map(|target| self::room(target)).filter(|target| *target != room) {
            if level(target) >= level(room) {
                upwards.entry((room, target)).or_default().insert(module);
            }
        }
    }
    assert!(unknown.is_empty(), "rooms without a level, to be added to LEVELS: {unknown:?}");
    assert!(upwards.is_empty(), "imports against the order, with the files that have them: {upwards:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = imports();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|module| (module.as_str(), reached(module, &imports))).collect();
    let circles: BTreeSet<Vec<&str>> = reached
        .iter()
        .filter(|(module, targets)| targets.contains(*module))
        .map(|(module, targets)| targets.iter().copied().filter(|target| reached[target].contains(module)).collect())
        .collect();
    assert!(circles.is_empty(), "files that import each other in a circle: {circles:#?}");
}

/// The directory or file below `src/` that a module belongs to; in the other crate with the crate's name.
fn room(module: &str) -> &str {
    let rooms_are_below = if module.starts_with("oci_discovery::") { 2 } else { 1 };
    module.match_indices("::").nth(rooms_are_below - 1).map_or(module, |(end, _)| &module[..end])
}

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|rooms| rooms.contains(&room))
}

/// Every module that a module leads to, by one import or several.
fn reached<'a>(module: &str, imports: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&'a String> = imports[module].iter().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next.as_str()) {
            open.extend(&imports[next]);
        }
    }
    reached
}

/// What each module imports. Modules are written as paths, those of the program without `crate::`.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = BTreeMap::new();
    read_sources(&root.join("src"), "", &mut sources);
    read_sources(&root.join("crates/oci-discovery/src"), "oci_discovery", &mut sources);
    let paths = Paths::new();
    let known: BTreeSet<&str> = sources.keys().map(String::as_str).collect();
    let imports = sources.iter().map(|(module, source)| {
        let targets = paths.of(source).into_iter().filter_map(|path| target(module, &path, &known));
        (module.clone(), targets.filter(|target| target != module).collect())
    });
    imports.collect()
}

/// The source of each file below a directory, without its comments and unit tests. `module` is the directory's own.
fn read_sources(directory: &Path, module: &str, sources: &mut BTreeMap<String, String>) {
    for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let inner = if ["mod", "lib", "main"].contains(&name) { module.to_owned() } else { join(module, name) };
        if path.is_dir() {
            read_sources(&path, &inner, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
            sources.entry(inner).or_default().extend(lines.flat_map(|line| [line, "\n"]));
        }
    }
}

/// The module that a path in `module` leads to: the longest beginning of it that is one.
fn target(module: &str, path: &str, known: &BTreeSet<&str>) -> Option<String> {
    let (first, rest) = path.split_once("::")?;
    let absolute = match first {
        "crate" if module.starts_with("oci_discovery") => join("oci_discovery", rest),
        "crate" => rest.to_owned(),
        "oci_discovery" => path.to_owned(),
        "self" => join(module, rest),
        "super" => {
            let mut parent = module;
            let mut rest = path;
            while let Some(inner) = rest.strip_prefix("super::") {
                (parent, rest) = (parent.rsplit_once("::")?.0, inner);
            }
            join(parent, rest)
        }
        _ if known.contains(join(module, first).as_str()) => join(module, path),
        _ => return None,
    };
    let mut beginning = absolute.as_str();
    while !known.contains(beginning) {
        beginning = beginning.rsplit_once("::")?.0;
    }
    Some(beginning.to_owned())
}

fn join(module: &str, path: &str) -> String {
    if module.is_empty() { path.to_owned() } else { format!("{module}::{path}") }
}

/// Finds the imports of a source.
struct Paths {
    group: Regex,
    import: Regex,
    path: Regex,
}

impl Paths {
    fn new() -> Paths {
        Paths {
            group: Regex::new(r"([\w:]+::)\{([^{}]*)\}").unwrap(),
            import: Regex::new(r"\buse\s+([^;]+);").unwrap(),
            path: Regex::new(r"\b(?:crate|oci_discovery|self|super)(?:::\w+)+").unwrap(),
        }
    }

    /// `use a::{b, c::{d, e}};` has the paths `a::b`, `a::c::d` and `a::c::e`.
    fn of(&self, source: &str) -> BTreeSet<String> {
        let mut source = source.to_owned();
        while let Some(found) = self.group.captures(&source) {
            let paths: Vec<String> = found[2].split(',').map(|path| format!("{}{}", &found[1], path.trim())).collect();
            let range = found.get(0).unwrap().range();
            source.replace_range(range, &paths.join(","));
        }
        let imports = self.import.captures_iter(&source).flat_map(|import| import.extract::<1>().1[0].split(','));
        let paths = self.path.find_iter(&source).map(|path| path.as_str());
        imports.chain(paths).map(|path| path.split(" as ").next().unwrap_or_default().trim().to_owned()).collect()
    }
}
