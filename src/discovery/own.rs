//! This node, and the content of its alive messages.

use super::{NetworkMember, Timestamp};
use crate::crypto::{OrgId, PeerIdentity, PkiId};
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::message::{Content, GossipMessage, SignedMessage, Tag};
use crate::proto::gossip::{AliveMessage, Member};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// The identity, endpoints and metadata of this node.
#[derive(Clone, Debug)]
pub struct SelfInfo {
    /// Our PKI-ID.
    pub pki_id: PkiId,
    /// Our organisation, whose peers may learn our internal endpoint.
    pub org: OrgId,
    /// Our identity as it travels.
    pub identity: PeerIdentity,
    /// Our endpoint for other organisations, as `host:port`; empty to be unreachable for them.
    pub endpoint: String,
    /// Our endpoint for our own organisation, as `host:port`.
    pub internal_endpoint: String,
    /// Our metadata.
    pub metadata: Bytes,
}

/// This node with its logical time.
pub(super) struct Own {
    pub member: NetworkMember,
    /// Our newest alive message for all peers: a heartbeat, or the first answer.
    pub latest: Option<SignedMessage>,
    pub org: OrgId,
    identity: PeerIdentity,
    time: Timestamp,
    publish_until: Instant,
}

impl Own {
    pub fn new(info: SelfInfo, incarnation: u64, publish: Duration, now: Instant) -> Result<Self> {
        check_external(&info.endpoint)?;
        check_endpoint(&info.internal_endpoint)?;
        if info.pki_id.is_empty() {
            return Err(Error::new(ErrorKind::Config, "our own PKI-ID is empty"));
        }
        let member = NetworkMember {
            endpoint: info.endpoint,
            internal_endpoint: info.internal_endpoint,
            metadata: info.metadata,
            pki_id: info.pki_id,
            envelope: None,
        };
        let time = Timestamp { incarnation, sequence: 0 };
        Ok(Own { member, latest: None, org: info.org, identity: info.identity, time, publish_until: now + publish })
    }

    /// Returns our next alive message, to be signed. Each has a different time.
    pub fn next_alive(&mut self, now: Instant) -> GossipMessage {
        self.time.sequence += 1;
        let member = Member {
            endpoint: self.member.endpoint.clone(),
            metadata: self.member.metadata.clone(),
            pki_id: self.member.pki_id.to_bytes(),
            ..Default::default()
        };
        // Peers that do not know us yet need our identity once; afterwards they pull it.
        let identity = if now < self.publish_until { self.identity.to_bytes() } else { Bytes::new() };
        let alive = AliveMessage {
            membership: Some(member).into(),
            timestamp: Some(self.time.into()).into(),
            identity,
            ..Default::default()
        };
        GossipMessage { tag: Tag::EMPTY.into(), content: Some(Content::AliveMsg(alive)), ..Default::default() }
    }

    /// Returns whether a message of ours is from an incarnation that others consider newer than the current one.
    pub fn is_behind(&self, time: Timestamp) -> bool {
        time > self.time
    }

    /// Switches to an incarnation above that of a message of ours, which is in the future because our clock was set
    /// back.
    pub fn rise_above(&mut self, time: Timestamp) {
        if self.is_behind(time) {
            journal::warning!(
                "received our own alive message {time}, newer than our time {}: the clock was set back, or another process uses our identity",
                self.time
            );
            self.time.incarnation = time.incarnation.saturating_add(1);
            self.latest = None;
        }
    }

    /// Returns whether a connection to this endpoint would reach this node.
    pub fn is_at(&self, endpoint: &str) -> bool {
        let port = self.member.internal_endpoint.rsplit_once(':').map_or("", |(_, port)| port);
        let local = || endpoint.rsplit_once(':').is_some_and(|(host, p)| p == port && is_loopback(host));
        endpoint == self.member.internal_endpoint || endpoint == self.member.endpoint || local()
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// Checks an endpoint that may be empty.
pub(super) fn check_external(endpoint: &str) -> Result<()> {
    match endpoint {
        "" => Ok(()),
        endpoint => check_endpoint(endpoint),
    }
}

/// Checks that an endpoint is `host:port`; an IPv6 address must be in brackets.
///
/// # Errors
/// [`ErrorKind::Config`] with the endpoint and its defect.
pub fn check_endpoint(endpoint: &str) -> Result<()> {
    let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("endpoint '{endpoint}' {what}")));
    let Some((host, port)) = endpoint.rsplit_once(':') else {
        return wrong("isn't formatted as 'host:port'");
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) || host.contains(char::is_whitespace) {
        return wrong("isn't formatted as 'host:port'");
    }
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return wrong("has not valid port");
    }
    match port.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => wrong("has a port that takes more than 16 bits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_endpoint_is_named() {
        for (endpoint, what) in [
            ("", "isn't formatted as 'host:port'"),
            ("peer0", "isn't formatted as 'host:port'"),
            (":7051", "isn't formatted as 'host:port'"),
            ("::1:7051", "isn't formatted as 'host:port'"),
            ("peer 0:7051", "isn't formatted as 'host:port'"),
            ("peer0:", "has not valid port"),
            ("peer0:+1", "has not valid port"),
            ("peer0:http", "has not valid port"),
            ("peer0:65536", "has a port that takes more than 16 bits"),
        ] {
            let e = check_endpoint(endpoint).unwrap_err();
            assert_eq!(e.message(), format!("endpoint '{endpoint}' {what}"));
        }
        for endpoint in ["peer0:7051", "127.0.0.1:0", "[::1]:65535"] {
            check_endpoint(endpoint).unwrap();
        }
    }
}
