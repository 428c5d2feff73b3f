//! `listen`: the communication layer alone, as a destination for messages.

use crate::failure::{Failure, Result};
use crate::identity::Me;
use crate::logging::Repeated;
use crate::options::IdentityArgs;
use crate::output::printable;
use crate::report::{self, Payload, Tally};
use crate::terminal::Tone;
use crate::tls_options::{Role, TlsArgs};
use crate::values::Endpoint;
use crate::Context;
use clap::Args;
use fabric_gossip::comm::{Comm, Event, ReceivedMessage, Subscription};
use fabric_gossip::config::{CommConfig, SubscriptionOptions, WhenFull};
use fabric_gossip::transport::Limits;
use fabric_gossip::{Error, ErrorKind};
use serde_json::json;
use std::time::Duration;

/// Time without messages after which a summary is printed.
const SILENCE: Duration = Duration::from_millis(200);

/// Interval for checking whether a connection was closed.
const TICK: Duration = Duration::from_millis(100);

/// Accept connections and print the received messages; optionally acknowledge or echo them
#[derive(Args)]
pub struct ListenArgs {
    /// Where to listen, host:port; port 0 takes a free one
    #[arg(long, value_name = "H:P", default_value = "127.0.0.1:0")]
    listen: Endpoint,
    /// Acknowledge every message
    #[arg(long, conflicts_with = "nack")]
    ack: bool,
    /// Refuse every message: acknowledge it with this error
    #[arg(long, value_name = "TEXT")]
    nack: Option<String>,
    /// Send every message back
    #[arg(long)]
    echo: bool,
    /// Show the data of the printed messages, up to 4096 bytes of each
    #[arg(long, value_name = "FORM", value_enum)]
    payload: Option<Payload>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub fn run(context: &Context, args: &ListenArgs) -> Result<()> {
    let me = args.identity.load(&context.settings)?;
    let tls = args.tls.load(Role::Serve, &args.identity, &me.msps, &context.settings)?;
    let mut config = CommConfig::default();
    // Acknowledgements are small and must not be lost because a sender reads them slowly.
    config.send_buff_size = 1 << 20;
    let transport = context.transport.create(tls.map(|files| files.tls), Limits::default())?;
    let builder = Comm::builder(me.identity.clone(), me.crypto.clone(), me.crypto.clone())
        .config(config)
        .transport(transport)
        .listen(args.listen.to_string());
    let comm = builder.start().map_err(|e| Failure::usage(e.to_string()))?;
    // A connection waits until there is space: no message is dropped here.
    let options = SubscriptionOptions::default().when_full(WhenFull::Wait(None));
    let (messages, events) = (comm.subscribe_with(options, |_| true), comm.events());
    let listener = Listener { context, args, comm: &comm, refused: Repeated::default() };
    listener.announce(&me);
    listener.serve(&messages, &events);
    comm.stop();
    context.out.line(|| json!({"event": "stopped", "ok": true, "error": null}), || "stopped".to_owned());
    Ok(())
}

struct Listener<'a> {
    context: &'a Context,
    args: &'a ListenArgs,
    comm: &'a Comm,
    /// Counts refusals by peer and cause.
    refused: Repeated,
}

impl Listener<'_> {
    fn announce(&self, me: &Me) {
        let endpoint = self.comm.local_addr().unwrap_or_default();
        let pki_id = me.pki_id.to_string();
        self.context.out.line(
            || {
                json!({"event": "listening", "endpoint": endpoint, "pki_id": pki_id, "mspid": me.mspid,
                   "transport": self.context.transport.name()})
            },
            || {
                let (name, org) = (printable(&me.describe().common_name()), printable(&me.mspid));
                format!("listening on {endpoint} as {name} of {org} (PKI-ID {pki_id})")
            },
        );
    }

    fn serve(&self, messages: &Subscription<ReceivedMessage>, events: &Subscription<Event>) {
        let mut tally = Tally::new(self.args.payload);
        while !self.context.stop.is_cancelled() {
            let next = messages.recv_timeout(if tally.is_fresh() { SILENCE } else { TICK });
            while let Ok(Some(event)) = events.try_recv() {
                self.event(&event);
            }
            match next {
                Ok(message) => {
                    tally.add(&message, &self.context.out);
                    self.answer(&message);
                }
                Err(e) if e.kind() == ErrorKind::Timeout => tally.summarize(&self.context.out),
                Err(_) => break,
            }
        }
        tally.summarize(&self.context.out);
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Connected { info, .. } => report::connected(self.context, info),
            Event::Disconnected { info, reason } => report::disconnected(self.context, info, reason),
            Event::Refused { endpoint, error, .. } => {
                let reason = error.message();
                let address = endpoint.rsplit_once(':').map_or(endpoint.as_str(), |(host, _)| host);
                let Some(times) = self.refused.count(format!("{address} {reason}")) else { return };
                self.context.out.toned(
                    Tone::Bad,
                    || json!({"event": "refused", "endpoint": endpoint, "reason": reason, "times": times}),
                    || format!("refused: {endpoint}: {}", printable(reason)),
                );
            }
            _ => {}
        }
    }

    fn answer(&self, message: &ReceivedMessage) {
        if self.args.ack || self.args.nack.is_some() {
            self.insist(|| message.ack(self.args.nack.as_deref()));
        }
        if self.args.echo {
            self.insist(|| message.respond(message.message().message().clone()));
        }
    }

    /// Sends an answer; waits while the queue is full, but not for a sender that has disconnected.
    fn insist(&self, send: impl Fn() -> Result<(), Error>) {
        while let Err(e) = send() {
            if e.kind() != ErrorKind::Full || self.context.stop.is_cancelled() {
                log::debug!("cannot answer: {e}");
                return;
            }
            let _ = self.comm.flush(TICK);
        }
    }
}
