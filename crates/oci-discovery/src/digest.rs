//! Digests: their grammar, the algorithms that image-spec registers, and a reader that checks while it reads.
//!
//! | rule | section | function |
//! | --- | --- | --- |
//! | `algorithm ":" encoded` | image-spec, descriptor, "Digests" | [`Digest::parse`] |
//! | the algorithms, with lower-case hexadecimal of a fixed length | image-spec, descriptor, "Registered algorithms" | [`Algorithm`] |
//! | content is verified against digest and size | image-spec, descriptor, "Verification" | [`VerifyingReader`] |
//!
//! File names and template values are made of digests, so a [`Digest`] is always a checked one. The grammar of
//! image-spec is wider than the registered algorithms, so that algorithms can be added. A digest that fits the grammar
//! and names another algorithm is [`DigestError::UnknownAlgorithm`]: the document is correct, and this crate is too old
//! for it.
//!
//! Bytes are checked when they are read: a [`VerifyingReader`] around a blob needs no second pass.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A digest algorithm that image-spec registers.
///
/// ```
/// use oci_discovery::digest::Algorithm;
///
/// assert_eq!("sha512".parse(), Ok(Algorithm::Sha512));
/// assert_eq!((Algorithm::Blake3.name(), Algorithm::Blake3.hex_len()), ("blake3", 64));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, required of every implementation.
    Sha256,
    /// SHA-512.
    Sha512,
    /// BLAKE3 with 256 bits of output.
    Blake3,
}

impl Algorithm {
    /// All registered algorithms.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha512, Self::Blake3];

    /// The name, as before the colon of a digest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }

    /// The number of hexadecimal digits after the colon.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake3 => 64,
            Self::Sha512 => 128,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(name: &str) -> Result<Self, DigestError> {
        Self::named(name)
            .ok_or_else(|| DigestError::UnknownAlgorithm { text: name.to_owned(), algorithm: name.to_owned() })
    }
}

/// A digest of a registered algorithm, such as `sha256:e3b0c442…`. Digests order as their texts do.
///
/// ```
/// use oci_discovery::digest::{Algorithm, Digest, DigestError};
///
/// let digest = Digest::of(Algorithm::Sha256, b"");
/// assert_eq!(digest.as_str(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
/// assert_eq!(Digest::parse(digest.as_str()), Ok(digest.clone()));
/// assert_eq!((digest.algorithm(), digest.encoded().len()), (Algorithm::Sha256, 64));
///
/// assert!(matches!(Digest::parse("sha256:../../etc"), Err(DigestError::EncodedGrammar { .. })));
/// assert!(matches!(Digest::parse("sha3-256:a7ff"), Err(DigestError::UnknownAlgorithm { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    // The first field, so that the derived order is that of the texts. Shared, because a graph, a plan and an index
    // keep the same digest.
    text: Arc<str>,
    algorithm: Algorithm,
}

impl Digest {
    /// Parses `algorithm:encoded` (image-spec, descriptor, "Digests").
    ///
    /// # Errors
    ///
    /// [`DigestError::UnknownAlgorithm`] for a well-formed digest of an unregistered algorithm; another [`DigestError`]
    /// for malformed text.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        if let Some(algorithm) = plain_algorithm(text) {
            return Ok(Self { text: text.into(), algorithm });
        }
        let (name, encoded) = check_grammar(text)?;
        let algorithm = Algorithm::named(name)
            .ok_or_else(|| DigestError::UnknownAlgorithm { text: text.to_owned(), algorithm: name.to_owned() })?;
        if let Some(offset) = encoded.find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(DigestError::NotLowerHex {
                text: text.to_owned(),
                column: column(text, name.len() + 1 + offset),
                algorithm,
            });
        }
        if encoded.len() != algorithm.hex_len() {
            return Err(DigestError::Length {
                text: text.to_owned(),
                algorithm,
                expected: algorithm.hex_len(),
                found: encoded.len(),
            });
        }
        Ok(Self { text: text.into(), algorithm })
    }

    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm, named before the colon.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal digits after the colon.
    pub fn encoded(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// The whole digest.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::hash::Hash for Digest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // The last 64 bits tell two digests apart as well as all of them do, in a quarter of the time.
        state.write(self.text.as_bytes().last_chunk::<16>().map_or(&[], <[u8; 16]>::as_slice));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.text.as_ref().into()
    }
}

