//! `send`: data messages over an authenticated connection, optionally acknowledged.

use crate::delivery::{Delivery, Mode};
use crate::failure::{read_file, Failure, Result};
use crate::options::{IdentityArgs, TargetArg};
use crate::output::printable;
use crate::query;
use crate::report::Tally;
use crate::stop::spawn;
use crate::tls_options::{Role, TlsArgs};
use crate::values::{channel, counted, duration, grouped, micros, pki_id, short, timeout, Hex};
use crate::Context;
use bytes::Bytes;
use clap::Args;
use fabric_gossip::comm::{Comm, RemotePeer};
use fabric_gossip::config::{SubscriptionOptions, WhenFull};
use fabric_gossip::crypto::PkiId;
use fabric_gossip::transport::Limits;
use serde_json::json;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

/// Limit of peers for a message, in bytes.
const MAX_SIZE: usize = 100 << 20;

/// Send data messages to a peer over an authenticated connection, in order
#[derive(Args)]
pub struct SendArgs {
    #[command(flatten)]
    target: TargetArg,
    /// The PKI-ID that the peer must have: the hash of its identity, which `identity` and `handshake` show
    #[arg(long, value_name = "HEX", value_parser = pki_id)]
    pki_id: Option<Hex>,
    /// The channel that the messages belong to
    #[arg(long, value_name = "NAME", value_parser = channel)]
    channel: Option<String>,
    /// Number of messages; each carries its number as seq_num, from 0
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// Send this many zero bytes in each message
    #[arg(long, value_name = "BYTES", group = "payload")]
    size: Option<usize>,
    /// Send this text
    #[arg(long, value_name = "T", group = "payload", default_value = "hello")]
    text: String,
    /// Send the content of this file
    #[arg(long, value_name = "F", group = "payload")]
    file: Option<PathBuf>,
    /// Wait for each message to be acknowledged; many are in flight at a time
    #[arg(long)]
    ack: bool,
    /// Maximum time to wait, once connected, for an acknowledgement, and for the peer to accept more messages
    #[arg(long, value_name = "D", default_value = "5s", value_parser = timeout)]
    timeout: Duration,
    /// Afterwards, print the peer's messages for this long
    #[arg(long, value_name = "D", value_parser = duration)]
    listen_replies: Option<Duration>,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub fn run(context: &Context, args: &SendArgs) -> Result<()> {
    let endpoint = args.target.endpoint(&context.settings)?;
    let peer =
        RemotePeer { endpoint: endpoint.to_string(), pki_id: args.pki_id.as_ref().map(|id| PkiId::from(&id.0[..])) };
    let payload = args.payload()?;
    let me = args.identity.load(&context.settings)?;
    let files = args.tls.load(Role::Dial, &args.identity, &me.msps, &context.settings)?;
    let ours = query::own_endpoints(&context.settings, &peer.endpoint)?;
    let transport = context.transport.create(files.map(|f| f.tls), Limits::default())?;
    let comm = Comm::builder(me.identity.clone(), me.crypto.clone(), me.crypto.clone()).transport(transport).start()?;
    query::warn_if_running(&comm, &me, &ours, &context.stop);
    let replies = args.listen_replies.map(|_| print_replies(context, &comm)).transpose()?;

    let mode = if args.ack { Mode::Acknowledged } else { Mode::Written };
    let mut delivery = Delivery::new(context, &comm, peer, mode, args.timeout);
    delivery.run(args.count, args.channel.as_deref().unwrap_or_default(), &payload);
    if let Some((listen, replies)) = args.listen_replies.zip(replies) {
        summarize(context, args, &delivery, payload.len());
        delivery.linger(listen);
        comm.stop();
        let _ = replies.join();
    } else {
        // Waits until the peer has read everything, or has given the reason for refusing it.
        comm.stop();
    }
    delivery.look_back();
    summarize(context, args, &delivery, payload.len());
    match delivery.failed(args.count) {
        0 if delivery.lost().is_none() => Ok(()),
        _ if delivery.lost().is_none() && delivery.reasons().is_empty() => Err(Failure::Stopped),
        _ => Err(Failure::Reported),
    }
}

fn summarize(context: &Context, args: &SendArgs, delivery: &Delivery, size: usize) {
    let (sent, acked, failed) = (delivery.sent(), delivery.acked(), delivery.failed(args.count));
    let bytes = sent * size as u64;
    let elapsed = delivery.elapsed();
    let first_reason = || delivery.reasons().keys().next().map(|why| printable(why));
    let error = delivery.lost().map(printable).or_else(first_reason);
    let error = error.or_else(|| (failed > 0).then(|| context.interrupted.reason().to_owned()));
    context.out.line(
        || {
            json!({"event": "sent", "ok": failed == 0 && error.is_none(), "count": sent, "bytes": bytes, "acked": acked,
                   "failed": failed, "elapsed_us": micros(elapsed), "error": error})
        },
        || {
            let rate = sent as f64 / elapsed.as_secs_f64().max(1e-6);
            let messages = match failed {
                0 => counted(sent, "message"),
                _ => format!("{} of {}", grouped(sent), counted(args.count, "message")),
            };
            let mut text = format!("sent {messages}, {} in {}", counted(bytes, "byte"), short(elapsed));
            if sent > 1 {
                text += &format!(" ({} a second)", grouped(rate as u64));
            }
            if args.ack {
                text += &format!("; {} acknowledged", grouped(acked));
            }
            for (why, count) in delivery.reasons() {
                text += &format!("\n✘ {} failed: {}", grouped(*count), printable(why));
            }
            if let Some(error) = error.as_ref().filter(|_| delivery.reasons().is_empty() || delivery.lost().is_some()) {
                text += &format!("\n✘ {error}");
                text += &delivery.advice().map(|advice| format!("\n  {advice}")).unwrap_or_default();
            }
            text
        },
    );
}

impl SendArgs {
    fn payload(&self) -> Result<Bytes> {
        Ok(match (&self.file, self.size) {
            (Some(file), _) => match read_file(file, MAX_SIZE as u64 + 1)? {
                content if content.len() > MAX_SIZE => {
                    return Err(Failure::file(file, "peers take messages of at most 100 MiB"));
                }
                content => content.into(),
            },
            (None, Some(size)) if size > MAX_SIZE => {
                return Err(Failure::usage("--size: peers take messages of at most 100 MiB"));
            }
            (None, Some(size)) => vec![0; size].into(),
            (None, None) => self.text.clone().into(),
        })
    }
}

/// Prints received messages on a separate thread, until the end.
fn print_replies(context: &Context, comm: &Comm) -> Result<JoinHandle<()>> {
    let options = SubscriptionOptions::default().when_full(WhenFull::Wait(None));
    let (out, replies) = (context.out.clone(), comm.subscribe_with(options, |_| true));
    spawn("replies", move || {
        let mut tally = Tally::default();
        replies.iter().for_each(|message| tally.add(&message, &out));
        tally.summarize(&out);
    })
}
