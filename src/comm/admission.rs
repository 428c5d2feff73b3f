//! Admission of inbound streams, by the limits on unauthenticated streams, streams per address and streams per
//! identity.

use crate::config::CommConfig;
use crate::crypto::PkiId;
use crate::metrics::Refusal;
use crate::sync::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

pub(super) struct Admission {
    max_unauthenticated: usize,
    max_per_address: usize,
    max_per_identity: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    streams: usize,
    unauthenticated: usize,
    by_address: HashMap<Address, usize>,
    unauthenticated_by_address: HashMap<Address, usize>,
    by_identity: HashMap<PkiId, usize>,
}

/// The origin of a stream, as counted against the limit per address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Address {
    /// An IPv4 address, or the first 64 bits of an IPv6 address, since one holder usually controls the whole /64.
    Ip(IpAddr),
    Other(String),
}

impl Address {
    fn of(remote_addr: &str) -> Self {
        match remote_addr.parse::<SocketAddr>().map(|addr| addr.ip().to_canonical()) {
            Ok(IpAddr::V6(ip)) => {
                let [a, b, c, d, ..] = ip.segments();
                Address::Ip(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            Ok(ip) => Address::Ip(ip),
            Err(_) => Address::Other(remote_addr.rsplit_once(':').map_or(remote_addr, |(host, _)| host).into()),
        }
    }
}

impl Admission {
    pub fn new(config: &CommConfig) -> Self {
        Admission {
            max_unauthenticated: config.max_unauthenticated,
            max_per_address: config.max_connections_per_address,
            max_per_identity: config.max_streams_per_identity,
            counts: Mutex::default(),
        }
    }

    /// Admits a stream from this address, which has not authenticated yet.
    pub fn enter(&self, remote_addr: &str) -> Result<Place<'_>, Refusal> {
        let address = Address::of(remote_addr);
        let mut counts = self.counts.lock();
        if counts.unauthenticated >= self.max_unauthenticated {
            return Err(Refusal::TooManyUnauthenticated);
        }
        // An eighth stays free for others than the address that has most, so that it cannot keep new peers out.
        let share = self.max_unauthenticated - self.max_unauthenticated / 8;
        if counts.unauthenticated_by_address.get(&address).is_some_and(|count| *count >= share) {
            return Err(Refusal::TooManyUnauthenticated);
        }
        if !take(&mut counts.by_address, &address, self.max_per_address) {
            return Err(Refusal::TooManyFromAddress);
        }
        take(&mut counts.unauthenticated_by_address, &address, usize::MAX);
        counts.unauthenticated += 1;
        counts.streams += 1;
        Ok(Place { admission: self, address, identity: None, authenticated: false })
    }

    /// Returns the number of inbound streams, and how many of them have not authenticated.
    pub fn streams(&self) -> (usize, usize) {
        let counts = self.counts.lock();
        (counts.streams, counts.unauthenticated)
    }
}

/// The place of one stream. Dropping it releases the place.
pub(super) struct Place<'a> {
    admission: &'a Admission,
    address: Address,
    identity: Option<PkiId>,
    authenticated: bool,
}

impl Place<'_> {
    /// Records that the stream authenticated as this peer. Fails if the peer has too many streams.
    pub fn authenticated(&mut self, id: &PkiId) -> Result<(), Refusal> {
        let mut counts = self.admission.counts.lock();
        if !self.authenticated {
            self.authenticated = true;
            counts.unauthenticated -= 1;
            give_back(&mut counts.unauthenticated_by_address, &self.address);
        }
        if self.identity.is_none() {
            if !take(&mut counts.by_identity, id, self.admission.max_per_identity) {
                return Err(Refusal::TooManyOfIdentity);
            }
            self.identity = Some(id.clone());
        }
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock();
        counts.streams -= 1;
        if !self.authenticated {
            counts.unauthenticated -= 1;
            give_back(&mut counts.unauthenticated_by_address, &self.address);
        }
        give_back(&mut counts.by_address, &self.address);
        if let Some(id) = &self.identity {
            give_back(&mut counts.by_identity, id);
        }
    }
}

/// Counts one more for `key`, unless `max` is reached. Keys without streams are not stored.
fn take<K: Hash + Eq + Clone>(counts: &mut HashMap<K, usize>, key: &K, max: usize) -> bool {
    let count = counts.get(key).copied().unwrap_or(0);
    if count >= max {
        return false;
    }
    counts.insert(key.clone(), count + 1);
    true
}

fn give_back<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(unauthenticated: usize, address: usize, identity: usize) -> Admission {
        Admission::new(&CommConfig {
            max_unauthenticated: unauthenticated,
            max_connections_per_address: address,
            max_streams_per_identity: identity,
            ..CommConfig::default()
        })
    }

    fn id(name: &str) -> PkiId {
        PkiId::from(name.as_bytes())
    }

    #[test]
    fn each_limit_holds_and_every_place_is_given_back() {
        let admission = admission(2, 3, 1);
        let mut first = admission.enter("10.0.0.1:1").unwrap();
        let mut second = admission.enter("10.0.0.1:2").unwrap();
        assert_eq!(admission.enter("10.0.0.2:1").err(), Some(Refusal::TooManyUnauthenticated));
        first.authenticated(&id("a")).unwrap();
        assert_eq!(second.authenticated(&id("a")), Err(Refusal::TooManyOfIdentity));
        assert_eq!(admission.streams(), (2, 0));
        let third = admission.enter("10.0.0.1:3").unwrap();
        assert_eq!(admission.enter("10.0.0.1:4").err(), Some(Refusal::TooManyFromAddress));
        let elsewhere = admission.enter("10.0.0.2:4").unwrap();
        drop((first, second, third, elsewhere));
        assert_eq!(admission.streams(), (0, 0));
        let counts = admission.counts.lock();
        assert!(counts.unauthenticated_by_address.is_empty());
        assert!(counts.by_address.is_empty() && counts.by_identity.is_empty());
    }

    #[test]
    fn one_address_leaves_an_eighth_of_the_unauthenticated_places_to_others() {
        let admission = admission(16, 100, 1);
        let mut held: Vec<_> = (0..14).map(|port| admission.enter(&format!("10.0.0.1:{port}")).unwrap()).collect();
        assert_eq!(admission.enter("10.0.0.1:99").err(), Some(Refusal::TooManyUnauthenticated));
        held.push(admission.enter("10.0.0.2:1").unwrap());
        held[0].authenticated(&id("a")).unwrap();
        held.push(admission.enter("10.0.0.1:100").unwrap());
        drop(held);
        assert!(admission.counts.lock().unauthenticated_by_address.is_empty());
    }

    #[test]
    fn an_address_is_an_ipv4_address_or_a_network_of_ipv6() {
        let same = |a, b| Address::of(a) == Address::of(b);
        assert!(same("10.0.0.1:1", "10.0.0.1:2") && !same("10.0.0.1:1", "10.0.0.2:1"));
        assert!(same("10.0.0.1:1", "[::ffff:10.0.0.1]:1"));
        assert!(same("[2001:db8::1]:1", "[2001:db8::ffff:2]:2") && !same("[2001:db8::1]:1", "[2001:db8:0:1::1]:1"));
        assert!(same("memory:1", "memory:2") && !same("memory:1", "unix:1"));
    }
}