/// Why a text is not a supported digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of a variant is its documentation; columns count characters from 1")]
pub enum DigestError {
    #[error("digest {text:?} has no colon; expected ALGORITHM:ENCODED, as in `sha256:` and 64 hexadecimal digits")]
    NoColon { text: String },
    #[error(
        "digest {text:?}, column {column}: the algorithm must consist of a-z and 0-9, with single `+`, `.`, `_` or \
         `-` between them"
    )]
    AlgorithmGrammar { text: String, column: usize },
    #[error(
        "digest {text:?}, column {column}: the part after the colon must consist of a-z, A-Z, 0-9, `=`, `_` and `-`"
    )]
    EncodedGrammar { text: String, column: usize },
    #[error("digest {text:?}: the algorithm {algorithm:?} is unknown; expected sha256, sha512 or blake3")]
    UnknownAlgorithm { text: String, algorithm: String },
    #[error("digest {text:?}, column {column}: {algorithm} digests consist of 0-9 and lower-case a-f")]
    NotLowerHex { text: String, column: usize, algorithm: Algorithm },
    #[error("digest {text:?}: expected {expected} hexadecimal digits for {algorithm}, found {found}")]
    Length { text: String, algorithm: Algorithm, expected: usize, found: usize },
}

/// The algorithm of a well-formed digest; none for other text, which [`Digest::parse`] then diagnoses rule by rule. A
/// layout has many digests, nearly all of them well-formed, and this check reads each character once.
fn plain_algorithm(text: &str) -> Option<Algorithm> {
    let (name, encoded) = text.split_once(':')?;
    let algorithm = Algorithm::named(name)?;
    let is_hex = encoded.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hex && encoded.len() == algorithm.hex_len()).then_some(algorithm)
}

/// Splits `text` at its colon if it fits the grammar `algorithm ":" encoded` (image-spec, descriptor, "Digests").
fn check_grammar(text: &str) -> Result<(&str, &str), DigestError> {
    let Some((algorithm, encoded)) = text.split_once(':') else {
        return Err(DigestError::NoColon { text: text.to_owned() });
    };
    if let Some(byte) = algorithm_fault(algorithm) {
        return Err(DigestError::AlgorithmGrammar { text: text.to_owned(), column: column(text, byte) });
    }
    let is_encoded = |c: char| c.is_ascii_alphanumeric() || matches!(c, '=' | '_' | '-');
    let fault = match encoded.is_empty() {
        true => Some(0),
        false => encoded.find(|c| !is_encoded(c)),
    };
    match fault {
        Some(byte) => {
            Err(DigestError::EncodedGrammar { text: text.to_owned(), column: column(text, algorithm.len() + 1 + byte) })
        }
        None => Ok((algorithm, encoded)),
    }
}

/// The first byte at which `algorithm` breaks `component *( separator component )`.
fn algorithm_fault(algorithm: &str) -> Option<usize> {
    let mut component_is_empty = true;
    for (byte, c) in algorithm.char_indices() {
        match c {
            'a'..='z' | '0'..='9' => component_is_empty = false,
            '+' | '.' | '_' | '-' if !component_is_empty => component_is_empty = true,
            _ => return Some(byte),
        }
    }
    component_is_empty.then_some(algorithm.len())
}

fn column(text: &str, byte: usize) -> usize {
    text[..byte].chars().count() + 1
}

