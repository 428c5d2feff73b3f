//! A transport without a network, for a peer that only checks its settings.

use fabric_gossip::cancel::Cancel;
use fabric_gossip::transport::{Acceptor, Connection, Server, Transport};
use fabric_gossip::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Opens no socket: listening succeeds and accepts nobody, and dialling reaches nobody. Has the properties of the
/// transport that it replaces.
pub struct Offline(pub Arc<dyn Transport>);

impl Transport for Offline {
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Connection>> {
        let _ = cancel.signal().recv_timeout(timeout);
        Err(Error::new(ErrorKind::Unreachable, "there is no network during a check").with_peer(endpoint))
    }

    fn listen(&self, address: &str, _: Arc<dyn Acceptor>) -> Result<Box<dyn Server>> {
        Ok(Box::new(Listener(address.to_owned())))
    }

    fn is_encrypted(&self) -> bool {
        self.0.is_encrypted()
    }

    fn certificate_expires(&self) -> Option<SystemTime> {
        self.0.certificate_expires()
    }
}

struct Listener(String);

impl Server for Listener {
    fn local_addr(&self) -> &str {
        &self.0
    }

    fn serving(&self) -> usize {
        0
    }

    fn stop(&self, _: Duration) -> bool {
        true
    }
}
