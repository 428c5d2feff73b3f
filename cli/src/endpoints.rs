//! The addresses and endpoints of `peer`, each with the flag or setting that it came from.

use crate::address;
use crate::failure::Result;
use crate::keys::{self, Key};
use crate::settings::Settings;
use crate::values::{listen_address, reachable, target, Endpoint};
use clap::Args;

/// Where to listen, what to publish, and whom to contact first.
#[derive(Args, Clone, Debug)]
pub struct EndpointArgs {
    /// Where to listen, host:port; port 0 takes a free one [CORE_PEER_LISTENADDRESS, else 127.0.0.1:0]
    #[arg(long, value_name = "H:P", value_parser = listen_address)]
    listen: Option<Endpoint>,
    /// Endpoint at which peers of our organisation reach us [CORE_PEER_GOSSIP_ENDPOINT, else CORE_PEER_ADDRESS, else
    /// the listening address; an address of all interfaces is replaced by the one detected]
    #[arg(long, value_name = "H:P", value_parser = reachable)]
    endpoint: Option<Endpoint>,
    /// Endpoint at which peers of other organisations reach us; without one they neither see us nor send us their
    /// membership [CORE_PEER_GOSSIP_EXTERNALENDPOINT]
    #[arg(long, value_name = "H:P", value_parser = reachable)]
    external_endpoint: Option<Endpoint>,
    /// A peer of our organisation to contact first; repeatable [CORE_PEER_GOSSIP_BOOTSTRAP]
    #[arg(long, value_name = "H:P", value_parser = target)]
    bootstrap: Vec<Endpoint>,
}

/// A value, and the flag, variable or key that it came from.
#[derive(Clone, Debug)]
pub struct Sourced<T> {
    pub value: T,
    pub source: String,
}

/// The resolved addresses and endpoints.
pub struct Endpoints {
    pub listen: Sourced<Endpoint>,
    pub endpoint: Sourced<Endpoint>,
    pub external: Option<Sourced<Endpoint>>,
    /// May be empty.
    pub bootstrap: Sourced<Vec<Endpoint>>,
}

/// Source of a value that is set nowhere.
const DEFAULT: &str = "default";

impl EndpointArgs {
    pub fn resolve(&self, settings: &Settings) -> Result<Endpoints> {
        let listen = choose(&self.listen, keys::LISTEN_ADDRESS, settings, listen_address)?.unwrap_or_else(|| {
            let value = Endpoint { host: "127.0.0.1".into(), port: 0 };
            Sourced { value, source: DEFAULT.to_owned() }
        });
        let endpoint = match choose(&self.endpoint, keys::GOSSIP_ENDPOINT, settings, reachable)? {
            Some(endpoint) => endpoint,
            None => self.published(&listen, settings)?,
        };
        let external = choose(&self.external_endpoint, keys::GOSSIP_EXTERNAL_ENDPOINT, settings, reachable)?;
        Ok(Endpoints { listen, endpoint, external, bootstrap: self.bootstrap(settings)? })
    }

    /// Returns the endpoint to publish where none is given.
    fn published(&self, listen: &Sourced<Endpoint>, settings: &Settings) -> Result<Sourced<Endpoint>> {
        let value = address::published(&listen.value, settings)?;
        let address = settings.parsed(keys::ADDRESS, listen_address)?;
        let (given, source) = match &address {
            Some(address) => (address, settings.source(keys::ADDRESS)),
            None => (&listen.value, listen.source.clone()),
        };
        if self.listen.is_some() && value.port != listen.value.port {
            log::warn!(
                "publishing {value}, from {source}, although we listen on {}; to change it, set --endpoint",
                listen.value
            );
        }
        let source = if value.host == given.host { source } else { format!("{source}, address detected") };
        Ok(Sourced { value, source })
    }

    fn bootstrap(&self, settings: &Settings) -> Result<Sourced<Vec<Endpoint>>> {
        let key = keys::GOSSIP_BOOTSTRAP;
        if !self.bootstrap.is_empty() {
            return Ok(Sourced { value: self.bootstrap.clone(), source: key.flag().to_owned() });
        }
        let endpoints = settings.list(key)?.into_iter().map(|text| match target(&text) {
            Err(why) if text.contains(',') => {
                Err(settings.wrong(key, &text, &format!("{why}; separate several with spaces")))
            }
            endpoint => endpoint.map_err(|why| settings.wrong(key, &text, &why)),
        });
        let value = endpoints.collect::<Result<Vec<_>>>()?;
        let source = if value.is_empty() { DEFAULT.to_owned() } else { settings.source(key) };
        Ok(Sourced { value, source })
    }
}

/// Returns the value of a flag, else that of the setting.
fn choose(
    flag: &Option<Endpoint>,
    key: Key,
    settings: &Settings,
    parse: impl FnOnce(&str) -> Result<Endpoint, String>,
) -> Result<Option<Sourced<Endpoint>>> {
    if let Some(endpoint) = flag {
        return Ok(Some(Sourced { value: endpoint.clone(), source: key.flag().to_owned() }));
    }
    let value = settings.parsed(key, parse)?;
    Ok(value.map(|value| Sourced { value, source: settings.source(key) }))
}
