//! Tests of organizations and identities: loading, judging, signing, and the YAML that describes them.

mod certificates;
mod folders;
mod identities;
mod issuer;
mod organisations;
mod signing;
mod yaml;
