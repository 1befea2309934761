//! The catalogue: what its pages and documents say, what a publish writes of them, and how they behave in a browser.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "tests look at files, connections and output themselves"
)]

mod support;

mod catalogue {
    mod browser;
    mod copies;
    mod pages;
    mod site;
    mod switches;
    mod templates;
    mod writes;
}
