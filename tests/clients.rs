//! Real clients pull from real servers: what they get is what the layouts have.

mod support;

mod clients {
    mod containerd;
    mod disk;
    mod pull;
}
