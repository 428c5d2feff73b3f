//! The transport of a configuration.

use super::config::gossip_config;
use super::error::Outcome;
#[cfg(feature = "c-core")]
use gossip::transport::c_core::CoreTransport;
#[cfg(feature = "http2")]
use gossip::transport::http2::Http2Transport;
use gossip::transport::Transport;
use std::sync::Arc;

#[cfg(not(any(feature = "c-core", feature = "http2")))]
compile_error!("the C interface needs a transport: enable the feature c-core or http2");

/// A transport that is compiled in. The first one is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    #[cfg(feature = "c-core")]
    CCore,
    #[cfg(feature = "http2")]
    Http2,
}

impl Default for Kind {
    fn default() -> Self {
        COMPILED_IN[0].1
    }
}

/// The names are also those of the features.
const COMPILED_IN: &[(&str, Kind)] = &[
    #[cfg(feature = "c-core")]
    ("c-core", Kind::CCore),
    #[cfg(feature = "http2")]
    ("http2", Kind::Http2),
];

impl Kind {
    pub fn named(name: &str) -> Outcome<Kind> {
        if let Some((_, kind)) = COMPILED_IN.iter().find(|(known, _)| *known == name) {
            return Ok(*kind);
        }
        Err(super::invalid(match name {
            "c-core" | "http2" => format!("the library was built without the transport {name} (feature {name})"),
            _ => format!("unknown transport {name:?}: expected http2 or c-core"),
        }))
    }
}

/// Creates the transport that a configuration describes.
pub(super) fn create(config: &gossip_config) -> gossip::Result<Arc<dyn Transport>> {
    let (tls, limits) = (config.tls.clone(), config.limits.clone());
    Ok(match config.transport {
        #[cfg(feature = "c-core")]
        Kind::CCore => Arc::new(CoreTransport::new(tls, limits, config.c_core.clone())?),
        #[cfg(feature = "http2")]
        Kind::Http2 => Arc::new(Http2Transport::new(tls, limits, config.http2.clone())?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_is_found_by_its_name_if_it_is_compiled_in() {
        for name in ["c-core", "http2"] {
            match COMPILED_IN.iter().find(|(known, _)| *known == name) {
                Some((_, kind)) => assert_eq!(Kind::named(name).ok(), Some(*kind)),
                None => assert!(Kind::named(name).is_err()),
            }
        }
        assert!(Kind::named("tcp").is_err());
    }

    #[test]
    #[cfg(feature = "c-core")]
    fn the_default_is_the_c_core_where_it_is_compiled_in() {
        assert_eq!(Kind::default(), Kind::CCore);
    }
}