/// Computes the digest of a stream of bytes.
///
/// ```
/// use oci_discovery::digest::{Algorithm, Digest, Hasher};
///
/// let mut hasher = Hasher::new(Algorithm::Sha512);
/// hasher.update(b"hello ");
/// std::io::copy(&mut &b"world"[..], &mut hasher)?;
/// assert_eq!(hasher.finish(), Digest::of(Algorithm::Sha512, b"hello world"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    // Boxed: its tree of chaining values takes two kilobytes, ten times the size of the others.
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// A hasher of no bytes yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
            Algorithm::Blake3 => State::Blake3(Box::default()),
        })
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
            State::Blake3(state) => {
                state.update(bytes);
            }
        }
    }

    /// The digest of all added bytes.
    pub fn finish(self) -> Digest {
        let (algorithm, encoded) = match self.0 {
            State::Sha256(state) => (Algorithm::Sha256, hex::encode(state.finalize())),
            State::Sha512(state) => (Algorithm::Sha512, hex::encode(state.finalize())),
            State::Blake3(state) => (Algorithm::Blake3, hex::encode(state.finalize().as_bytes())),
        };
        Digest { text: format!("{algorithm}:{encoded}").into(), algorithm }
    }
}

/// Hashes what is written.
impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes bytes through, and fails unless they have the digest and the size of a descriptor (image-spec, descriptor,
/// "Verification").
///
/// Read until `Ok(0)`: the digest is compared at the end of the input. A caller that stops earlier, even after `size`
/// bytes, has verified nothing, and [`is_verified`](Self::is_verified) is false. No byte beyond `size` is passed on.
/// The error is an [`io::Error`] of kind [`InvalidData`](io::ErrorKind::InvalidData) around a [`ContentError`], which
/// [`ContentError::of`] returns. A reader that failed keeps failing.
///
/// ```
/// use std::io::Read;
/// use oci_discovery::digest::{Algorithm, ContentError, Digest, VerifyingReader};
///
/// let digest = Digest::of(Algorithm::Sha256, b"layer");
/// let mut bytes = Vec::new();
/// VerifyingReader::new(&b"layer"[..], &digest, 5).read_to_end(&mut bytes)?;
///
/// let error = VerifyingReader::new(&b"liar!"[..], &digest, 5).read_to_end(&mut bytes).unwrap_err();
/// assert!(matches!(ContentError::of(&error), Some(ContentError::Mismatch { expected, .. }) if *expected == digest));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct VerifyingReader<R: Read> {
    inner: R,
    expected: Digest,
    size: u64,
    read: u64,
    hasher: Hasher,
    /// Set when the input ended or exceeded `size`.
    verdict: Option<Result<(), ContentError>>,
}

impl<R: Read> VerifyingReader<R> {
    /// A reader that expects `size` bytes with the digest `expected`.
    pub fn new(inner: R, expected: &Digest, size: u64) -> Self {
        let hasher = Hasher::new(expected.algorithm());
        Self { inner, expected: expected.clone(), size, read: 0, hasher, verdict: None }
    }

    /// Whether the input ended and has the expected digest and size.
    pub fn is_verified(&self) -> bool {
        self.verdict == Some(Ok(()))
    }

    /// The inner reader, at its current position.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The verdict if the input ends here.
    fn judge(&self) -> Result<(), ContentError> {
        if self.read < self.size {
            let digest = self.expected.clone();
            return Err(ContentError::TooShort { digest, expected: self.size, found: self.read });
        }
        let found = self.hasher.clone().finish();
        if found != self.expected {
            return Err(ContentError::Mismatch { expected: self.expected.clone(), found });
        }
        Ok(())
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // An empty buffer reads nothing whether or not the input has ended.
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.verdict.is_none() {
            let count = self.inner.read(buffer)?;
            if count as u64 > self.size - self.read {
                let digest = self.expected.clone();
                self.verdict = Some(Err(ContentError::TooLong { digest, expected: self.size }));
            } else if count > 0 {
                self.hasher.update(buffer.get(..count).unwrap_or_default());
                self.read += count as u64;
                return Ok(count);
            } else {
                self.verdict = Some(self.judge());
            }
        }
        match &self.verdict {
            Some(Err(error)) => Err(error.clone().into()),
            _ => Ok(0),
        }
    }
}

