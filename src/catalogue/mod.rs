//! The catalogue: what a site has, for people as pages and for programs as JSON.
//!
//! The way is one way: manifests and configs become [`facts`], facts become an image's [`document`], and pages are rendered
//! from documents alone ([`page`]). So a page never says what the document does not, and a later publish takes what it does
//! not change from the documents that are there instead of reading every manifest again. Everything here is a function of
//! its input: no clock, no files, no order of publishing.

pub mod command;
pub mod document;
pub mod facts;
pub mod layers;
pub mod order;
pub mod outline;
pub mod page;
pub mod plan;
pub mod templates;

/// The version of the documents' form. A site whose list has another gets all of them anew.
pub const VERSION: u32 = 2;
