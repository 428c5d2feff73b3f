//! The address that this machine publishes.

use crate::failure::{Failure, Result};
use crate::keys;
use crate::settings::Settings;
use crate::values::{listen_address, Endpoint};
use nix::ifaddrs::getifaddrs;
use std::net::Ipv4Addr;

/// Returns the endpoint to publish where none is given: `peer.address`, or the listening address. As in Fabric's peer,
/// an address that stands for all interfaces is replaced by the one detected, and so is any address if
/// `peer.addressAutoDetect` is set. Port 0 stands for the listener's port.
pub fn published(listen: &Endpoint, settings: &Settings) -> Result<Endpoint> {
    let configured = settings.parsed(keys::ADDRESS, listen_address)?;
    let Endpoint { host, port } = configured.unwrap_or_else(|| listen.clone());
    let endpoint = Endpoint { host, port };
    let detect = settings.boolean(keys::ADDRESS_AUTO_DETECT)?.unwrap_or(false);
    match detect || endpoint.is_unspecified() {
        true => Ok(Endpoint { host: local_address()?.to_string(), port: endpoint.port }),
        false => Ok(endpoint),
    }
}

/// Returns the first IPv4 address of this machine that is not a loopback address.
fn local_address() -> Result<Ipv4Addr> {
    let remedy = "name where others reach us with --endpoint (or CORE_PEER_GOSSIP_ENDPOINT)";
    let interfaces = getifaddrs().map_err(|e| Failure::usage(format!("cannot detect our address: {e}; {remedy}")))?;
    let addresses = interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    let found = addresses.into_iter().find(|ip| !ip.is_loopback());
    found.ok_or_else(|| {
        Failure::usage(format!("cannot detect our address: no interface but loopback has one; {remedy}"))
    })
}
