//! The async variant of the benchmark speaks the same protocol: it and ours authenticate each other, exchange messages and
//! acknowledge them. It runs as a separate process, so that no async runtime enters this one.
//!
//! Needs `cargo build --release --manifest-path benches/async/Cargo.toml`; is skipped if that was not run.

use fabric_gossip::message::{self, Content};
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::testing::skip;
use fabric_gossip::transport::{Pem, Tls, TlsConfig, Transport};
use fabric_gossip::{Comm, ErrorKind, RemotePeer};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The other process. It carries out orders, a line each.
struct AsyncPeer {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl AsyncPeer {
    fn start(member: &Path) -> Option<AsyncPeer> {
        let program = program()?;
        let mut process = Command::new(program)
            .arg("--from")
            .arg(member)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the async peer starts");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Some(AsyncPeer { process, input, output })
    }

    /// Everything it says, without the `done` at the end; or its error.
    fn order(&mut self, order: &str) -> Result<Vec<String>, String> {
        writeln!(self.input.as_mut().unwrap(), "{order}").unwrap();
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the async peer died of: {order}");
            match line.trim_end() {
                "done" => return Ok(said),
                line if line.starts_with("error ") => return Err(line["error ".len()..].to_owned()),
                line => said.push(line.to_owned()),
            }
        }
    }
}

impl Drop for AsyncPeer {
    fn drop(&mut self) {
        // The end of its input is its end.
        self.input = None;
        let _ = self.process.wait();
    }
}

fn program() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/async/target/release/async-peer");
    let found = std::env::var_os("ASYNC_PEER").map_or(built, PathBuf::from);
    if found.exists() {
        return Some(found);
    }
    skip("the async variant", "it is not built (cargo build --release --manifest-path benches/async/Cargo.toml)");
    None
}

/// Makes one of our transports.
type Over = fn(Tls) -> Arc<dyn Transport>;

#[cfg(feature = "c-core")]
fn c_core(tls: Tls) -> Arc<dyn Transport> {
    use fabric_gossip::transport::{c_core, Limits};
    Arc::new(c_core::CoreTransport::new(Some(tls), Limits::default(), c_core::Options::default()).unwrap())
}

#[cfg(feature = "http2")]
fn http2(tls: Tls) -> Arc<dyn Transport> {
    use fabric_gossip::transport::{http2, Limits};
    Arc::new(http2::Http2Transport::new(Some(tls), Limits::default(), http2::Options::default()).unwrap())
}

/// An organisation with a peer of ours and one of theirs.
struct Net {
    folder: PathBuf,
    org: Org,
    over: Over,
}

impl Net {
    fn new(test: &str, over: Over) -> Net {
        let folder =
            std::env::temp_dir().join(format!("fabric-gossip-async-{}-{test}-{:x}", std::process::id(), over as usize));
        Net { folder, org: Org::new("Org1MSP", "org1.example.com").unwrap(), over }
    }

    fn theirs(&self, member: &Member) -> Option<AsyncPeer> {
        fs::create_dir_all(&self.folder).unwrap();
        for (name, text) in [
            ("mspid", &member.mspid),
            ("ca.pem", &member.ca_cert),
            ("cert.pem", &member.cert),
            ("key.pem", &member.key),
            ("tls-ca.pem", &member.tls_ca_cert),
            ("tls-cert.pem", &member.tls_cert),
            ("tls-key.pem", &member.tls_key),
        ] {
            fs::write(self.folder.join(name), text).unwrap();
        }
        AsyncPeer::start(&self.folder)
    }

