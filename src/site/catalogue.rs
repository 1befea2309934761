//! The paths of the catalogue: pages for people, and the same facts as JSON for programs.
//!
//! Names end in `.html`, `.json`, `.css` and `.js`, so that any web server knows their media types. A page has the
//! path of its image's name. The directories above it never end in `.html` or `.json`, so the page of `app` cannot
//! collide with the directory of an image `app.html/tool`.

use std::sync::LazyLock;

use percent_encoding::{AsciiSet, utf8_percent_encode};
use regex::Regex;

use super::object::Kind;
use super::path::{NOT_PCHAR, PathError, SitePath};
use oci_discovery::digest::Digest;
use oci_discovery::name::ImageName;

/// The first segment of the catalogue's paths, but for two.
pub const ROOT: &str = "catalogue";
/// The page with the list of all images. Web servers look for this name in a directory.
pub const LIST_PAGE: &str = "index.html";
/// The list of all images, for programs.
pub const LIST: &str = "catalogue.json";
/// The style sheet of all pages.
pub const STYLE: &str = "catalogue/style.css";
/// The script of all pages.
pub const SCRIPT: &str = "catalogue/script.js";
/// The directory of pages and documents of images.
const IMAGES: &str = "catalogue/images/";
/// The directory of the documents that give the images with a layer.
pub const LAYERS: &str = "catalogue/layers/";

/// The endings of the files of an image.
const ENDINGS: [&str; 2] = [".html", ".json"];

/// Characters that are encoded in a segment of a URL in HTML: also those of `pchar` that have a meaning there, or in a URL without
/// a scheme.
const SEGMENT: &AsciiSet = &NOT_PCHAR.add(b'&').add(b'\'').add(b':');

/// The page of an image.
pub fn page_path(image: &ImageName) -> Result<SitePath, PathError> {
    image_path(image, "html")
}

/// The document of an image.
pub fn document_path(image: &ImageName) -> Result<SitePath, PathError> {
    image_path(image, "json")
}

/// The document with the images of a layer: one for all layers whose digests begin alike.
pub fn layers_path(layer: &Digest) -> Result<SitePath, PathError> {
    let start: String = layer.encoded().chars().take(2).collect();
    SitePath::new(&format!("{LAYERS}{}/{start}.json", layer.algorithm()))
}

/// The fixed paths, and their kinds.
pub const FILES: [(&str, Kind); 4] = [
    (LIST_PAGE, Kind::CataloguePage),
    (LIST, Kind::CatalogueDocument),
    (STYLE, Kind::CatalogueStyle),
    (SCRIPT, Kind::CatalogueScript),
];

/// The paths of images and layers as regular expressions, and their kinds.
pub const PATTERNS: [(&str, Kind); 2] = [
    (r"^catalogue/images/.+\.html$", Kind::CataloguePage),
    (r"^catalogue/(?:images|layers)/.+\.json$", Kind::CatalogueDocument),
];

#[expect(clippy::unwrap_used, reason = "constants of this program, compiled by its tests")]
static COMPILED: LazyLock<[(Regex, Kind); 2]> =
    LazyLock::new(|| PATTERNS.map(|(pattern, kind)| (Regex::new(pattern).unwrap(), kind)));

/// The kind of the object at a path, without a leading slash. None: the path is not of the catalogue.
pub fn kind(path: &str) -> Option<Kind> {
    if let Some((_, kind)) = FILES.iter().find(|(known, _)| *known == path) {
        return Some(kind.clone());
    }
    COMPILED.iter().find(|(pattern, _)| pattern.is_match(path)).map(|(_, kind)| kind.clone())
}

/// The relative URL from a page to the site's root: empty, or `../` repeated. Relative, so that the pages work below
/// any path.
pub fn way_to_root(from: &SitePath) -> String {
    "../".repeat(from.as_str().matches('/').count())
}

/// A path as a URL relative to the site's root.
pub fn url(path: &SitePath) -> String {
    let segments = path.as_str().split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string());
    segments.collect::<Vec<_>>().join("/")
}

fn image_path(image: &ImageName, ending: &str) -> Result<SitePath, PathError> {
    let decoded = SitePath::from_uri_path(image.path())?;
    let mut path = format!("{IMAGES}{}", image.host());
    let mut segments = decoded.as_str().split('/').peekable();
    while let Some(segment) = segments.next() {
        path.push('/');
        path.push_str(segment);
        if segments.peek().is_some() && looks_like_a_file(segment) {
            path.push('_');
        }
    }
    SitePath::new(&format!("{path}.{ending}"))
}

/// Whether a directory of this name could collide with a file, now or after another name gets an underscore. Case is
/// ignored, as by some file systems.
fn looks_like_a_file(segment: &str) -> bool {
    let lower = segment.to_lowercase();
    ENDINGS.iter().any(|ending| lower.trim_end_matches('_').ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_discovery::digest::Algorithm;
    use proptest::prelude::*;

    fn page(name: &str) -> SitePath {
        page_path(&ImageName::parse(name).unwrap()).unwrap()
    }

    #[test]
    fn a_page_lies_at_the_path_of_its_name() {
        assert_eq!(page("example.com/team/app").as_str(), "catalogue/images/example.com/team/app.html");
        assert_eq!(page("example.com/a.html/b").as_str(), "catalogue/images/example.com/a.html_/b.html");
        assert_eq!(way_to_root(&page("example.com/team/app")), "../../../../");
    }

    #[test]
    fn every_path_is_recognised() {
        let image = ImageName::parse("example.com/team/app").unwrap();
        let layers = layers_path(&Digest::of(Algorithm::Sha256, b"")).unwrap();
        assert_eq!(layers.as_str(), "catalogue/layers/sha256/e3.json");
        assert_eq!(kind(page_path(&image).unwrap().as_str()), Some(Kind::CataloguePage));
        for path in [document_path(&image).unwrap().as_str(), layers.as_str(), LIST] {
            assert_eq!(kind(path), Some(Kind::CatalogueDocument), "{path}");
        }
        for path in ["catalogue/images/x.svg", "catalogue/layers/x.html", "catalogue/other.html", "catalogue"] {
            assert_eq!(kind(path), None, "{path}");
        }
    }

    #[test]
    fn a_url_says_nothing_to_html_or_to_url_parsers() {
        assert_eq!(
            url(&page("example.com/a%22%3Cb%3E'&:%25")),
            "catalogue/images/example.com/a%22%3Cb%3E%27%26%3A%25.html"
        );
    }

    proptest! {
        #[test]
        fn no_page_stands_where_another_needs_a_directory(
            first in "(a|b|A|\\.html|\\.json|\\.HTML|_|/c){1,6}",
            second in "(a|b|A|\\.html|\\.json|\\.HTML|_|/c){1,6}",
        ) {
            let name = |path: &str| ImageName::new("example.com", path, None);
            if let (Ok(first), Ok(second)) = (name(&first), name(&second)) {
                let paths = |image| [page_path(image), document_path(image)].map(|path| path.map(|path| path.as_str().to_lowercase()));
                for one in paths(&first).into_iter().flatten() {
                    for other in paths(&second).into_iter().flatten() {
                        prop_assert!(!other.starts_with(&format!("{one}/")), "{one} {other}");
                        let same_name = first.path().eq_ignore_ascii_case(second.path());
                        prop_assert!(same_name || one != other, "{one} {other}");
                    }
                }
            }
        }
    }
}
