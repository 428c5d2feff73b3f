//! Gossip on a gRPC server that the program runs anyway: one port for the host's own service and for gossip.
//!
//! `cargo run --release --features host-server --example host_server` prints:
//!
//! ```text
//! the host's own service answers: "hello"
//! gossip on the same port: peer0 is there, of Org1MSP
//! after gossip stopped, the host's own service answers: "hello again"
//! ```

use fabric_gossip::cancel::Cancel;
use fabric_gossip::comm::host::{self, HostOptions};
use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::rpc::{self, Pem, Tls, TlsConfig};
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::{Comm, CommBuilder, RemotePeer};
use grpcio::{CertificateRequestType, ChannelBuilder, Environment, ServerBuilder, ServerCredentialsBuilder};
use grpcio::{Marshaller, Method, MethodType, RpcContext, Service, ServiceBuilder, UnarySink};
use std::error::Error;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let org = Org::new("Org1MSP", "org1.example.com")?;
    let member = org.peer("peer0")?;

    // The peer, without a server of its own. The host's server is to show the certificate that `tls` has for servers;
    // `HostOptions::certificate` is for one that shows another.
    let (peer0, gossip) = peer(&member)?.start_on_host(HostOptions::default())?;

    // The host's server, with a service of the host's and with ours.
    let env = Arc::new(Environment::new(2));
    let arguments = host::arguments(ChannelBuilder::new(env.clone()), &rpc::Options::default());
    let credentials = ServerCredentialsBuilder::new()
        .root_cert(member.tls_ca_cert.clone(), CertificateRequestType::RequestClientCertificateButDontVerify)
        .add_cert(member.tls_cert.clone().into(), member.tls_key.clone().into())
        .build();
    let mut server = ServerBuilder::new(env)
        .channel_args(arguments.build_args())
        .requests_slot_per_cq(32)
        .register_service(echo())
        .register_service(gossip.service())
        .build()?;
    let port = server.add_listening_port("127.0.0.1:0", credentials)?;
    server.start();
    let address = format!("127.0.0.1:{port}");

    let channel = rpc::Channel::new(&address, Some(&tls(&member)?), &rpc::Options::default(), LIMIT)?;
    let ask = |text: &'static str| channel.unary("/host.Echo/Echo", text.into())?.wait(LIMIT, &Cancel::new());
    println!("the host's own service answers: {:?}", String::from_utf8_lossy(&ask("hello")?));

    let peer1 = peer(&org.peer("peer1")?)?.start()?;
    let found = peer1.handshake(&RemotePeer::new(&address))?;
    assert_eq!(&found.info.id, peer0.pki_id());
    let mspid = peer1.identity_mapper().org(&found.info.id).map_or("nobody we know".into(), |org| org.to_string());
    println!("gossip on the same port: peer0 is there, of {mspid}");

    // Gossip ends without the server, and before it.
    peer1.stop();
    peer0.stop();
    println!(
        "after gossip stopped, the host's own service answers: {:?}",
        String::from_utf8_lossy(&ask("hello again")?)
    );
    Ok(())
}

/// A peer that is this member.
fn peer(member: &Member) -> fabric_gossip::Result<CommBuilder> {
    let folder = std::env::temp_dir().join(format!("host_server-{}-{}", std::process::id(), member.name));
    member.write_msp(&folder)?;
    let msp = Arc::new(Msp::load(&folder, &member.mspid)?);
    let signer = SigningIdentity::load(&msp, &folder, SystemTime::now())?;
    let _ = std::fs::remove_dir_all(&folder);
    let identity = signer.serialize();
    let crypto = Arc::new(MspCryptoService::new(msp, Some(signer)));
    Ok(Comm::builder(identity, crypto.clone(), crypto).tls(tls(member)?))
}

fn tls(member: &Member) -> fabric_gossip::Result<Tls> {
    Tls::new(TlsConfig::new(
        Pem::new("server.crt", member.tls_cert.clone()),
        Pem::new("server.key", member.tls_key.clone()),
        Pem::new("ca.crt", member.tls_ca_cert.clone()),
    ))
}

/// The host's own service: answers with what it was asked.
fn echo() -> Service {
    let bytes = || Marshaller {
        ser: |message: &Vec<u8>, slice| {
            *slice = message.clone().into();
            Ok(())
        },
        de: |mut reader| {
            let mut message = Vec::new();
            reader.read_to_end(&mut message).map_err(|e| grpcio::Error::Codec(e.into()))?;
            Ok(message)
        },
    };
    let method = Method { ty: MethodType::Unary, name: "/host.Echo/Echo", req_mar: bytes(), resp_mar: bytes() };
    let answer = |ctx: RpcContext<'_>, message, sink: UnarySink<Vec<u8>>| {
        let answer = sink.success(message);
        ctx.spawn(async move { drop(answer.await) });
    };
    ServiceBuilder::new().add_unary_handler(&method, answer).build()
}
