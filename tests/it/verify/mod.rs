//! `ocisite verify`, `list`, `remove` and `gc`, driven from outside.

mod ambiguous;
mod broken_server;
mod broken_site;
mod copies;
mod faults;
mod full_disk;
mod good_site;
mod host_kind;
mod hostile;
mod killed;
mod live;
mod maintenance;
mod memory;
mod nested;
pub mod program;
mod races;
mod reports;
mod seed;
mod shared_store;
mod vanishing;
