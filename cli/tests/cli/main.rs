//! The command-line tool, run as its users run it: exit codes, the shape of every line of JSON, and that it ends well.

#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/outcome.rs"]
mod outcome;
#[path = "cli/peers.rs"]
mod peers;
#[path = "cli/probing.rs"]
mod probing;
#[path = "cli/sending.rs"]
mod sending;
#[path = "cli/settings.rs"]
mod settings;
#[path = "cli/support.rs"]
mod support;
#[path = "cli/trust.rs"]
mod trust;
#[path = "cli/usage.rs"]
mod usage;
