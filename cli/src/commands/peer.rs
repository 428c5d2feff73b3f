//! `peer`: a complete node, until it is stopped.

use crate::address;
use crate::certificate;
use crate::channels::Channels;
use crate::failure::{Failure, Result};
use crate::health::Health;
use crate::identity::{Described, Me};
use crate::keys::{self, Key};
use crate::logging::Repeated;
use crate::metrics_options::MetricsArgs;
use crate::metrics_page::{MetricsPage, Pages};
use crate::options::{anchor, check_anchors, IdentityArgs};
use crate::output::printable;
use crate::peer_config::IntervalArgs;
use crate::reload::{Files, Reloader, Sources};
use crate::report;
use crate::settings::Settings;
use crate::terminal::Tone;
use crate::tls_options::TlsArgs;
use crate::values::{brief, channel, hex, listen_address, reachable, target, Endpoint, Hex};
use crate::Context;
use clap::Args;
use fabric_gossip::comm::{self, Subscription};
use fabric_gossip::crypto::{OrgId, PkiId};
use fabric_gossip::node::NetworkMember;
use fabric_gossip::node::{AnchorPeer, ChannelOrgs, Gossiped, Notice};
use fabric_gossip::transport::Limits;
use fabric_gossip::{Node, NodeBuilder};
use serde_json::{json, Value};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Polling interval for changes without an event: newly pulled identities, SIGHUP, and the stop switch.
const TICK: Duration = Duration::from_millis(50);

/// Run a node: join the network, maintain its membership, and print events until stopped. SIGHUP reads the TLS files, the
/// MSP folders and their revocation lists again; a new identity needs a restart
#[derive(Args)]
pub struct PeerArgs {
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
    /// Join this channel, with all known organisations; repeatable
    #[arg(long, value_name = "NAME", value_parser = channel)]
    channel: Vec<String>,
    /// An anchor peer of the channels, with its organisation; repeatable
    #[arg(long, value_name = "MSPID=H:P", value_parser = anchor)]
    anchor: Vec<(OrgId, AnchorPeer)>,
    /// Metadata to publish to all members
    #[arg(long, value_name = "HEX")]
    metadata: Option<Hex>,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    intervals: IntervalArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub fn run(context: &Context, args: &PeerArgs) -> Result<()> {
    let mut reloader = Reloader::new(args.sources(context))?;
    let files = reloader.current();
    check_anchors(&args.anchor, &files.me)?;
    let builder = builder(context, args, files)?;
    let notices = builder.notices();
    let node = builder.start().map_err(|e| Failure::usage(e.to_string()))?;
    for channel in &args.channel {
        node.join_channel(channel.clone(), channel_orgs(&files.me, &args.anchor))?;
    }
    let reporter = Reporter::new(context, &node, notices);
    let channels = Channels::new(context, &node, &args.channel);
    let page = page(context, args, files, &node)?;
    announce(context, &node, &files.me, page.as_ref());
    reporter.run(&mut reloader, page.as_ref(), channels);
    drop(page);
    node.stop();
    context.out.line(|| json!({"event": "stopped", "ok": true, "error": null}), || "stopped".to_owned());
    Ok(())
}

/// Serves the metrics, if they have an address.
fn page(context: &Context, args: &PeerArgs, files: &Files, node: &Node) -> Result<Option<MetricsPage>> {
    let Some(address) = args.metrics.address(&context.settings)? else { return Ok(None) };
    let (metrics, health) = (node.clone(), node.clone());
    let pages = Pages {
        metrics: Box::new(move || metrics.metrics().to_prometheus()),
        health: Box::new(move || Health::new(&health.comm().metrics())),
    };
    let failed = |why: &str| args.metrics.cannot_listen(&address, &context.settings, why);
    MetricsPage::serve(&address.to_string(), files.page.clone(), pages, failed).map(Some)
}

fn builder(context: &Context, args: &PeerArgs, files: &Files) -> Result<NodeBuilder> {
    let (settings, me) = (&context.settings, &files.me);
    let mut config = args.intervals.node(settings)?;
    config.bootstrap = args.bootstrap(settings)?;
    let comm = args.intervals.comm(settings)?;
    let listen = args.listen(settings)?;
    let endpoint = args.endpoint(&listen, settings)?.to_string();
    let tls = files.tls.as_ref().map(|files| files.tls.clone());
    let transport = context.transport.create(tls, Limits::default())?;
    let mut builder = Node::builder(me.identity.clone(), me.crypto.clone(), me.crypto.clone())
        .config(config)
        .comm(|builder| builder.config(comm).transport(transport).listen(listen.to_string()))
        .endpoint(endpoint);
    if let Some(endpoint) = configured(&args.external_endpoint, keys::GOSSIP_EXTERNAL_ENDPOINT, settings)? {
        builder = builder.external_endpoint(endpoint.to_string());
    }
    if let Some(metadata) = &args.metadata {
        builder = builder.metadata(metadata.0.clone());
    }
    Ok(builder)
}

/// Reads a published endpoint from a flag or a setting.
fn configured(flag: &Option<Endpoint>, key: Key, settings: &Settings) -> Result<Option<Endpoint>> {
    match flag {
        Some(endpoint) => Ok(Some(endpoint.clone())),
        None => settings.parsed(key, reachable),
    }
}

impl PeerArgs {
    /// Returns the flags and settings that name files.
    fn sources(&self, context: &Context) -> Sources {
        Sources {
            identity: self.identity.clone(),
            tls: self.tls.clone(),
            metrics: self.metrics.clone(),
            settings: context.settings.clone(),
        }
    }

