//! The report of `peer --check`: the settings that a peer would run with, and where they came from.

use crate::certificate;
use crate::endpoints::{Endpoints, Sourced};
use crate::output::{printable, shown};
use crate::reload::Files;
use crate::settings::NamedPath;
use crate::values::Endpoint;
use crate::Context;
use fabric_gossip::crypto::OrgId;
use fabric_gossip::node::AnchorPeer;
use serde_json::{json, Value};
use std::fmt::Display;

/// The checked settings of a peer.
pub struct Checked<'a> {
    pub files: &'a Files,
    /// The folder of our own MSP.
    pub msp: Option<NamedPath>,
    pub endpoints: &'a Endpoints,
    pub channels: &'a [String],
    pub anchors: &'a [(OrgId, AnchorPeer)],
    pub metrics: Option<Sourced<Endpoint>>,
}

impl Checked<'_> {
    /// Prints the settings.
    pub fn print(&self, context: &Context) {
        context.out.line(|| self.json(context), || self.text(context));
    }

    fn json(&self, context: &Context) -> Value {
        let (me, endpoints) = (&self.files.me, self.endpoints);
        let described = me.describe();
        let tls = self.files.tls.as_ref().map(|tls| {
            json!({"certificate": tls.server.source, "subject": certificate::name(tls.server.x509.subject_name()),
                   "sans": certificate::alternative_names(&tls.server.x509),
                   "expires": certificate::date(tls.server.x509.not_after()), "authorities": tls.roots.len(),
                   "client_authorities": tls.client_authorities})
        });
        let sourced =
            |setting: &Sourced<Endpoint>| json!({"value": setting.value.to_string(), "source": setting.source});
        let bootstrap: Vec<String> = endpoints.bootstrap.value.iter().map(Endpoint::to_string).collect();
        json!({"event": "checked", "ok": true, "error": null, "mspid": me.mspid, "pki_id": me.pki_id.to_string(),
               "subject": described.subject(), "expires": described.expires(),
               "msp": self.msp.as_ref().map(NamedPath::to_string), "organisations": self.organisations(),
               "revocation_lists": self.revocation_lists(), "skipped": self.skipped(), "tls": tls,
               "listen": sourced(&endpoints.listen), "endpoint": sourced(&endpoints.endpoint),
               "external_endpoint": endpoints.external.as_ref().map(sourced),
               "bootstrap": {"value": bootstrap, "source": endpoints.bootstrap.source}, "channels": self.channels,
               "anchors": self.anchors(), "metrics": self.metrics.as_ref().map(sourced),
               "metrics_tls": self.files.page.is_some(), "transport": context.transport.name()})
    }

    fn text(&self, context: &Context) -> String {
        let (me, endpoints) = (&self.files.me, self.endpoints);
        let described = me.describe();
        let mut lines = Lines::default();
        let left = described.certificate.as_ref().map(|x509| certificate::remaining(x509)).unwrap_or_default();
        lines.add("identity", format!("{} of {}", described.common_name(), me.mspid));
        lines.more(format!("until {}, {left}", described.expires().unwrap_or_default()));
        lines.more(format!("PKI-ID {}", me.pki_id));
        self.msp.iter().for_each(|msp| lines.more(format!("from {msp}")));
        lines.add("trusts", self.organisations().join(", "));
        match self.revocation_lists() {
            0 => lines.more("no revocation list".to_owned()),
            n => lines.more(format!("revocation lists: {n}")),
        }
        self.skipped().iter().for_each(|path| lines.more(format!("skipped, not PEM: {path}")));
        match &self.files.tls {
            None => lines.add("TLS", "off: plain text".to_owned()),
            Some(tls) => {
                let x509 = &tls.server.x509;
                lines.add("TLS", format!("certificate for {}", certificate::alternative_names(x509).join(", ")));
                lines.more(format!("until {}, {}", certificate::date(x509.not_after()), certificate::remaining(x509)));
                lines.more(format!("from {}", tls.server.source));
                lines.more(format!("trusted authorities: {}", tls.roots.len()));
                lines.more(match tls.client_authorities {
                    None => "clients: any certificate".to_owned(),
                    Some(n) => format!("clients: a certificate of one of {n} authorities"),
                });
            }
        }
        let sourced = |setting: &Sourced<Endpoint>| with_source(&setting.value, &setting.source);
        lines.add("listens", sourced(&endpoints.listen));
        lines.add("endpoint", sourced(&endpoints.endpoint));
        lines.add(
            "external",
            match &endpoints.external {
                Some(external) => sourced(external),
                None => "none: other organisations do not see this peer".to_owned(),
            },
        );
        let bootstrap: Vec<String> = endpoints.bootstrap.value.iter().map(Endpoint::to_string).collect();
        lines.add(
            "bootstrap",
            match bootstrap.is_empty() {
                true => "none: this peer waits for others".to_owned(),
                false => with_source(bootstrap.join(", "), &endpoints.bootstrap.source),
            },
        );
        lines.add("channels", if self.channels.is_empty() { "none".to_owned() } else { self.channels.join(", ") });
        self.anchors().iter().for_each(|anchor| lines.more(format!("anchor {anchor}")));
        lines.add(
            "metrics",
            match &self.metrics {
                None => "none".to_owned(),
                Some(address) => {
                    let scheme = if self.files.page.is_some() { "https" } else { "http" };
                    with_source(format!("{scheme}://{}/metrics", address.value), &address.source)
                }
            },
        );
        lines.add("transport", context.transport.to_string());
        lines.0.push("✔ these settings are valid".to_owned());
        lines.0.join("\n")
    }

    /// Returns the MSP ids of the trusted organisations, ours first.
    fn organisations(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for msp in &self.files.me.msps {
            if ids.iter().all(|id| id != msp.id()) {
                ids.push(msp.id().to_owned());
            }
        }
        ids
    }

    fn revocation_lists(&self) -> usize {
        self.files.me.folders.iter().map(|folder| folder.config.revocation_lists.len()).sum()
    }

    /// Returns the files in MSP folders that are skipped.
    fn skipped(&self) -> Vec<String> {
        let paths = self.files.me.folders.iter().flat_map(|folder| &folder.skipped);
        paths.map(|path| shown(path)).collect()
    }

    fn anchors(&self) -> Vec<String> {
        let text = |(org, anchor): &(OrgId, AnchorPeer)| {
            format!("{org}={}", Endpoint { host: anchor.host.clone(), port: anchor.port })
        };
        self.anchors.iter().map(text).collect()
    }
}

fn with_source(value: impl Display, source: &str) -> String {
    format!("{value} ({source})")
}

/// Lines with a name in front.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, name: &str, text: String) {
        self.0.push(format!("{name:<11} {}", printable(&text)));
    }

    /// Adds a line that belongs to the one before.
    fn more(&mut self, text: String) {
        self.add("", text);
    }
}
