//! `ocisite publish`, driven from outside: what it accepts, what it refuses and how, and what it leaves on disk.

mod bad_config;
mod bad_layouts;
mod bad_names;
mod bad_paths;
mod bad_sites;
mod faults;
mod graph;
mod list_changed;
mod memory;
mod merge;
mod planted;
mod printed;
mod private_state;
mod recheck;
mod ref_indexes;
mod reports;
mod safety;
mod selection;
mod tree;
