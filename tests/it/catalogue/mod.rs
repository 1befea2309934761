//! The catalogue: what its pages and documents say, what a publish writes of them, and how they behave in a browser.

mod browser;
mod copies;
mod pages;
mod site;
mod switches;
mod templates;
mod writes;
