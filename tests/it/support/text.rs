//! What may reach a terminal, said again without the program's own code.

use regex::Regex;

/// A ref, a type or a path that fills the clipboard, clears the screen, sets the title, uses C1, turns text around, has characters
/// of each kind that shows nothing, and begins lines of its own.
pub const HOSTILE: &str = "x\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{7f}\u{202e}\u{2066}\u{2028}\u{200b}\
     \u{3164}\u{110bd}\u{34f}\u{fe0f}\u{e0080}\u{fdd0}\u{2800}\nforged\r\nforged";

/// Fails when what was printed has more than text: our own line feeds and tabs are the only controls in it, and no line begins with what
/// [`HOSTILE`] says after a line feed.
pub fn assert_text(printed: &[u8]) {
    let printed = std::str::from_utf8(printed).expect("UTF-8");
    let forbidden = Regex::new(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{DI}\p{NChar}\u{2800}--[\n\t]]").unwrap();
    if let Some(found) = forbidden.find(printed) {
        panic!("{:?} reached the terminal in {printed:?}", found.as_str());
    }
    assert!(!printed.lines().any(|line| line.trim_start().starts_with("forged")), "a forged line in {printed}");
}
