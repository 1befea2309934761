//! Checks that `docs/protocol.md` names only functions and tests that exist.
#![allow(clippy::disallowed_methods, reason = "a test reads the sources of the project")]
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::path::{Path, PathBuf};

/// The Rust sources below a directory, as paths from there with their text.
fn sources(directory: PathBuf) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![directory.clone()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => directories.push(path),
                Some(extension) if extension == "rs" => {
                    let text = std::fs::read_to_string(&path).unwrap();
                    found.push((path.strip_prefix(&directory).unwrap().to_path_buf(), text));
                }
                _ => {}
            }
        }
    }
    found
}

/// The paths in backquotes that a cell of the table names.
fn paths(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether a source has the function of a path such as `name::ImageName::parse`. `is_file` compares a source with the
/// module's file.
fn exists(path: &str, sources: &[(PathBuf, String)], is_file: impl Fn(&Path, &Path) -> bool) -> bool {
    let mut modules: Vec<&str> = path.split("::").collect();
    let function = modules.pop().unwrap();
    modules.retain(|part| !part.starts_with(char::is_uppercase));
    let file = PathBuf::from(modules.join("/") + ".rs");
    let is_defined = |text: &str| ["(", "<"].iter().any(|next| text.contains(&format!("fn {function}{next}")));
    sources.iter().any(|(source, text)| is_file(source, &file) && is_defined(text))
}

#[test]
fn every_function_and_test_of_the_protocol_page_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(here.join("../../docs/protocol.md")).unwrap();
    let (of_crate, of_tests) = (sources(here.join("src")), sources(here.join("../../tests")));
    let in_crate = |path: &str| exists(path, &of_crate, |source, file| source == file);
    let in_tests = |path: &str| exists(path, &of_tests, |source, file| source.ends_with(file));

    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| document") && !line.starts_with("| ---"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, _, functions, tests] = cells[..] else { panic!("not four cells: {row}") };
        assert!(!paths(functions).is_empty() && !paths(tests).is_empty(), "no function or no test: {row}");
        for function in paths(functions) {
            assert!(in_crate(function), "no function {function}: {row}");
        }
        for test in paths(tests) {
            assert!(in_crate(test) || in_tests(test), "no test {test}: {row}");
        }
        count += 1;
    }
    assert!(count > 50, "only {count} rows were read");
}
