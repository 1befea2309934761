//! `ocisite verify`, `list`, `remove` and `gc`, driven from outside.

mod support;

mod verify {
    mod broken_server;
    mod broken_site;
    mod good_site;
    mod housekeeping;
    mod killed;
    mod live;
    mod program;
    mod reports;
    mod seed;
}
