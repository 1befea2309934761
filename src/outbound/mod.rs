//! What leaves this machine, and how: the one place that decides which hosts, addresses, schemes, redirects, proxies and rates
//! are permitted, for the HTTP client and for object stores.
//!
//! | decision | file |
//! | --- | --- |
//! | which addresses a site may lead to | [`reach`], with what an address says by itself in [`address`] |
//! | which URLs are asked, and which redirects are followed | [`url`] |
//! | which proxy is used | [`proxy`] |
//! | how slow a server may be | [`pace`] |
//! | how the HTTP client connects | [`agent`] |
//! | how object stores are asked: no redirects, no `Referer` | `object_store` |
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
