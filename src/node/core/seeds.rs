//! Seeds: bootstrap and anchor peers, and endpoints that another peer may have taken over.

use super::Context;
use super::{NodeCore, Pending};
use crate::crypto::{OrgId, PkiId};
use crate::discovery::{Effect, Event, NetworkMember, Notice, Remote, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::message::pki_id_text;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The reason for contacting an endpoint, which determines the peer expected there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SeedRole {
    /// A bootstrap peer: one of our organisation.
    Bootstrap,
    /// An anchor peer of a channel. If it is listed under our organisation, it must belong to it.
    Anchor {
        /// The channel.
        channel: Bytes,
        /// The organisation under which it is listed.
        org: OrgId,
    },
    /// Any peer.
    Any,
}

impl SeedRole {
    /// Returns the reason why a peer of this organisation cannot have this role, if there is one.
    fn objection(&self, endpoint: &str, org: Option<&OrgId>, own_org: &OrgId) -> Option<String> {
        let ours = org == Some(own_org);
        match self {
            SeedRole::Bootstrap if !ours => {
                Some(format!("{endpoint} isn't in our organization, cannot be a bootstrap peer"))
            }
            SeedRole::Anchor { channel, org } if org == own_org && !ours => {
                let channel = String::from_utf8_lossy(channel);
                Some(format!("Anchor peer {endpoint} for channel {channel} isn't in our org, but is claimed to be"))
            }
            _ => None,
        }
    }
}

/// The seed endpoints and their roles.
#[derive(Debug, Default)]
pub(super) struct SeedRoles {
    roles: BTreeMap<String, BTreeSet<SeedRole>>,
    /// Handshakes in progress and their endpoints.
    handshakes: HashMap<Token, String>,
}

impl SeedRoles {
    pub(super) fn asked(&mut self, token: Token, endpoint: String) {
        self.handshakes.insert(token, endpoint);
    }

    /// Removes the roles of a channel's anchors. Returns the endpoints that have no role left.
    pub(super) fn drop_anchors(&mut self, of: &[u8]) -> Vec<String> {
        for roles in self.roles.values_mut() {
            roles.retain(|role| !matches!(role, SeedRole::Anchor { channel, .. } if channel == of));
        }
        let gone: Vec<_> = self.roles.iter().filter(|(_, roles)| roles.is_empty()).map(|(it, _)| it.clone()).collect();
        self.roles.retain(|_, roles| !roles.is_empty());
        gone
    }
}

impl NodeCore {
    /// Contacts an endpoint until a peer that is allowed there has answered. That peer is never forgotten.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names an endpoint that is not `host:port`; [`ErrorKind::Full`] if there are too many seeds;
    /// [`ErrorKind::Stopped`] after a stop.
    pub fn connect(&mut self, endpoint: &str, role: SeedRole, cx: &mut Context<'_>) -> Result<()> {
        self.with_discovery(cx, |discovery, cx| discovery.connect(endpoint, cx))?;
        self.seeds.roles.entry(endpoint.to_owned()).or_default().insert(role);
        Ok(())
    }

    /// Handles the answer to a handshake with a seed, or with an endpoint that two members name.
    pub(super) fn on_handshaken(&mut self, token: Token, result: Result<Remote>, cx: &mut Context<'_>) {
        match self.pending.contains_key(&token) {
            true => self.on_renewal_handshake(token, result, cx),
            false => self.on_seed_handshake(token, result, cx),
        }
    }

    /// Handles the result of a handshake with a seed.
    fn on_seed_handshake(&mut self, token: Token, result: Result<Remote>, cx: &mut Context<'_>) {
        let Some(endpoint) = self.seeds.handshakes.remove(&token) else { return };
        if let Ok(remote) = &result {
            self.on_proof(&endpoint, remote, cx);
        }
        let result = result.and_then(|remote| self.accept_seed(&endpoint, remote));
        if let Err(e) = &result {
            journal::warning!("{endpoint}: {e}");
            let reason = e.to_string();
            cx.effects.push(Effect::Notify(Notice::SeedFailed { endpoint, reason }));
        }
        self.discover(Event::Handshaken { token, result }, cx);
    }

    /// Returns `remote` if this peer is allowed at the endpoint in any of the endpoint's roles.
    fn accept_seed(&self, endpoint: &str, remote: Remote) -> Result<Remote> {
        let roles = self.seeds.roles.get(endpoint).into_iter().flatten();
        let objections: Vec<_> =
            roles.map(|role| role.objection(endpoint, remote.org.as_ref(), &self.own_org)).collect();
        match objections.iter().all(Option::is_some).then(|| objections.into_iter().flatten().next()).flatten() {
            Some(objection) => Err(Error::new(ErrorKind::Refused, objection)),
            None => Ok(remote),
        }
    }

    /// Records the endpoint that a member announces.
    pub(super) fn note_endpoint(&mut self, member: &NetworkMember, cx: &mut Context<'_>) {
        let (discovery, wait) = (&self.discovery, self.config.discovery.alive_time_interval);
        if member.preferred_endpoint() == self.own_endpoint {
            // Either our own entry from before our identity was renewed, or a peer that is not at the endpoint it
            // announces.
            return self.renewal.doubt(member, wait, cx.now, cx.random);
        }
        self.renewal.learn(member, |id| discovery.member(id), wait, cx.now, cx.random);
    }

    /// Checks the endpoints that two members announce, if the previous member has been silent since.
    pub(super) fn check_renewals(&mut self, cx: &mut Context<'_>) {
        let wait = self.config.discovery.alive_time_interval;
        for check in self.renewal.poll(cx.now) {
            let Some(known) = self.discovery.member(&check.old.pki_id) else { continue };
            if known.envelope != check.old.envelope {
                // The previous member has sent news, perhaps delayed; check again as long as it announces this
                // endpoint.
                if known.preferred_endpoint() == check.endpoint {
                    self.renewal.doubt(known, wait, cx.now, cx.random);
                }
                continue;
            }
            let endpoint = check.endpoint;
            let pending = Pending::Renewal { endpoint: endpoint.clone(), old: Box::new(check.old) };
            let token = self.ask(pending);
            cx.effects.push(Effect::Handshake { token, endpoint });
        }
    }

    fn on_renewal_handshake(&mut self, token: Token, result: Result<Remote>, cx: &mut Context<'_>) {
        let Some(Pending::Renewal { endpoint, old }) = self.pending.remove(&token) else { return };
        match result {
            Ok(remote) => self.retire_if_replaced(&old.pki_id, &remote, cx),
            Err(e) => journal::debug!("{endpoint} is unreachable: {e}"),
        }
    }

    /// Handles proof that a peer is at an endpoint that we dialled: the member previously known there is retired, if
    /// both belong to the same organisation.
    pub(super) fn on_proof(&mut self, endpoint: &str, remote: &Remote, cx: &mut Context<'_>) {
        if let Some(old) = self.renewal.at(endpoint).cloned() {
            self.retire_if_replaced(&old, remote, cx);
        }
    }

    fn retire_if_replaced(&mut self, old: &PkiId, remote: &Remote, cx: &mut Context<'_>) {
        if *old != remote.pki_id && remote.org.is_some() && cx.peers.org(old) == remote.org {
            self.retire(old, Some(&remote.pki_id), cx);
        }
    }

    /// Forgets a member that another one has replaced.
    pub(super) fn retire(&mut self, old: &PkiId, new: Option<&PkiId>, cx: &mut Context<'_>) {
        journal::info!("{old} is now {}", pki_id_text(new));
        self.discover(Event::IdentitySwitch(old.clone()), cx);
        cx.effects.push(Effect::Close(old.clone()));
        cx.effects.push(Effect::Notify(Notice::IdentitySwitched { old: old.clone(), new: new.cloned() }));
    }
}
