//! The Rust side of the interoperability tests with grpc-go: a server and a client of gRPC's test service, over the
//! HTTP/2 transport. `scripts/interop.sh` builds and runs it.
//!
//! `peer serve CERTS` serves until the standard input is closed. `peer call CASE ADDRESS CERTS` runs one case. CERTS is a
//! folder with `ca.pem`, `cert.pem` and `key.pem`, or `-` for plain text.

mod cases;
mod messages;
mod service;

use fabric_gossip::transport::http2::{Http2Transport, Options};
use fabric_gossip::transport::{Limits, Pem, Tls, TlsConfig};
use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["serve", certs] => serve(certs),
        ["call", case, address, certs] => transport(certs).and_then(|net| cases::run(&net, case, address)),
        _ => Err("usage: peer serve CERTS | peer call CASE ADDRESS CERTS".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn transport(certs: &str) -> Result<Http2Transport, Box<dyn Error>> {
    let tls = match certs {
        "-" => None,
        folder => {
            let pem = |name: &str| Pem::file(Path::new(folder).join(name));
            Some(Tls::new(TlsConfig::new(pem("cert.pem")?, pem("key.pem")?, pem("ca.pem")?))?)
        }
    };
    Ok(Http2Transport::new(tls, Limits::default(), Options::default())?)
}

fn serve(certs: &str) -> Result<(), Box<dyn Error>> {
    let net = transport(certs)?;
    let server = net.listen_methods("127.0.0.1:0", service::methods())?;
    println!("listening on {}", server.local_addr());
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.stop(Duration::from_secs(1));
    Ok(())
}
