//! `members`: the membership known to a peer of our organisation.

use crate::failure::{Failure, Result};
use crate::identity::{Described, Me};
use crate::options::{IdentityArgs, TargetArg};
use crate::output::printable;
use crate::query::{self, Listed, Query};
use crate::tls_options::{Role, TlsArgs};
use crate::values::{brief, hex, since, timeout};
use crate::Context;
use clap::Args;
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId};
use fabric_gossip::transport::Limits;
use serde_json::{json, Value};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

/// Show the members of our organisation that a peer knows: alive and dead, with endpoints and uptime
///
/// A peer discloses its members only to peers of its own organisation. Use an identity that no running peer uses: the
/// connection replaces that of the running one.
#[derive(Args)]
pub struct MembersArgs {
    #[command(flatten)]
    target: TargetArg,
    /// Maximum time for the connection and the answer
    #[arg(long, value_name = "D", default_value = "5s", value_parser = timeout)]
    timeout: Duration,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub fn run(context: &Context, args: &MembersArgs) -> Result<()> {
    let endpoint = args.target.endpoint(&context.settings)?.to_string();
    let me = args.identity.load(&context.settings)?;
    let files = args.tls.load(Role::Dial, &args.identity, &me.msps, &context.settings)?;
    let ours = query::own_endpoints(&context.settings, &endpoint)?;
    let transport = context.transport.create(files.map(|f| f.tls), Limits::default())?;
    let comm = query::start(&me, transport, args.timeout)?;
    let running = query::warn_if_running(&comm, &me, &ours, &context.stop);
    let query = Query { me: &me, comm: &comm, stop: &context.stop, deadline: Instant::now() + args.timeout };
    let asked = ask(&query, &endpoint, running);
    comm.stop();
    match asked {
        Ok(found) => {
            found.print(context);
            if !running {
                found.warn(&me);
            }
            Ok(())
        }
        Err(_) if context.stop.is_cancelled() => Err(fail(context, Failure::Stopped)),
        Err(failure) => Err(fail(context, failure)),
    }
}

/// Prints the summary of a request that failed.
fn fail(context: &Context, failure: Failure) -> Failure {
    if context.out.is_json() {
        let error = failure.text().map_or_else(|| context.interrupted.reason().to_owned(), printable);
        let line = json!({"event": "membership", "ok": false, "alive": [], "dead": [], "error": error});
        context.out.line(|| line, String::new);
    } else if matches!(failure, Failure::Stopped) {
        context.out.note(|| format!("✘ {}", context.interrupted.reason()));
    }
    failure
}

/// Asks a peer of our organisation. `running`: whether a peer is known to run with our identity, which then keeps its
/// own entry.
fn ask(query: &Query<'_>, endpoint: &str, running: bool) -> Result<Found> {
    let (me, info) = (query.me, query.connect(endpoint)?);
    let theirs = query.organisation(&info);
    if theirs.as_deref() != Some(&me.mspid) {
        let org = theirs.unwrap_or_else(|| "an unknown organisation".to_owned());
        return Err(Failure::Peer(format!(
            "{endpoint} belongs to {}, not to {}, and does not disclose its members to us; ask a peer of our own organisation",
            printable(&org),
            me.mspid
        )));
    }
    if !running {
        query::warn_of_entry(me);
    }
    let lists = query.membership(&info)?;
    let pulled = query.identities(&info, |_| false).unwrap_or_else(|e| {
        log::info!("the members' organisations are unknown: {}", e.text().unwrap_or_default());
        HashMap::new()
    });
    let valid = pulled.into_iter().filter(|(_, pulled)| pulled.valid.is_ok());
    let mut identities: HashMap<PkiId, PeerIdentity> = valid.map(|(id, pulled)| (id, pulled.identity)).collect();
    identities.insert(info.id.clone(), info.identity.clone());
    identities.insert(me.pki_id.clone(), me.identity.clone());
    let rows = |listed: Vec<Listed>| {
        let mut rows: Vec<Row> = listed.into_iter().map(|member| Row::new(member, &identities, &*me.crypto)).collect();
        rows.sort_by(|a, b| a.member.pki_id.cmp(&b.member.pki_id));
        rows
    };
    Ok(Found { asked: info.id.clone(), alive: rows(lists.alive), dead: rows(lists.dead) })
}

/// The peer's answer.
struct Found {
    asked: PkiId,
    alive: Vec<Row>,
    dead: Vec<Row>,
}

/// One member.
struct Row {
    member: Listed,
    /// The MSP id in its identity, if the peer had that.
    mspid: Option<String>,
    name: String,
    /// Whether the member's own signature is valid; `None` if its identity is not known.
    verified: Option<bool>,
}

impl Row {
    fn new(member: Listed, identities: &HashMap<PkiId, PeerIdentity>, crypto: &dyn CryptoService) -> Row {
        let identity = identities.get(&member.pki_id).cloned().or_else(|| member.brought(crypto));
        let described = identity.as_ref().map(Described::new);
        Row {
            mspid: described.as_ref().and_then(|d| d.mspid.clone()),
            name: described.map(|d| d.common_name()).unwrap_or_default(),
            verified: identity.map(|identity| member.is_signed_by(&identity, crypto)),
            member,
        }
    }