/// How content differs from its descriptor; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of a variant is its documentation")]
pub enum ContentError {
    #[error("content of {digest}: expected {expected} bytes, found more")]
    TooLong { digest: Digest, expected: u64 },
    #[error("content of {digest}: expected {expected} bytes, found {found}")]
    TooShort { digest: Digest, expected: u64, found: u64 },
    #[error("content does not match its digest: expected {expected}, found {found}")]
    Mismatch { expected: Digest, found: Digest },
}

impl ContentError {
    /// The content error inside an I/O error, if there is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

impl From<ContentError> for io::Error {
    fn from(error: ContentError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY_SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const EMPTY_SHA512: &str = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce\
                                47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";
    const EMPTY_BLAKE3: &str = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    #[test]
    fn the_digests_of_nothing_are_the_published_ones() {
        for (algorithm, text) in Algorithm::ALL.into_iter().zip([EMPTY_SHA256, EMPTY_SHA512, EMPTY_BLAKE3]) {
            let digest = Digest::of(algorithm, b"");
            assert_eq!(digest.as_str(), text);
            assert_eq!(Digest::parse(text), Ok(digest.clone()));
            assert_eq!(format!("{}:{}", digest.algorithm(), digest.encoded()), text);
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
    }

    #[test]
    fn an_algorithm_from_the_future_is_told_apart_from_nonsense() {
        for (text, name) in [("sha3+b64u-256.x:Zm9v_-=", "sha3+b64u-256.x"), ("md5:00", "md5"), ("sha1:A", "sha1")] {
            let error = Digest::parse(text).unwrap_err();
            assert_eq!(error, DigestError::UnknownAlgorithm { text: text.into(), algorithm: name.into() });
            assert!(error.to_string().contains("expected sha256, sha512 or blake3"));
        }
    }

    #[test]
    fn what_is_no_digest_is_refused_with_the_place() {
        for (text, says) in [
            ("", "no colon"),
            (&EMPTY_SHA256[7..], "no colon"),
            (":00", "column 1: the algorithm"),
            ("SHA256:00", "column 1: the algorithm"),
            ("sha256+:00", "column 8: the algorithm"),
            ("a++b:00", "column 3: the algorithm"),
            ("../x:00", "column 1: the algorithm"),
            ("sha256:", "column 8: the part after the colon"),
            ("sha256:ab/../cd", "column 10: the part after the colon"),
            ("sha256:é", "column 8: the part after the colon"),
            ("sha256:a:b", "column 9: the part after the colon"),
            (&EMPTY_SHA256.replace("e3b0", "E3b0"), "column 8: sha256 digests consist of 0-9 and lower-case a-f"),
            (&EMPTY_SHA256.replace("b855", "b85g"), "column 71: sha256 digests consist of 0-9 and lower-case a-f"),
            (&EMPTY_SHA256[..70], "expected 64 hexadecimal digits for sha256, found 63"),
            (&format!("{EMPTY_BLAKE3}0"), "expected 64 hexadecimal digits for blake3, found 65"),
            (&EMPTY_SHA512[..71], "expected 128 hexadecimal digits for sha512, found 64"),
        ] {
            let message = Digest::parse(text).unwrap_err().to_string();
            assert!(message.contains(says), "{message} does not say {says}");
            assert!(message.contains(&format!("{text:?}")), "{message} does not name {text:?}");
        }
    }

    #[test]
    fn json_holds_a_digest_as_a_string_and_checks_it() {
        let digest: Digest = serde_json::from_value(EMPTY_SHA256.into()).unwrap();
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("{EMPTY_SHA256:?}"));
        let error = serde_json::from_value::<Digest>("sha256:00".into()).unwrap_err();
        assert!(error.to_string().contains("expected 64 hexadecimal digits"), "{error}");
    }

    #[test]
    fn digests_order_as_their_texts_do() {
        let mut digests = [EMPTY_SHA512, EMPTY_BLAKE3, EMPTY_SHA256].map(|text| Digest::parse(text).unwrap());
        digests.sort();
        assert_eq!(digests.map(|digest| digest.to_string()), [EMPTY_BLAKE3, EMPTY_SHA256, EMPTY_SHA512]);
    }

    fn read(content: &[u8], expected: &Digest, size: u64) -> (Vec<u8>, Option<ContentError>, bool) {
        let mut reader = VerifyingReader::new(content, expected, size);
        let mut passed = Vec::new();
        let error = reader.read_to_end(&mut passed).err();
        let error = error.map(|error| ContentError::of(&error).expect("an error of ours").clone());
        (passed, error, reader.is_verified())
    }

    #[test]
    fn a_reader_tells_how_content_differs() {
        let digest = Digest::of(Algorithm::Sha256, b"hello");
        assert_eq!(read(b"hello", &digest, 5), (b"hello".into(), None, true));

        let (_, error, verified) = read(b"hell", &digest, 5);
        assert_eq!(error, Some(ContentError::TooShort { digest: digest.clone(), expected: 5, found: 4 }));
        assert!(!verified);

        let (passed, error, verified) = read(b"hello!", &digest, 5);
        assert_eq!(error, Some(ContentError::TooLong { digest: digest.clone(), expected: 5 }));
        assert!(passed.len() <= 5 && !verified);

        let (_, error, verified) = read(b"jello", &digest, 5);
        let found = Digest::of(Algorithm::Sha256, b"jello");
        assert_eq!(error, Some(ContentError::Mismatch { expected: digest, found }));
        assert!(!verified);
    }

    #[test]
    fn a_reader_has_verified_nothing_before_the_end() {
        let digest = Digest::of(Algorithm::Blake3, b"hello");
        let mut reader = VerifyingReader::new(&b"hello"[..], &digest, 5);

        let mut all = [0; 5];
        reader.read_exact(&mut all).unwrap();
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        assert!(!reader.is_verified());

        assert_eq!(reader.read(&mut all).unwrap(), 0);
        assert!(reader.is_verified());
        assert!(reader.into_inner().is_empty());
    }

    #[test]
    fn a_reader_that_failed_keeps_failing() {
        let digest = Digest::of(Algorithm::Sha512, b"hello");
        let mut reader = VerifyingReader::new(&b"jello"[..], &digest, 5);
        let first = reader.read_to_end(&mut Vec::new()).unwrap_err();
        let second = reader.read(&mut [0]).unwrap_err();
        assert_eq!(ContentError::of(&first), ContentError::of(&second));
        assert_eq!(second.kind(), io::ErrorKind::InvalidData);
    }

    fn algorithm() -> impl Strategy<Value = Algorithm> {
        proptest::sample::select(Algorithm::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn hashing_in_pieces_is_hashing_at_once(
            algorithm in algorithm(),
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
        ) {
            let mut hasher = Hasher::new(algorithm);
            pieces.iter().for_each(|piece| hasher.update(piece));
            let digest = hasher.finish();
            prop_assert_eq!(&digest, &Digest::of(algorithm, &pieces.concat()));
            prop_assert_eq!(&Digest::parse(digest.as_str())?, &digest);
        }

        #[test]
        fn a_reader_accepts_exactly_what_was_promised(
            algorithm in algorithm(),
            promised in proptest::collection::vec(0..2u8, 0..6),
            size in 0..6u64,
            content in proptest::collection::vec(0..2u8, 0..6),
        ) {
            let (passed, error, verified) = read(&content, &Digest::of(algorithm, &promised), size);
            let right = content == promised && size == content.len() as u64;
            prop_assert_eq!(verified, right);
            prop_assert_eq!(error.is_none(), right);
            prop_assert!(content.starts_with(&passed) && passed.len() as u64 <= size);
        }

        #[test]
        fn any_text_is_a_digest_or_an_error(text in r"\PC{0,12}:?[a-zA-Z0-9=_/-]{0,12}") {
            if let Ok(digest) = Digest::parse(&text) {
                prop_assert_eq!(digest.as_str(), text);
            }
        }
    }
}
