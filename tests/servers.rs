//! What web servers do with a site: one set of HTTP checks for all of them, and a consumer that walks the site from each.

#[path = "support"]
mod support {
    pub mod consumer;
    pub mod fixtures;
    pub mod http;
    pub mod nginx;
    pub mod preview;
}

mod servers {
    mod checks;
    mod conformity;
    mod nginx;
    mod seed;
    mod walk;
}
