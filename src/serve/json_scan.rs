//! Finds the values at one path of a JSON text of any size, while the text is read.
//!
//! A preview answers many requests at once, so none may hold a whole document. The scanner keeps at most one string,
//! and its output contains every byte of the text, so that other parts can be copied unchanged. It does not validate:
//! text that is not JSON is also copied.

use std::io::{self, Read};

use oci_discovery::json;

/// The longest string that is compared or returned, in bytes. Templates, tags and media types are shorter.
const MAX_STRING: usize = 4096;
/// The bytes read at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// A step from a value to values in it.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The members of an object with one of these keys.
    Key(&'static [&'static str]),
    /// Every element of an array.
    Element,
}

/// A part of the text, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Other text.
    Text(&'a [u8]),
    /// A string at the end of the path, with its quotes and escapes.
    Match(&'a [u8]),
    /// The next byte begins an object or array on the path, with this depth.
    Begin(usize),
    /// The object or array ended with the previous byte.
    End(usize),
}

/// Reads a text and returns its parts.
pub fn scan(mut text: impl Read, path: &'static [Step], mut on: impl FnMut(Part) -> io::Result<()>) -> io::Result<()> {
    let mut scanner = Scanner { path, ..Scanner::default() };
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match text.read(&mut piece) {
            Ok(0) => return scanner.flush(&mut on),
            Ok(count) => scanner.feed(&piece[..count], &mut on)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[derive(Default)]
struct Scanner {
    path: &'static [Step],
    /// The number of open objects and arrays.
    depth: usize,
    /// The number of them, from the outermost, on the path.
    on_path: usize,
    /// The next string of the object on the path is a key.
    expects_key: bool,
    /// The latest key of the object on the path is the one of the path.
    is_key: bool,
    string: Option<Text>,
    /// The current string, if it is needed whole.
    token: Vec<u8>,
}

/// The current string.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Text {
    role: Role,
    /// The next byte is escaped.
    is_escaped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Key,
    Value,
    /// The string is not needed whole.
    Other,
}

impl Scanner {
    fn feed(&mut self, mut text: &[u8], on: &mut impl FnMut(Part) -> io::Result<()>) -> io::Result<()> {
        while !text.is_empty() {
            let taken = match self.string {
                Some(string) => self.feed_string(string, text, on)?,
                None => self.feed_structure(text, on)?,
            };
            text = text.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    fn feed_structure(&mut self, text: &[u8], on: &mut impl FnMut(Part) -> io::Result<()>) -> io::Result<usize> {
        let is_structure = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',');
        let Some(position) = text.iter().position(is_structure) else {
            on(Part::Text(text))?;
            return Ok(text.len());
        };
        let (before, rest) = text.split_at(position);
        let byte = &rest[..1];
        on(Part::Text(before))?;
        match byte {
            b"\"" => {
                let role = self.role();
                self.string = Some(Text { role, is_escaped: false });
                match role {
                    Role::Other => on(Part::Text(byte))?,
                    _ => self.token.extend(byte),
                }
            }
            b"{" | b"[" => {
                if self.begins_on_path(byte == b"{") {
                    on(Part::Begin(self.depth))?;
                    self.on_path += 1;
                    self.expects_key = byte == b"{";
                }
                self.depth += 1;
                on(Part::Text(byte))?;
            }
            b"}" | b"]" => {
                on(Part::Text(byte))?;
                let is_on_path = self.on_path == self.depth && self.depth > 0;
                self.depth = self.depth.saturating_sub(1);
                if is_on_path {
                    self.on_path -= 1;
                    on(Part::End(self.depth))?;
                }
            }
            _ => {
                self.expects_key |= matches!(self.step(), Some(Step::Key(_)));
                on(Part::Text(byte))?;
            }
        }
        Ok(position + 1)
    }

    /// The step from the innermost open object or array. None: it is not on the path.
    fn step(&self) -> Option<Step> {
        let inside = self.on_path == self.depth;
        self.path.get(self.depth.checked_sub(1).filter(|_| inside)?).copied()
    }

    /// Whether a value that begins now is on the path.
    fn is_value_on_path(&self) -> bool {
        match self.step() {
            Some(Step::Key(_)) => self.is_key && !self.expects_key,
            Some(Step::Element) => true,
            None => self.depth == 0,
        }
    }

    fn begins_on_path(&self, is_object: bool) -> bool {
        let fits = self.path.get(self.depth).is_some_and(|step| matches!(step, Step::Key(_)) == is_object);
        fits && self.is_value_on_path()
    }

    fn role(&self) -> Role {
        match self.step() {
            Some(Step::Key(_)) if self.expects_key => Role::Key,
            Some(_) if self.depth == self.path.len() && self.is_value_on_path() => Role::Value,
            _ => Role::Other,
        }
    }

    fn feed_string(
        &mut self,
        string: Text,
        text: &[u8],
        on: &mut impl FnMut(Part) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut at = usize::from(string.is_escaped);
        let mut end = None;
        while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
            at += found + 1;
            if text[at - 1] == b'"' {
                end = Some(at);
                break;
            }
            at += 1;
        }
        let taken = end.unwrap_or(text.len());
        self.string = end.is_none().then_some(Text { is_escaped: at > taken, ..string });
        let part = &text[..taken];
        if string.role == Role::Other {
            on(Part::Text(part))?;
        } else if self.token.len() + taken > MAX_STRING {
            self.flush(on)?;
            on(Part::Text(part))?;
            self.string = self.string.map(|string| Text { role: Role::Other, ..string });
            self.end_key(string.role, false);
        } else {
            self.token.extend(part);
            if end.is_some() {
                self.end_token(string.role, on)?;
            }
        }
        Ok(taken)
    }

    fn end_token(&mut self, role: Role, on: &mut impl FnMut(Part) -> io::Result<()>) -> io::Result<()> {
        if role == Role::Value {
            on(Part::Match(&self.token))?;
            self.token.clear();
            return Ok(());
        }
        let key = json::parse_string(&self.token);
        let is_key =
            matches!(self.step(), Some(Step::Key(keys)) if key.is_some_and(|key| keys.contains(&key.as_str())));
        self.end_key(role, is_key);
        self.flush(on)
    }

    fn end_key(&mut self, role: Role, is_key: bool) {
        if role == Role::Key {
            (self.expects_key, self.is_key) = (false, is_key);
        }
    }

    /// Returns the kept part of a string.
    fn flush(&mut self, on: &mut impl FnMut(Part) -> io::Result<()>) -> io::Result<()> {
        on(Part::Text(&self.token))?;
        self.token.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const URIS: &[Step] = &[
        Step::Key(&["manifests"]),
        Step::Element,
        Step::Key(&["a", "casEngines"]),
        Step::Element,
        Step::Key(&["uri"]),
    ];

    /// The strings at the path and the whole text, read in pieces of so many bytes.
    fn parts(text: &str, piece: usize) -> (Vec<String>, String) {
        let (mut found, mut whole) = (vec![], vec![]);
        let mut scanner = Scanner { path: URIS, ..Scanner::default() };
        let mut on = |part: Part| {
            match part {
                Part::Text(text) => whole.extend(text),
                Part::Match(token) => {
                    whole.extend(token);
                    found.push(serde_json::from_slice(token).unwrap());
                }
                Part::Begin(_) | Part::End(_) => {}
            }
            Ok(())
        };
        text.as_bytes().chunks(piece).for_each(|piece| scanner.feed(piece, &mut on).unwrap());
        scanner.flush(&mut on).unwrap();
        (found, String::from_utf8(whole).unwrap())
    }

    #[test]
    fn only_strings_at_the_path_are_found() {
        let text = r#" {"uri":"0","x":{"manifests":[{"a":[{"uri":"1"}]}]}, "manifests" : [ {"uri":"2","a":[{"b":"3",
            "uri":"4\"\\","uri":["5"],"c":{"uri":"6"}},["7"]], "\u0061":[{"uri":"8"}] ,"a":{"uri":"9"}}, "10",
            {"casEngines":[{"uri":"\u0031\u0031"},{"uri":7,"d":"uri"},{"d":["uri"],"uri":"12"}]}],"a":[{"uri":"13"}]}"#;
        for piece in 1..20 {
            let (found, whole) = parts(text, piece);
            assert_eq!(found, ["4\"\\", "8", "11", "12"], "in pieces of {piece}");
            assert_eq!(whole, text);
        }
    }

    #[test]
    fn long_strings_are_passed_on() {
        let long = "x".repeat(MAX_STRING);
        let text = format!(r#"{{"manifests":[{{"{long}":1,"a":[{{"uri":"{long}"}},{{"uri":"y"}}]}}]}}"#);
        for piece in [1, 1000, 100_000] {
            assert_eq!(parts(&text, piece), (vec!["y".to_string()], text.clone()));
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_out_as_it_went_in(text in r#"[a{}\[\]",:\\é]{0,40}"#, piece in 1..9_usize) {
            let whole = std::cell::RefCell::new(Vec::<u8>::new());
            let mut scanner = Scanner { path: URIS, ..Scanner::default() };
            let mut on = |part: Part| {
                if let Part::Text(text) | Part::Match(text) = part {
                    whole.borrow_mut().extend(text);
                }
                Ok(())
            };
            text.as_bytes().chunks(piece).for_each(|piece| scanner.feed(piece, &mut on).unwrap());
            scanner.flush(&mut on).unwrap();
            prop_assert_eq!(whole.into_inner(), text.into_bytes());
        }
    }
}
