//! `peer`: a complete node, until it is stopped.

use crate::certificate;
use crate::channels::Channels;
use crate::endpoints::{EndpointArgs, Endpoints};
use crate::failure::{Failure, Result};
use crate::health::Health;
use crate::identity::{Described, Me};
use crate::logging::Repeated;
use crate::metrics_options::MetricsArgs;
use crate::metrics_page::{self, MetricsPage, Pages};
use crate::offline::Offline;
use crate::options::{anchor, check_anchors, IdentityArgs};
use crate::output::printable;
use crate::peer_check::Checked;
use crate::peer_config::IntervalArgs;
use crate::reload::{Files, Reloader, Sources};
use crate::report;
use crate::terminal::Tone;
use crate::tls_options::TlsArgs;
use crate::values::{brief, channel, hex, since, Endpoint, Hex};
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
use std::sync::Arc;
use std::time::Duration;

/// Polling interval for changes without an event: newly pulled identities, SIGHUP, and the stop switch.
const TICK: Duration = Duration::from_millis(50);

/// Run a node: join the network, maintain its membership, and print events until stopped
///
/// SIGHUP reads the TLS files, the MSP folders and their revocation lists again; a new identity needs a restart.
#[derive(Args)]
pub struct PeerArgs {
    #[command(flatten)]
    endpoints: EndpointArgs,
    /// Join this channel, with all known organisations; repeatable
    #[arg(long, value_name = "NAME", value_parser = channel)]
    channel: Vec<String>,
    /// An anchor peer of the channels, with its organisation; repeatable
    #[arg(long, value_name = "MSPID=H:P", value_parser = anchor)]
    anchor: Vec<(OrgId, AnchorPeer)>,
    /// Metadata to publish to all members
    #[arg(long, value_name = "HEX")]
    metadata: Option<Hex>,
    /// Only check the flags, settings and files: print the values that the node would use, and end. Opens no connection
    /// and does not listen, so that it can be used while the node runs
    #[arg(long)]
    check: bool,
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
    if args.channel.is_empty() && !args.anchor.is_empty() {
        log::warn!("--anchor has no effect without --channel: anchor peers are those of a channel");
    }
    let endpoints = args.endpoints.resolve(&context.settings)?;
    let metrics = args.metrics.address(&context.settings)?;
    let builder = builder(context, args, files, &endpoints)?;
    let notices = builder.notices();
    let node = builder.start().map_err(|e| Failure::usage(e.to_string()))?;
    for channel in &args.channel {
        let joined = node.join_channel(channel.clone(), channel_orgs(&files.me, &args.anchor));
        joined.map_err(|e| Failure::usage(format!("--channel {channel}: {}", e.message())))?;
    }
    if args.check {
        node.stop();
        let msp = args.identity.msp_dir(&context.settings)?;
        let (channels, anchors) = (&args.channel, &args.anchor);
        Checked { files, msp, endpoints: &endpoints, channels, anchors, metrics }.print(context);
        return Ok(());
    }
    let reporter = Reporter::new(context, &node, notices);
    let channels = Channels::new(context, &node, &args.channel);
    let page = metrics.map(|metrics| page(context, args, &metrics.value, files, &node)).transpose()?;
    announce(context, &node, &files.me, page.as_ref());
    reporter.run(&mut reloader, page.as_ref(), channels);
    drop(page);
    node.stop();
    context.out.line(|| json!({"event": "stopped", "ok": true, "error": null}), || "stopped".to_owned());
    Ok(())
}

/// Serves the metrics.
fn page(context: &Context, args: &PeerArgs, address: &Endpoint, files: &Files, node: &Node) -> Result<MetricsPage> {
    let (metrics, health) = (node.clone(), node.clone());
    let about = metrics_page::about(context.transport.name());
    let pages = Pages {
        metrics: Box::new(move || metrics.metrics().to_prometheus() + &about),
        health: Box::new(move || Health::new(&health.comm().metrics())),
    };
    let failed = |why: &str| args.metrics.cannot_listen(address, &context.settings, why);
    MetricsPage::serve(&address.to_string(), files.page.clone(), pages, failed)
}

fn builder(context: &Context, args: &PeerArgs, files: &Files, endpoints: &Endpoints) -> Result<NodeBuilder> {
    let (settings, me) = (&context.settings, &files.me);
    let mut config = args.intervals.node(settings)?;
    config.bootstrap = endpoints.bootstrap.value.iter().map(Endpoint::to_string).collect();
    let comm = args.intervals.comm(settings)?;
    let tls = files.tls.as_ref().map(|files| files.tls.clone());
    let mut transport = context.transport.create(tls, Limits::default())?;
    if args.check {
        // The same node, without a network.
        transport = Arc::new(Offline(transport));
    }
    let listen = endpoints.listen.value.to_string();
    let mut builder = Node::builder(me.identity.clone(), me.crypto.clone(), me.crypto.clone())
        .config(config)
        .comm(|builder| builder.config(comm).transport(transport).listen(listen))
        .endpoint(endpoints.endpoint.value.to_string());
    if let Some(endpoint) = &endpoints.external {
        builder = builder.external_endpoint(endpoint.value.to_string());
    }
    if let Some(metadata) = &args.metadata {
        builder = builder.metadata(metadata.0.clone());
    }
    Ok(builder)
}

impl PeerArgs {
    /// Returns whether the command ends after a check of its settings.
    pub fn only_checks(&self) -> bool {
        self.check
    }

    /// Returns the flags and settings that name files.
    fn sources(&self, context: &Context) -> Sources {
        Sources {
            identity: self.identity.clone(),
            tls: self.tls.clone(),
            metrics: self.metrics.clone(),
            settings: context.settings.clone(),
        }
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
                self.connection(&event, &shown);
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
                || format!("our own identity expires in {}: enroll it again", since(*remaining)),
            ),
            _ => {}
        }
    }

    fn connection(&self, event: &comm::Event, members: &Shown) {
        match event {
            // Of a member, the line of its change to dead says the same.
            comm::Event::PresumedDead { pki_id } if !self.context.out.is_json() && members.contains_key(pki_id) => {}
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