    fn bootstrap(&self, settings: &Settings) -> Result<Vec<String>> {
        if !self.bootstrap.is_empty() {
            return Ok(self.bootstrap.iter().map(Endpoint::to_string).collect());
        }
        let endpoints = settings.list(keys::GOSSIP_BOOTSTRAP)?.into_iter().map(|text| match target(&text) {
            Ok(endpoint) => Ok(endpoint.to_string()),
            Err(why) if text.contains(',') => {
                Err(settings.wrong(keys::GOSSIP_BOOTSTRAP, &text, &format!("{why}; separate several with spaces")))
            }
            Err(why) => Err(settings.wrong(keys::GOSSIP_BOOTSTRAP, &text, &why)),
        });
        endpoints.collect()
    }

    fn listen(&self, settings: &Settings) -> Result<Endpoint> {
        let configured = match &self.listen {
            Some(listen) => Some(listen.clone()),
            None => settings.parsed(keys::LISTEN_ADDRESS, listen_address)?,
        };
        Ok(configured.unwrap_or_else(|| Endpoint { host: "127.0.0.1".into(), port: 0 }))
    }

    /// Returns the endpoint at which peers of our organisation reach us.
    fn endpoint(&self, listen: &Endpoint, settings: &Settings) -> Result<Endpoint> {
        if let Some(endpoint) = configured(&self.endpoint, keys::GOSSIP_ENDPOINT, settings)? {
            return Ok(endpoint);
        }
        let published = address::published(listen, settings)?;
        if self.listen.is_some() && published.port != listen.port {
            log::warn!(
                "publishing {published}, from {}, although we listen on {listen}; to change it, set --endpoint",
                settings.source(keys::ADDRESS)
            );
        }
        Ok(published)
    }
}

fn announce(context: &Context, node: &Node, me: &Me, page: Option<&MetricsPage>) {
    let listening = node.comm().local_addr().unwrap_or_default();
    let (endpoint, pki_id) = (node.self_member().preferred_endpoint().to_owned(), me.pki_id.to_string());
    let metrics = page.map(MetricsPage::address);
    context.out.line(
        || {
            json!({"event": "listening", "endpoint": endpoint, "pki_id": pki_id, "mspid": me.mspid,
                   "address": listening, "metrics": metrics, "transport": context.transport.name()})
        },
        || {
            let (name, org) = (printable(&me.describe().common_name()), printable(&me.mspid));
            let page = page.map(|page| format!(", metrics at {}", page.url())).unwrap_or_default();
            format!("{name} of {org} at {endpoint} (PKI-ID {pki_id}), listening on {listening}{page}")
        },
    );
}

fn channel_orgs(me: &Me, anchors: &[(OrgId, AnchorPeer)]) -> ChannelOrgs {
    let mut orgs: BTreeMap<OrgId, Vec<AnchorPeer>> =
        me.msps.iter().map(|msp| (OrgId::new(msp.id()), Vec::new())).collect();
    for (org, anchor) in anchors {
        orgs.entry(org.clone()).or_default().push(anchor.clone());
    }
    ChannelOrgs(orgs)
}

/// Prints the events of the node.
struct Reporter<'a> {
    context: &'a Context,
    node: &'a Node,
    notices: Subscription<Notice>,
    blocks: Subscription<Gossiped>,
    connections: Subscription<comm::Event>,
    /// Counts failures to reach bootstrap and anchor peers, by peer and cause.
    failures: Repeated,
}

