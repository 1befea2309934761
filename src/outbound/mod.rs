//! Outbound connections: the only place that decides which hosts, addresses, schemes, redirects, proxies and rates are
//! permitted, for the HTTP client and for object stores.
//!
//! | decision | file |
//! | --- | --- |
//! | addresses to which a site may lead | [`reach`], which uses the classes of [`address`] |
//! | permitted URLs and redirects | [`url`] |
//! | the proxy | [`proxy`] |
//! | limits of time and speed | [`pace`] |
//! | connections of the HTTP client | [`agent`] |
//! | requests to object stores: no redirects, no `Referer` | `object_store` |
//!
//! No other module makes a connection.

pub mod address;
pub mod agent;
#[cfg(feature = "bucket")]
pub mod object_store;
pub mod pace;
pub mod proxy;
pub mod reach;
pub mod url;
