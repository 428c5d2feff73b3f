//! The form with the gossip service on a host's own grpcio server, with mutual TLS on loopback. Only the listener
//! differs from the form over gRPC's C core.

use super::sockets::{member, tls_of};
use super::{Form, Grpc, Link, Security, Served, World};
use fabric_gossip::comm::{Comm, CommBuilder};
use fabric_gossip::message::SignedMessage;
use fabric_gossip::node::{Node, NodeBuilder};
use fabric_gossip::testing::cryptogen::Member;
use fabric_gossip::transport::c_core::Options;
use fabric_gossip::transport::host::{self, HostTransport};
use fabric_gossip::transport::{Acceptor, Limits, Tls, Transport};
use grpcio::{CertificateRequestType, ChannelBuilder, Environment, Server, ServerBuilder, ServerCredentials};
use grpcio::{ServerCredentialsBuilder, Service};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The polling threads of all hosts.
static ENV: LazyLock<Arc<Environment>> = LazyLock::new(|| Arc::new(Environment::new(2)));

/// Peers whose gossip service is one of their host's, on free ports of the loopback interface.
pub struct Host {
    grpc: Grpc,
    servers: Mutex<HashMap<String, Server>>,
}

/// A host's server with these services, and where it listens.
pub fn serve(member: Option<&Member>, services: impl IntoIterator<Item = Service>) -> (Server, String) {
    serve_at("127.0.0.1:0", member, services)
}

fn serve_at(address: &str, member: Option<&Member>, services: impl IntoIterator<Item = Service>) -> (Server, String) {
    let arguments = ChannelBuilder::new(ENV.clone());
    let arguments = host::arguments(arguments, &Limits::default(), &Options::default()).unwrap();
    let builder = ServerBuilder::new(ENV.clone()).channel_args(arguments.build_args()).requests_slot_per_cq(16);
    let builder = services.into_iter().fold(builder, ServerBuilder::register_service);
    let credentials = match member {
        Some(member) => {
            let policy = CertificateRequestType::RequestClientCertificateButDontVerify;
            let (cert, key) = (member.tls_cert.clone().into(), member.tls_key.clone().into());
            let builder = ServerCredentialsBuilder::new().root_cert(member.tls_ca_cert.clone(), policy);
            builder.add_cert(cert, key).build()
        }
        None => ServerCredentials::insecure(),
    };
    let mut server = builder.build().unwrap();
    let port = server.add_listening_port(address, credentials).unwrap();
    server.start();
    (server, format!("127.0.0.1:{port}"))
}

/// Drops one thing after the other.
struct Then<A, B>(A, B);

/// A transport for the service of a host's server.
pub fn on_host(tls: Option<Tls>) -> HostTransport {
    HostTransport::new(tls, Limits::default(), Options::default()).unwrap()
}

impl Form for Host {
    fn new() -> Self {
        Host { grpc: Grpc::new(), servers: Mutex::default() }
    }

    fn world(&self) -> &World {
        self.grpc.world()
    }

    fn start(&self, name: &str, security: Security, builder: CommBuilder) -> (Comm, String) {
        let member = (security == Security::Mutual).then(|| member(name));
        let gossip = on_host(member.as_ref().map(|member| tls_of(name, member.clone())));
        let (server, endpoint) = serve(member.as_ref(), [gossip.service()]);
        let comm = builder.transport(Arc::new(gossip)).listen(&endpoint).start().unwrap();
        self.servers.lock().insert(endpoint.clone(), server);
        (comm, endpoint)
    }

    fn start_node(&self, name: &str, at: Option<&str>, builder: NodeBuilder) -> (Node, String) {
        let member = member(name);
        let gossip = on_host(Some(tls_of(name, member.clone())));
        let (server, endpoint) = serve_at(at.unwrap_or("127.0.0.1:0"), Some(&member), [gossip.service()]);
        let node = builder.comm(|comm| comm.transport(Arc::new(gossip)).listen(&endpoint)).start().unwrap();
        self.servers.lock().insert(endpoint.clone(), server);
        (node, endpoint)
    }

    fn leave(&self, endpoint: &str) {
        let server = self.servers.lock().remove(endpoint);
        drop(server);
    }

    fn transport(&self, name: &str, security: Security) -> Arc<dyn Transport> {
        self.grpc.transport(name, security)
    }

    fn intrude(&self, endpoint: &str, message: &SignedMessage) -> Box<dyn Any> {
        self.grpc.intrude(endpoint, message)
    }

    fn serve(&self, name: &str, security: Security, acceptor: Arc<dyn Acceptor>) -> Served {
        let member = (security == Security::Mutual).then(|| member(name));
        let gossip = on_host(member.as_ref().map(|member| tls_of(name, member.clone())));
        let (server, endpoint) = serve(member.as_ref(), [gossip.service()]);
        let listener = gossip.listen(&endpoint, acceptor).unwrap();
        Served::new(endpoint).keeping(Then(listener, server))
    }

    fn serve_without_ping(&self) -> Served {
        self.grpc.serve_without_ping()
    }

    fn mute(&self) -> Served {
        self.grpc.mute()
    }

    fn refused(&self) -> Served {
        self.grpc.refused()
    }

    fn link(&self, to: &str) -> Link {
        self.grpc.link(to)
    }
}