    fn ours(&self, org: &Org) -> Comm {
        let member = org.peer("ours").unwrap();
        let crypto = org.crypto_service(&member, &[]).unwrap();
        // Ours trusts their TLS authority, of any organisation.
        let roots = self.org.tls_ca_cert().unwrap();
        let pem = |name: &str, text: &str| Pem::new(name, text);
        let tls = TlsConfig::new(pem("cert", &member.tls_cert), pem("key", &member.tls_key), pem("roots", &roots));
        let transport = (self.over)(Tls::new(tls).unwrap());
        let builder = Comm::builder(member.identity(), crypto.clone(), crypto).transport(transport);
        builder.listen("127.0.0.1:0").start().unwrap()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn endpoint(said: &[String]) -> RemotePeer {
    RemotePeer::new(said[0].strip_prefix("endpoint ").expect("where it listens"))
}

fn ours_dials_the_async_one_and_what_it_sends_is_acknowledged(over: Over) {
    let net = Net::new("dial", over);
    let member = net.org.peer("theirs").unwrap();
    let Some(mut theirs) = net.theirs(&member) else { return };
    let peer = endpoint(&theirs.order("serve msp=1").unwrap());
    let ours = net.ours(&net.org);
    ours.probe(&peer).unwrap();
    let handshake = ours.handshake(&peer).unwrap();
    assert!(handshake.confirmed);
    assert_eq!(handshake.info.identity, member.identity());
    for size in [0, 100, 64 << 10, 3 << 20] {
        let block = message::data(0, "mychannel", 1, vec![7; size]);
        let result = ours.send_with_ack(block, PATIENCE, 1, std::slice::from_ref(&peer));
        assert_eq!(result.ack_count(), 1, "{size} bytes: {result}");
    }
    theirs.order("connected connections=1").unwrap();
    ours.stop();
    theirs.order("connected connections=0").unwrap();
}

fn the_async_one_dials_ours_and_all_arrives_in_order(over: Over) {
    const MESSAGES: u64 = 2_000;
    let net = Net::new("serve", over);
    let Some(mut theirs) = net.theirs(&net.org.peer("theirs").unwrap()) else { return };
    let ours = net.ours(&net.org);
    let address = ours.local_addr().unwrap().to_owned();
    // An error if ours does not confirm it.
    theirs.order(&format!("handshakes-with endpoint={address} count=1 msp=1")).unwrap();
    for size in [100, 64 << 10] {
        let received = ours.subscribe(|_| true);
        std::thread::scope(|scope| {
            let numbers = scope.spawn(|| {
                // The last one is acknowledged.
                let numbers: Vec<u64> = (0..MESSAGES)
                    .map(|_| {
                        let message = received.recv_timeout(PATIENCE).unwrap();
                        if message.message().nonce() != 0 {
                            message.ack(None).unwrap();
                        }
                        match message.message().content() {
                            Some(Content::DataMsg(data)) => data.payload.seq_num,
                            other => panic!("not a block: {other:?}"),
                        }
                    })
                    .collect();
                numbers
            });
            theirs.order(&format!("send endpoint={address} size={size} count={MESSAGES} msp=1")).unwrap();
            let expected: Vec<u64> = (0..MESSAGES - 1).chain([MESSAGES]).collect();
            assert_eq!(numbers.join().unwrap(), expected);
        });
    }
    ours.stop();
}

fn they_refuse_each_other_where_the_identity_is_not_to_be_believed(over: Over) {
    let net = Net::new("refuse", over);
    let Some(mut theirs) = net.theirs(&net.org.peer("theirs").unwrap()) else { return };
    let peer = endpoint(&theirs.order("serve msp=1").unwrap());
    // The same name and another authority; only its TLS certificate does not matter.
    let strangers = Org::new("Org1MSP", "org1.example.com").unwrap();
    let ours = net.ours(&strangers);
    let refused = ours.handshake(&peer).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Identity | ErrorKind::Refused), "{refused}");
    theirs.order("connected connections=0").unwrap();
    ours.stop();
}

macro_rules! for_each_socket_transport {
    ($($over:ident, $feature:literal;)*) => {
        $(#[cfg(feature = $feature)]
        mod $over {
            use super::$over as over;

            #[test]
            fn ours_dials_the_async_one_and_what_it_sends_is_acknowledged() {
                super::ours_dials_the_async_one_and_what_it_sends_is_acknowledged(over);
            }

            #[test]
            fn the_async_one_dials_ours_and_all_arrives_in_order() {
                super::the_async_one_dials_ours_and_all_arrives_in_order(over);
            }

            #[test]
            fn they_refuse_each_other_where_the_identity_is_not_to_be_believed() {
                super::they_refuse_each_other_where_the_identity_is_not_to_be_believed(over);
            }
        })*
    };
}

for_each_socket_transport! {
    c_core, "c-core";
    http2, "http2";
}
