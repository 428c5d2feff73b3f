//! Name resolution that gives up at a time limit. The system's resolver does not, so it runs on a separate thread.

use super::dial::stopped;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::channel::{after, bounded, select};
use crate::sync::{self, spawn};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Maximum number of lookups under way in the process. A lookup that was given up counts until the system ends it.
const LOOKUPS: usize = 64;

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Returns the addresses of a host: a name, or an address (IPv6 in brackets), which needs no lookup.
pub(super) fn resolve(host: &str, port: u16, until: Instant, cancel: &Cancel) -> Result<Vec<SocketAddr>> {
    if cancel.is_cancelled() {
        return Err(stopped());
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let lookup = Lookup::begin()?;
    let (found, result) = bounded(1);
    let name = bare.to_owned();
    spawn("gossip-resolve", move || {
        let _lookup = lookup;
        let addresses = (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
        // Nobody waits for it any more after a time limit.
        let _ = found.send(addresses);
    })?;
    let failed = |text: String| Error::new(ErrorKind::Unreachable, format!("DNS resolution failed for {bare}: {text}"));
    select! {
        recv(result) -> addresses => match addresses {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(e)) => Err(failed(e.to_string()).with_source(e)),
            Err(_) => Err(failed("the lookup ended without a result".into())),
        },
        recv(cancel.signal()) -> _ => Err(stopped()),
        recv(after(until.saturating_duration_since(sync::now()))) -> _ => Err(failed("no answer in time".into())),
    }
}

/// One of the lookups under way.
struct Lookup;

impl Lookup {
    fn begin() -> Result<Lookup> {
        let claim = |now| (now < LOOKUPS).then_some(now + 1);
        match UNDER_WAY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim) {
            Ok(_) => Ok(Lookup),
            Err(_) => Err(Error::new(
                ErrorKind::Full,
                format!("{LOOKUPS} names are being looked up, and the resolver does not answer; check the DNS servers"),
            )),
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}
