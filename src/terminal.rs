//! The only place that writes to standard output and standard error.
//!
//! Refs, platforms, media types, paths and messages of servers are untrusted, and a terminal interprets them: an
//! escape sequence fills the clipboard or clears the screen, and a bidirectional control changes the apparent text.
//! Therefore everything is written line by line through [`printable`], which replaces such characters visibly, and
//! only this module ends a line. No other module writes to these streams.
//!
//! JSON is for programs. It keeps its values: the same characters become escapes of JSON.

#![allow(clippy::disallowed_methods, reason = "this module is what the others go through")]

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint};
use icu_properties::{CodePointMapData, CodePointSetData};
use serde::Serialize;

/// The most characters of a message's line. A hostile site can cause messages of megabytes.
const MAX_MESSAGE: usize = 4000;

#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
}

/// Whether a character is visible and unambiguous. Excluded are control characters but the tab, separators of lines
/// and paragraphs, format characters (with bidirectional controls), characters that are ignorable by default in
/// Unicode (fillers, joiners, variation selectors, tags), and noncharacters. The blank Braille pattern is excluded,
/// too.
pub fn is_printable(character: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    if matches!(character, '\t' | ' '..='~') {
        return true;
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(character);
    !matches!(category, Control | Format | LineSeparator | ParagraphSeparator)
        && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        && !CodePointSetData::new::<NoncharacterCodePoint>().contains(character)
        && character != '\u{2800}'
}

/// Appends a character, or its escape if it is not printable.
pub fn push_printable(text: &mut String, character: char) {
    match character {
        _ if is_printable(character) => text.push(character),
        _ if character.is_control() => text.extend(character.escape_debug()),
        _ => text.extend(character.escape_unicode()),
    }
}

/// Text for one line. Characters that are not printable become escapes such as `\u{1b}` and `\n`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_printable, push_printable)
}

/// Text of a page. Line ends are kept, and so are joiners and the variation selectors of emoji, without which words of
/// some scripts change.
pub fn printable_on_a_page(text: &str) -> Cow<'_, str> {
    let is_kept = |character| {
        matches!(character, '\n' | '\r' | '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}') || is_printable(character)
    };
    escaped(text, is_kept, push_printable)
}

/// The text, with the result of `escape` in place of each character that is not kept.
fn escaped(text: &str, is_kept: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if text.chars().all(&is_kept) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match is_kept(character) {
            true => escaped.push(character),
            false => escape(&mut escaped, character),
        }
    }
    Cow::Owned(escaped)
}

/// The first characters of a text, with a sign if more follow.
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    match text.char_indices().nth(limit) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Prints lines to standard output one by one, because they may be many and long. A closed pipe (`| head`) is no
/// error.
pub fn print<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Result<(), TerminalError> {
    write_out(|stdout| lines.into_iter().try_for_each(|line| writeln!(stdout, "{}", printable(line.as_ref()))))
}

/// Prints a JSON document to standard output. It is streamed, because it may be large.
pub fn print_json(value: &impl Serialize) -> Result<(), TerminalError> {
    write_out(|stdout| {
        let mut escaping = Escaping(stdout);
        serde_json::to_writer_pretty(&mut escaping, value)?;
        escaping.write_all(b"\n")
    })
}

/// Writes a message to standard error, as one line.
pub fn message(text: impl Display) {
    list(text, &[]);
}

/// Writes a message and a list that belongs to it, one item on each line. Items are indented, so that none looks like
/// a message.
pub fn list(text: impl Display, items: &[String]) {
    let colon = if items.is_empty() { "" } else { ":" };
    let mut lines = format!("ocisite: {}{colon}\n", printable_cut(&text.to_string()));
    for item in items {
        lines.extend(["  ", &printable_cut(item), "\n"]);
    }
    write_err(&lines);
}

/// Writes a line to standard error without a prefix: progress, and requests to the preview.
pub fn log(line: impl Display) {
    write_err(&format!("{}\n", printable_cut(&line.to_string())));
}

/// Whether standard error is a terminal, which can show progress bars.
pub fn shows_progress() -> bool {
    io::stderr().is_terminal()
}

fn printable_cut(line: &str) -> Cow<'_, str> {
    match cut(line, MAX_MESSAGE) {
        Cow::Borrowed(line) => printable(line),
        Cow::Owned(line) => Cow::Owned(printable(&line).into_owned()),
    }
}

/// Writes JSON with escapes in place of characters that are not printable. `serde_json` writes whole characters.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, json: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(json).map_err(io::Error::other)?;
        self.0.write_all(escaped_json(text).as_bytes())?;
        Ok(json.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escaped_json(json: &str) -> Cow<'_, str> {
    // Line feeds are between values only; in strings they are escaped.
    let is_kept = |character| character == '\n' || is_printable(character);
    escaped(json, is_kept, |escaped, character| {
        let mut units = [0; 2];
        escaped.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
    })
}

fn write_out(write: impl FnOnce(&mut BufWriter<StdoutLock<'_>>) -> io::Result<()>) -> Result<(), TerminalError> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(TerminalError::Write),
    }
}

/// In one write, because threads and programs may share the stream. If it is closed, an error could not be shown.
fn write_err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_and_not_sent() {
        for (text, shown) in [
            ("a\u{1b}]52;c;ZXZpbA==\u{7}b", "a\\u{1b}]52;c;ZXZpbA==\\u{7}b"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{7f}\r\n", "\\u{7f}\\r\\n"),
            ("nul\0", "nul\\0"),
            ("gpj\u{202e}exe\u{2066}", "gpj\\u{202e}exe\\u{2066}"),
            ("a\u{2028}b\u{200b}\u{feff}\u{e0041}", "a\\u{2028}b\\u{200b}\\u{feff}\\u{e0041}"),
            ("\u{110bd}\u{13430}\u{1bca0}", "\\u{110bd}\\u{13430}\\u{1bca0}"),
            ("\u{3164}\u{115f}\u{ffa0}\u{34f}", "\\u{3164}\\u{115f}\\u{ffa0}\\u{34f}"),
            ("\u{17b4}\u{180b}\u{2800}\u{fe0f}", "\\u{17b4}\\u{180b}\\u{2800}\\u{fe0f}"),
            ("\u{e0100}\u{e01ef}\u{e0080}\u{fdd0}", "\\u{e0100}\\u{e01ef}\\u{e0080}\\u{fdd0}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        let text = "linux/amd64 \"é e\u{301} 漢字 עברית हिन्दी ភាសាខ្មែរ မြန်မာ 한국어 ไทย 🦀\" \\ \t100 %";
        assert_eq!(printable(text), text);
        let lines = "one\r\n\u{202e}two\n\n\u{26a0}\u{fe0f}";
        assert_eq!(printable_on_a_page(lines), "one\r\n\\u{202e}two\n\n\u{26a0}\u{fe0f}");
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
    }

    proptest! {
        #[test]
        fn json_keeps_its_value(text in "[\u{0}-\u{9f}\u{2000}-\u{2070}\u{3164}\u{e0000}-\u{e0080}\\\\\"]{0,20}") {
            let mut json = Vec::new();
            serde_json::to_writer_pretty(Escaping(&mut json), &[&text]).unwrap();
            let json = String::from_utf8(json).unwrap();
            prop_assert!(json.chars().all(|character| character == '\n' || is_printable(character)));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [text]);
        }
    }
}
