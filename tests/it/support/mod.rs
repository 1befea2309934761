//! What the tests share: making layouts, running the program and web servers, speaking HTTP, and looking at sites.

pub mod consumer;
pub mod fixtures;
pub mod http;
pub mod layout;
pub mod many_refs;
pub mod memory;
pub mod namespace;
pub mod nginx;
pub mod preview;
pub mod program;
pub mod resolvers;
pub mod scene;
pub mod site;
pub mod soak;
pub mod strace;
pub mod text;
pub mod tools;
pub mod users;
pub mod web_server;