    /// Returns how long its process has been running.
    fn started(&self) -> Option<Duration> {
        SystemTime::now().duration_since(self.member.started()?).ok()
    }

    fn json(&self) -> Value {
        json!({
            "endpoint": self.member.endpoint, "internal_endpoint": self.member.internal_endpoint,
            "pki_id": self.member.pki_id.to_string(), "mspid": self.mspid,
            "metadata": hex(&self.member.metadata), "verified": self.verified, "incarnation": self.member.time.0, "sequence": self.member.time.1,
            "started_s": self.started().map(|started| started.as_secs()),
        })
    }

    fn text(&self, asked: &PkiId) -> String {
        let endpoint = match (self.member.internal_endpoint.as_str(), self.member.endpoint.as_str()) {
            ("", "") => "no endpoint".to_owned(),
            ("", external) => format!("{external} (external)"),
            (internal, "") => internal.to_owned(),
            (internal, external) if internal == external => internal.to_owned(),
            (internal, external) => format!("{internal}, outside {external}"),
        };
        let mut text = format!(
            "    {}  {} of {}  {}",
            brief(&self.member.pki_id),
            if self.name.is_empty() { "?" } else { &self.name },
            self.mspid.as_deref().unwrap_or("an unknown organisation"),
            endpoint
        );
        if let Some(started) = self.started() {
            text += &format!("  up for {}, message {}", since(started), self.member.time.1);
        }
        if !self.member.metadata.is_empty() {
            text += &format!("  metadata {}", hex(&self.member.metadata));
        }
        if self.member.pki_id == *asked {
            text += "  (asked)";
        }
        if self.verified == Some(false) {
            text += "  BAD SIGNATURE";
        }
        printable(&text)
    }
}

impl Found {
    fn print(&self, context: &Context) {
        context.out.line(
            || {
                let rows = |rows: &[Row]| rows.iter().map(Row::json).collect::<Vec<_>>();
                json!({"event": "membership", "ok": true, "alive": rows(&self.alive), "dead": rows(&self.dead), "error": null})
            },
            || {
                let mut lines = Vec::new();
                for (what, rows) in [("alive", &self.alive), ("dead", &self.dead)] {
                    lines.push(format!("  {what}: {}", rows.len()));
                    lines.extend(rows.iter().map(|row| row.text(&self.asked)));
                }
                lines.join("\n")
            },
        );
    }

    /// Warns if the request had an effect on a running peer.
    fn warn(&self, me: &Me) {
        let ours = self.alive.iter().chain(&self.dead).find(|row| row.member.pki_id == me.pki_id);
        if ours.is_some_and(|row| !row.member.is_query()) {
            query::warn_of_running_peer();
        }
    }
}
