//! `listen`: the communication layer alone, as something to send to.

use crate::failure::Result;
use crate::identity::{Described, Me};
use crate::options::{IdentityArgs, Need, TlsArgs};
use crate::order::Order;
use crate::output::printable;
use crate::report;
use crate::values::{grouped, Endpoint};
use crate::Context;
use clap::Args;
use fabric_gossip::comm::{Comm, Event, ReceivedMessage, Subscription};
use fabric_gossip::config::{CommConfig, SubscriptionOptions, WhenFull};
use fabric_gossip::{Error, ErrorKind};
use serde_json::json;
use std::time::Duration;

/// The first messages are printed one by one, then every thousandth.
const PRINTED: u64 = 20;
const THEN_EVERY: u64 = 1000;

/// How long nothing has to come before a summary is printed.
const SILENCE: Duration = Duration::from_millis(200);

/// How soon a closed connection is noticed.
const TICK: Duration = Duration::from_millis(100);

/// Accept connections and print the messages that come in; acknowledge or echo them if wished
#[derive(Args)]
pub struct ListenArgs {
    /// Where to listen, host:port; port 0 takes a free one
    #[arg(long, value_name = "H:P", default_value = "127.0.0.1:0")]
    listen: Endpoint,
    /// Acknowledge every message that asks for it by its nonce
    #[arg(long, conflicts_with = "nack")]
    ack: bool,
    /// Acknowledge with this error
    #[arg(long, value_name = "TEXT")]
    nack: Option<String>,
    /// Send every message back
    #[arg(long)]
    echo: bool,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub fn run(context: &Context, args: &ListenArgs) -> Result<()> {
    let me = args.identity.load(&context.settings)?;
    let tls = args.tls.load(&args.identity, Need::Pair, &context.settings)?;
    let mut config = CommConfig::default();
    // Acknowledgements are small and must not get lost because a sender is slow to read them.
    config.send_buff_size = 1 << 20;
    let mut builder = Comm::builder(me.identity.clone(), me.crypto.clone(), me.crypto.clone())
        .config(config)
        .listen(args.listen.to_string());
    if let Some(files) = tls {
        builder = builder.tls(files.tls);
    }
    let comm = builder.start()?;
    // A connection waits until there is room: nothing is dropped here.
    let options = SubscriptionOptions::default().when_full(WhenFull::Wait(None));
    let (messages, events) = (comm.accept_with(options, |_| true), comm.events());
    let listener = Listener { context, args, comm: &comm };
    listener.announce(&me);
    listener.serve(&messages, &events);
    comm.stop();
    context.out.flush();
    Ok(())
}

struct Listener<'a> {
    context: &'a Context,
    args: &'a ListenArgs,
    comm: &'a Comm,
}

#[derive(Default)]
struct Received {
    count: u64,
    bytes: u64,
    order: Order,
    /// Something came since the last summary.
    fresh: bool,
}

impl Listener<'_> {
    fn announce(&self, me: &Me) {
        let endpoint = self.comm.local_addr().unwrap_or_default();
        let pki_id = me.pki_id.to_string();
        self.context.out.line(
            || json!({"event": "listening", "endpoint": endpoint, "pki_id": pki_id, "mspid": me.mspid}),
            || format!("listening on {endpoint} as {} of {} (PKI-ID {pki_id})", me.describe().common_name(), me.mspid),
        );
    }

    fn serve(&self, messages: &Subscription<ReceivedMessage>, events: &Subscription<Event>) {
        let mut received = Received::default();
        while !self.context.stop.is_cancelled() {
            let next = messages.recv_timeout(if received.fresh { SILENCE } else { TICK });
            while let Ok(Some(event)) = events.try_recv() {
                self.event(&event);
            }
            match next {
                Ok(message) => self.message(&mut received, &message),
                Err(e) if e.kind() == ErrorKind::Timeout => self.silence(&mut received),
                Err(_) => break,
            }
        }
        self.silence(&mut received);
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Connected { info, .. } => {
                let described = Described::new(&info.identity);
                let (pki_id, mspid) = (info.id.to_string(), described.mspid.clone().unwrap_or_default());
                self.context.out.line(
                    || json!({"event": "connected", "pki_id": pki_id, "endpoint": info.endpoint, "reason": null, "mspid": mspid}),
                    || format!("connected: {} ({}) from {}", printable(&described.common_name()), printable(&mspid), info.endpoint),
                );
            }
            Event::Disconnected { info, reason } => {
                let pki_id = info.id.to_string();
                self.context.out.line(
                    || json!({"event": "disconnected", "pki_id": pki_id, "endpoint": info.endpoint, "reason": reason}),
                    || {
                        let who = Described::new(&info.identity).common_name();
                        format!("disconnected: {} at {}: {}", printable(&who), info.endpoint, printable(reason))
                    },
                );
            }
            Event::Refused { endpoint, error, .. } => {
                let reason = error.message();
                self.context.out.line(
                    || json!({"event": "refused", "endpoint": endpoint, "reason": reason}),
                    || format!("refused: {endpoint}: {}", printable(reason)),
                );
            }
            _ => {}
        }
    }

    fn message(&self, received: &mut Received, message: &ReceivedMessage) {
        let from = &message.connection_info().id;
        let seen = report::Seen::new(message);
        received.count += 1;
        received.bytes += seen.len as u64;
        received.fresh = true;
        if let Some(seq) = seen.seq {
            received.order.saw(from, seq);
        }
        if received.count <= PRINTED || received.count % THEN_EVERY == 0 {
            seen.print(&self.context.out);
        }
        if self.args.ack || self.args.nack.is_some() {
            self.insist(|| message.ack(self.args.nack.as_deref()));
        }
        if self.args.echo {
            self.insist(|| message.respond(message.message().message().clone()));
        }
    }

    /// Sends back; a full queue is waited for, a sender that has gone is not.
    fn insist(&self, send: impl Fn() -> Result<(), Error>) {
        while let Err(e) = send() {
            if e.kind() != ErrorKind::Full || self.context.stop.is_cancelled() {
                log::debug!("cannot answer: {e}");
                return;
            }
            let _ = self.comm.flush(TICK);
        }
    }

    fn silence(&self, received: &mut Received) {
        if !std::mem::take(&mut received.fresh) {
            return;
        }
        let (count, bytes, in_order) = (received.count, received.bytes, received.order.kept());
        self.context.out.line(
            || json!({"event": "received", "count": count, "bytes": bytes, "in_order": in_order}),
            || {
                let order = if in_order { "in order" } else { "NOT in order" };
                format!("received {} messages, {} bytes, {order}", grouped(count), grouped(bytes))
            },
        );
    }
}
