//! Real clients pull from real servers: what they get is what the layouts have.

mod support;

mod clients {
    mod disk;
    mod pull;
}
