//! Tests of organizations and identities: loading, judging, signing, and the YAML that describes them.

mod certificates;
mod folders;
mod identities;
mod issuer;
#[cfg(target_os = "linux")]
mod limits;
mod organisations;
#[cfg(target_os = "linux")]
#[path = "../common/own_process.rs"]
mod own_process;
mod signing;
mod yaml;
