//! The transport that carries the streams: `--transport`.

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, ValueEnum};
#[cfg(feature = "c-core")]
use fabric_gossip::transport::c_core;
#[cfg(feature = "http2")]
use fabric_gossip::transport::http2;
use fabric_gossip::transport::{Limits, Tls, Transport};
use std::ffi::OsStr;
use std::sync::Arc;

#[cfg(not(any(feature = "http2", feature = "c-core")))]
compile_error!("the tool needs a transport: enable the feature http2 or c-core");

/// The names of all transports, which are also the names of their features.
const NAMES: [&str; 2] = ["http2", "c-core"];

/// A transport that is compiled in. The first one is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TransportKind {
    /// HTTP/2 by nghttp2, TLS by OpenSSL
    #[cfg(feature = "http2")]
    Http2,
    /// gRPC's C core
    #[cfg(feature = "c-core")]
    CCore,
}

impl TransportKind {
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "http2")]
            TransportKind::Http2 => "http2",
            #[cfg(feature = "c-core")]
            TransportKind::CCore => "c-core",
        }
    }

    /// Creates the transport; without `tls`, in plain text.
    pub fn create(self, tls: Option<Tls>, limits: Limits) -> fabric_gossip::Result<Arc<dyn Transport>> {
        Ok(match self {
            #[cfg(feature = "http2")]
            TransportKind::Http2 => Arc::new(http2::Http2Transport::new(tls, limits, http2::Options::default())?),
            #[cfg(feature = "c-core")]
            TransportKind::CCore => Arc::new(c_core::CoreTransport::new(tls, limits, c_core::Options::default())?),
        })
    }

    /// Returns the name, with the version of the library underneath.
    fn described(self) -> String {
        match self {
            #[cfg(feature = "http2")]
            TransportKind::Http2 => format!("{} with nghttp2 {}", self.name(), http2::nghttp2_version()),
            #[cfg(feature = "c-core")]
            TransportKind::CCore => format!("{} with gRPC C core {}", self.name(), c_core::core_version()),
        }
    }
}

/// The first one that is compiled in.
impl Default for TransportKind {
    fn default() -> Self {
        TransportKind::value_variants()[0]
    }
}

impl std::fmt::Display for TransportKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Returns the transports that are compiled in, for `--version`.
pub fn compiled_in() -> String {
    let described: Vec<_> = TransportKind::value_variants().iter().map(|kind| kind.described()).collect();
    format!("transports: {}; {}", described.join(", "), openssl::version::version())
}

/// Parses the name of a transport. One that is not compiled in is an error that names the command to build it.
#[derive(Clone)]
pub struct TransportParser;

impl TypedValueParser for TransportParser {
    type Value = TransportKind;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<TransportKind, clap::Error> {
        let parser = EnumValueParser::<TransportKind>::new();
        parser.parse_ref(command, arg, value).map_err(|invalid| match NAMES.iter().find(|name| value == **name) {
            None => invalid,
            Some(name) => clap::Error::raw(
                ErrorKind::InvalidValue,
                format!(
                    "the transport {name} is not compiled in: it needs the feature {name} \
                     (cargo build --release -p fabric-gossip-cli --features {name})\n"
                ),
            )
            .with_cmd(command),
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(TransportKind::value_variants().iter().filter_map(ValueEnum::to_possible_value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transport_has_the_name_of_its_feature() {
        for kind in TransportKind::value_variants() {
            assert!(NAMES.contains(&kind.name()));
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.name());
        }
    }

    #[test]
    fn a_transport_that_is_not_compiled_in_is_an_error_with_the_build_command() {
        let parse = |name: &str| TransportParser.parse_ref(&Command::new("test"), None, OsStr::new(name));
        for name in NAMES {
            match TransportKind::value_variants().iter().find(|kind| kind.name() == name) {
                Some(kind) => assert_eq!(parse(name).unwrap(), *kind),
                None => assert!(parse(name).unwrap_err().to_string().contains(&format!("--features {name}"))),
            }
        }
        assert!(parse("tcp").unwrap_err().to_string().contains("invalid value"));
    }
}
