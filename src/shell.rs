//! Quotes commands for a shell. Names, refs and paths in them are untrusted, so each word of a command is quoted here,
//! on pages, in results and in messages; and a program takes none of them for an option.

use std::fmt;

use crate::terminal::is_printable;

/// A command line for a POSIX shell.
#[derive(Debug)]
pub struct CommandLine {
    words: String,
    /// What stands behind `--`, from which on no word is an option.
    last: String,
}

impl CommandLine {
    /// The words that have the meaning that they seem to have: a program and its options.
    pub fn new<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> CommandLine {
        CommandLine { words: String::new(), last: String::new() }.words(words)
    }

    /// Further words such as those of [`CommandLine::new`].
    pub fn words<W: AsRef<str>>(mut self, words: impl IntoIterator<Item = W>) -> CommandLine {
        for word in words {
            push(&mut self.words, word.as_ref());
        }
        self
    }

    /// A path, also as the value of an option: `-v` becomes `./-v`.
    pub fn path(mut self, path: &str) -> CommandLine {
        match path.starts_with('-') {
            true => push(&mut self.words, &format!("./{path}")),
            false => push(&mut self.words, path),
        }
        self
    }

    /// The one name among the arguments. A name that begins with a hyphen stands at the end, behind `--`.
    pub fn name(mut self, name: &str) -> CommandLine {
        match name.starts_with('-') {
            true => self.last = format!(" -- {}", quote(name)),
            false => push(&mut self.words, name),
        }
        self
    }
}

fn push(words: &mut String, word: &str) {
    if !words.is_empty() {
        words.push(' ');
    }
    words.push_str(&quote(word));
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.words, self.last)
    }
}

/// An option with its value, which begins with no hyphen where it is a word of its own.
pub fn option(name: &str, value: &str) -> String {
    if value.starts_with('-') { quote(&format!("{name}={value}")) } else { format!("{name} {}", quote(value)) }
}

/// A word that a POSIX shell reads back unchanged. Words with special characters are put in single quotes. The terminal replaces
/// characters that are not printable: a word that has one is written with escapes (`$'…'` of POSIX.1-2024, section 2.2.4, which
/// bash, zsh and ksh know).
pub fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@%+=,-".contains(&byte);
    // To zsh, `=NAME` is the path of a program.
    if !word.is_empty() && !word.starts_with('=') && word.bytes().all(is_plain) {
        word.into()
    } else if word.chars().all(is_pasted) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        format!("$'{}'", word.chars().map(escaped).collect::<String>())
    }
}

/// Whether a terminal shows a character as it is, and a shell takes it when it is pasted: a pasted tab completes a word.
fn is_pasted(character: char) -> bool {
    character != '\t' && is_printable(character)
}

/// A character between `$'` and `'`. Octal escapes end after three digits in every shell.
fn escaped(character: char) -> String {
    match character {
        '\'' | '\\' => format!("\\{character}"),
        _ if is_pasted(character) => character.into(),
        _ => character.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\{byte:03o}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::printable;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_no_option() {
        let command = CommandLine::new(["ocisite", "serve"]).path("-v").path("my site");
        assert_eq!(command.to_string(), "ocisite serve ./-v 'my site'");
    }

    #[test]
    fn a_word_is_no_path_of_a_program() {
        assert_eq!(CommandLine::new(["ocisite", "gc"]).path("=web").to_string(), "ocisite gc '=web'");
        assert_eq!(quote("a=b"), "a=b");
    }

    #[test]
    fn a_name_is_no_option() {
        let pull = |name| CommandLine::new(["ocisite", "pull"]).name(name).words(["--to", "app"]).to_string();
        assert_eq!(pull("example.com/app"), "ocisite pull example.com/app --to app");
        assert_eq!(pull("-a.example/app#1"), "ocisite pull --to app -- '-a.example/app#1'");
    }

    #[test]
    fn a_value_is_no_option() {
        assert_eq!(option("--allow-private", "$x.example"), "--allow-private '$x.example'");
        assert_eq!(option("--allow-private", "-$x.example"), "'--allow-private=-$x.example'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_a_shown_word_back(word in "[a-c0-7 #'\"$`\\\\!&;<>(){}*?~\n\t\u{1b}\u{7f}\u{202e}\u{200d}é-]{1,12}") {
            let word = format!("x{word}");
            let script = format!("printf %s {}", quote(&word));
            let output = std::process::Command::new("bash").args(["-c", &printable(&script)]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
