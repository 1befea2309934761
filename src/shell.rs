//! Quotes commands for a shell. Names, refs and paths in them are untrusted, so each word of a command is quoted here,
//! on pages, in results and in messages.

use crate::terminal::is_printable;

/// A command line of these words, for a POSIX shell.
pub fn command<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// A word that a POSIX shell reads back unchanged. Words with special characters are put in single quotes. The terminal replaces characters that are not printable: a word that has one is written with escapes
/// (`$'…'` of POSIX.1-2024, section 2.2.4, which bash, zsh and ksh know).
pub fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@%+=,-".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
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

/// A path as an argument, which no program parses as an option.
pub fn path(path: &str) -> String {
    if path.starts_with('-') { format!("./{path}") } else { path.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::printable;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_no_option() {
        assert_eq!(command(["ocisite", "serve", &path("-v"), &path("my site")]), "ocisite serve ./-v 'my site'");
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
