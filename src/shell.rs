//! Commands that are shown to be pasted into a shell. Names, refs and paths in them come from elsewhere, so each word is quoted
//! here, wherever a command is shown: on pages, in results and in messages.

/// A command line of these words, for a POSIX shell.
pub fn command<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// A word as a POSIX shell reads it back unchanged. What is not plain is put in single quotes, in which nothing has a meaning
/// but the quote itself.
pub fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@%+=,-".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A path as an argument, which no program takes for an option.
pub fn path(path: &str) -> String {
    if path.starts_with('-') { format!("./{path}") } else { path.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_no_option() {
        assert_eq!(command(["ocisite", "serve", &path("-v"), &path("my site")]), "ocisite serve ./-v 'my site'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_a_quoted_word_back(word in "[a-c #'\"$`\\\\!&;<>(){}*?~\n-]{1,12}") {
            let word = format!("x{word}");
            let script = format!("printf %s {}", quote(&word));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
