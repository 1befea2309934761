//! What the tests of the program share: making layouts, running the program, and looking at sites.

pub mod layout;
pub mod program;
pub mod site;