impl<'a> Reporter<'a> {
    fn new(context: &'a Context, node: &'a Node, notices: Subscription<Notice>) -> Self {
        let (blocks, connections) = (node.subscribe(|_| true), node.comm().events());
        Reporter { context, node, notices, blocks, connections, failures: Repeated::default() }
    }

    fn run(&self, reloader: &mut Reloader, page: Option<&MetricsPage>, mut channels: Channels<'_>) {
        let mut identities = HashMap::new();
        let mut shown = Shown::default();
        while !self.context.stop.is_cancelled() {
            let mut changed = false;
            let mut next = self.notices.recv_timeout(TICK).ok();
            while let Some(notice) = next {
                changed |= matches!(notice, Notice::Membership(_));
                self.notice(&notice);
                next = self.notices.try_recv().ok().flatten();
            }
            while let Ok(Some(event)) = self.connections.try_recv() {
                self.connection(&event);
            }
            self.identities(&mut identities);
            if changed {
                self.membership(&identities, &mut shown);
            }
            channels.print_changes(&identities);
            while let Ok(Some(block)) = self.blocks.try_recv() {
                report::gossiped(&self.context.out, &block.message, &block.from);
            }
            if let Some(result) = reloader.poll(self.node, page) {
                report::reloaded(self.context, &result);
            }
        }
    }

    fn notice(&self, notice: &Notice) {
        match notice {
            Notice::SeedFailed { endpoint, reason } => {
                let Some(times) = self.failures.count(format!("{endpoint} {reason}")) else { return };
                self.context.out.toned(
                    Tone::Warning,
                    || json!({"event": "seed_failed", "endpoint": endpoint, "error": reason, "times": times}),
                    || {
                        let times = if times > 1 { format!(" ({times} times so far)") } else { String::new() };
                        let reason = printable(reason);
                        format!("{endpoint} is unreachable, retrying{times}: {reason}")
                    },
                );
            }
            Notice::IdentitySwitched { old, new } => self.context.out.line(
                || json!({"event": "identity_switch", "old": old.to_string(), "new": new.as_ref().map(|n| n.to_string())}),
                || {
                    let new = new.as_ref().map_or_else(|| "another peer".to_owned(), brief);
                    format!("{} is now {new}", brief(old))
                },
            ),
            Notice::IdentityExpires { remaining } => self.context.out.line(
                || json!({"event": "identity_expires", "remaining_s": remaining.as_secs()}),
                || format!("our own identity expires in {} s: enroll it again", remaining.as_secs()),
            ),
            _ => {}
        }
    }

