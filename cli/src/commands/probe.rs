//! `probe`: checks that a peer answers.

use crate::failure::{Failure, Result};
use crate::options::{IdentityArgs, TargetArg};
use crate::output::printable;
use crate::tls_options::{Role, TlsArgs};
use crate::values::{micros, short, timeout};
use crate::Context;
use clap::Args;
use fabric_gossip::transport::Limits;
use fabric_gossip::ErrorKind;
use serde_json::json;
use std::time::{Duration, Instant};

/// Dial a peer and ping it: needs no identity, and no TLS certificate unless the peer requires one
#[derive(Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    target: TargetArg,
    /// How long to wait for the connection, and then for the answer
    #[arg(long, value_name = "D", default_value = "3s", value_parser = timeout)]
    timeout: Duration,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub fn run(context: &Context, args: &ProbeArgs) -> Result<()> {
    let endpoint = args.target.endpoint(&context.settings)?.to_string();
    let msps = args.identity.msps_for_tls(&context.settings)?;
    let files = args.tls.load(Role::Anonymous, &args.identity, &msps, &context.settings)?;
    let secured = if files.is_some() { "TLS" } else { "no TLS" };
    let transport = context.transport.create(files.map(|f| f.tls), Limits::default())?;

    let begin = Instant::now();
    let mut connected = Duration::ZERO;
    let round_trip = transport.dial(&endpoint, args.timeout, &context.stop).and_then(|client| {
        // The first Ping is part of the dial; the second one is timed separately.
        client.ping(args.timeout)?;
        connected = begin.elapsed();
        let sent = Instant::now();
        client.ping(args.timeout).map(|()| sent.elapsed())
    });
    let failed = |why: &str| {
        context.out.line(
            || json!({"event": "probe", "endpoint": endpoint, "ok": false, "rtt_us": null, "error": why}),
            || format!("✘ {why}\n  to check each step: fabric-gossip handshake {endpoint}"),
        );
    };
    match round_trip {
        Ok(rtt) => {
            let (rtt_us, connect_us) = (micros(rtt), micros(connected));
            context.out.line(
                || json!({"event": "probe", "endpoint": endpoint, "ok": true, "rtt_us": rtt_us, "error": null, "connect_us": connect_us}),
                || format!("✔ {endpoint} answers: ping {}, connected in {} ({secured})", short(rtt), short(connected)),
            );
            Ok(())
        }
        Err(_) if context.stop.is_cancelled() => {
            failed(context.interrupted.reason());
            Err(Failure::Stopped)
        }
        Err(e) if e.kind() == ErrorKind::Config => Err(e.into()),
        Err(e) => {
            failed(&printable(&e.to_string()));
            Err(Failure::Reported)
        }
    }
}