    fn connection(&self, event: &comm::Event) {
        match event {
            comm::Event::Connected { info, .. } => report::connected(self.context, info),
            comm::Event::Disconnected { info, reason } => report::disconnected(self.context, info, reason),
            comm::Event::PresumedDead { pki_id } => self.context.out.toned(
                Tone::Bad,
                || json!({"event": "presumed_dead", "pki_id": pki_id.to_string()}),
                || format!("presumed dead: {}", brief(pki_id)),
            ),
            _ => {}
        }
    }

    /// Prints newly known identities.
    fn identities(&self, known: &mut HashMap<PkiId, Described>) {
        let mapper = self.node.comm().identity_mapper();
        if mapper.count() == known.len() {
            return;
        }
        let now = mapper.identity_info();
        known.retain(|id, _| now.iter().any(|info| info.pki_id == *id));
        for info in now {
            if known.contains_key(&info.pki_id) {
                continue;
            }
            let described = Described::new(&info.identity);
            let expires = described.certificate.as_ref().map(|c| certificate::date(c.not_after()));
            self.context.out.line(
                || {
                    json!({"event": "identity", "pki_id": info.pki_id.to_string(), "mspid": described.mspid,
                           "expires": expires})
                },
                || {
                    let (name, org) = (described.common_name(), described.mspid.clone().unwrap_or_default());
                    let expires = expires.clone().unwrap_or_default();
                    format!(
                        "identity: {} is {} of {}, until {expires}",
                        brief(&info.pki_id),
                        printable(&name),
                        printable(&org)
                    )
                },
            );
            known.insert(info.pki_id, described);
        }
    }

    /// Prints the members as JSON, or as text one line for each that changed.
    fn membership(&self, identities: &HashMap<PkiId, Described>, shown: &mut Shown) {
        let (alive, dead) = (self.node.peers(), self.node.dead());
        let sorted = |mut members: Vec<NetworkMember>| {
            members.sort_by(|a, b| a.pki_id.cmp(&b.pki_id));
            members
        };
        let (alive, dead) = (sorted(alive), sorted(dead));
        let org = |member: &NetworkMember| identities.get(&member.pki_id).and_then(|d| d.mspid.clone());
        let out = &self.context.out;
        if out.is_json() {
            let row = |member: &NetworkMember| -> Value {
                json!({"endpoint": member.endpoint, "internal_endpoint": member.internal_endpoint,
                       "pki_id": member.pki_id.to_string(), "mspid": org(member), "metadata": hex(&member.metadata)})
            };
            let rows = |members: &[NetworkMember]| members.iter().map(row).collect::<Vec<_>>();
            out.line(|| json!({"event": "membership", "alive": rows(&alive), "dead": rows(&dead)}), String::new);
            return;
        }
        let count = format!("{} alive, {} dead", alive.len(), dead.len());
        let describe = |member: &NetworkMember| {
            let name = identities.get(&member.pki_id).map(Described::common_name).unwrap_or_default();
            let (id, org) = (brief(&member.pki_id), org(member).unwrap_or_else(|| "?".to_owned()));
            printable(&format!("{id} {name} of {org} at {}", member.preferred_endpoint()))
        };
        let states = alive.iter().map(|member| (member, true)).chain(dead.iter().map(|member| (member, false)));
        let mut now = Shown::default();
        for (member, is_alive) in states {
            let line = format!("{}: {} ({count})", if is_alive { "alive" } else { "dead" }, describe(member));
            if shown.get(&member.pki_id).is_none_or(|(was_alive, _)| *was_alive != is_alive) {
                out.toned_note(if is_alive { Tone::Good } else { Tone::Bad }, || line);
            }
            now.insert(member.pki_id.clone(), (is_alive, describe(member)));
        }
        for (_, (_, described)) in shown.iter().filter(|(id, _)| !now.contains_key(*id)) {
            out.toned_note(Tone::Warning, || format!("forgotten: {described} ({count})"));
        }
        *shown = now;
    }
}

/// The members as they were printed last: whether alive, and their description.
type Shown = BTreeMap<PkiId, (bool, String)>;
