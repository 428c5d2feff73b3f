//! The thread that drives a [`NodeCore`]: it passes events in and carries out effects.
//!
//! The only blocking operation is the wait for the next event. Messages are queued at the communication layer, dials
//! run on its writer threads, cryptography runs on the [workers](super::workers), and full subscriptions drop messages.

use super::core::Context;
use super::core::NodeCore;
use super::inbox::Inbox;
use super::workers::Workers;
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::comm::threads::Threads;
use crate::comm::{self, ByteSize, Comm, Demux, ReceivedMessage, RemotePeer, Sink, Subscription};
use crate::crypto::PkiId;
use crate::discovery::{Effect, Event, Notice, Remote};
use crate::error::Result;
use crate::journal::Deferred;
use crate::message::{Content, SignedMessage};
use crate::random::SystemRandom;
use crate::sync::channel::{never, select, Receiver, Sender};
use crate::sync::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// Number of events handled between timer checks.
const AT_ONCE: usize = 64;

/// A message received by gossip; delivered once.
#[derive(Clone, Debug)]
pub struct Gossiped {
    /// The message.
    pub message: SignedMessage,
    /// The peer that first sent it to us, not necessarily its author.
    pub from: PkiId,
}

impl ByteSize for Gossiped {
    fn byte_size(&self) -> usize {
        self.message.wire_len()
    }
}

impl ByteSize for Notice {}

/// State shared by the driver and the handles on a node.
pub(super) struct NodeState {
    /// Held only during core calls, never while effects are carried out.
    pub core: Mutex<NodeCore>,
    pub comm: Comm,
    pub clock: Arc<dyn Clock>,
    pub messages: Demux<Gossiped>,
    pub notices: Demux<Notice>,
    pub workers: Workers,
    pub inbox: Arc<Inbox>,
    pub threads: Threads,
    pub stopping: Cancel,
    /// Channel for the results of requested work; bounded by the number of requests of the core.
    pub answers: Sender<Event>,
}

/// The sources of events.
pub(super) struct Inputs {
    /// Puts messages into the inbox; dropped with the communication layer.
    pub sink: Sink,
    pub connections: Subscription<comm::Event>,
    pub presumed_dead: Subscription<PkiId>,
    pub identity_switch: Subscription<PkiId>,
    pub answers: Receiver<Event>,
}

impl Inputs {
    pub fn new(comm: &Comm, inbox: Arc<Inbox>, answers: Receiver<Event>) -> Self {
        Inputs {
            sink: comm.add_sink(move |received| {
                let unwanted = matches!(
                    received.message().content(),
                    None | Some(
                        Content::Conn(_)
                            | Content::Empty(_)
                            | Content::Ack(_)
                            | Content::PrivateReq(_)
                            | Content::PrivateRes(_)
                            | Content::PrivateData(_)
                    )
                );
                // Blocks, so that a connection that exceeds its share is not read further, without delaying other
                // connections.
                if !unwanted {
                    inbox.put(&received.connection_info().id, received.clone());
                }
            }),
            connections: comm.events(),
            presumed_dead: comm.presumed_dead(),
            identity_switch: comm.identity_switch(),
            answers,
        }
    }
}

impl NodeState {
    /// Calls the core, then carries out its effects.
    pub fn with_core<T>(self: &Arc<Self>, act: impl FnOnce(&mut NodeCore, &mut Context<'_>) -> T) -> T {
        let mut effects = Vec::new();
        let result = {
            let _deferred = Deferred::begin();
            let mut core = self.core.lock();
            act(
                &mut core,
                &mut Context {
                    now: self.clock.now(),
                    random: &mut SystemRandom,
                    peers: self.comm.identity_mapper(),
                    effects: &mut effects,
                },
            )
        };
        effects.into_iter().for_each(|effect| self.carry_out(effect));
        result
    }

    /// Like [`with_core`](Self::with_core), for callers other than the driver. Wakes the driver, since timers may now
    /// be due earlier.
    pub fn call<T>(self: &Arc<Self>, act: impl FnOnce(&mut NodeCore, &mut Context<'_>) -> T) -> T {
        let result = self.with_core(act);
        self.inbox.wake();
        result
    }

    fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Send { to, endpoint, message } => {
                if let Err(e) = self.comm.send(&message, &[RemotePeer::with_id(&*endpoint, to)]) {
                    log::debug!("{e}");
                }
            }
            Effect::Verify { token, message, from } => self.workers.verify(token, message, &from),
            Effect::Sign { token, message, internal_endpoint } => self.workers.sign(token, message, internal_endpoint),
            Effect::Ping { token, pki_id, endpoint } => {
                // Connected means reachable: messages sent next need no second dial.
                let expected = pki_id.clone();
                self.connect(RemotePeer::with_id(endpoint, pki_id), move |found| Event::Pinged {
                    token,
                    reachable: found.is_ok_and(|remote| remote.pki_id == expected),
                });
            }
            Effect::Handshake { token, endpoint } => {
                self.connect(RemotePeer::new(endpoint), move |result| Event::Handshaken { token, result });
            }
            Effect::Close(id) => self.comm.close_conn(&RemotePeer::with_id("", id)),
            Effect::Deliver { message, from } => drop(self.messages.publish(&Gossiped { message, from })),
            // The core has already chosen the peers and requested the sends.
            Effect::Gossip { .. } => {}
            Effect::Notify(notice) => drop(self.notices.publish(&notice)),
        }
    }

    /// Connects to a peer and answers with its identity.
    fn connect(self: &Arc<Self>, peer: RemotePeer, answer: impl FnOnce(Result<Remote>) -> Event + Send + 'static) {
        let (answers, mapper) = (self.answers.clone(), self.comm.identity_mapper().clone());
        let answer = Arc::new(Mutex::new(Some(answer)));
        let tell = {
            let answer = answer.clone();
            move |result: Result<Remote>| {
                let answer = answer.lock().take();
                if let Some(answer) = answer {
                    let _ = answers.send(answer(result));
                }
            }
        };
        let failed = tell.clone();
        let connecting = self.comm.connect_then(&peer, move |found| {
            tell(found.map(|info| Remote { pki_id: info.id.clone(), org: mapper.org(&info.id) }));
        });
        if let Err(e) = connecting {
            failed(Err(e));
        }
    }

    /// Returns a timer that fires when the core's timers are due; `None` if they already are.
    fn timer(&self) -> Option<Receiver<Instant>> {
        let Some(due) = self.core.lock().next_timeout() else { return Some(never()) };
        let now = self.clock.now();
        if due <= now {
            return None;
        }
        let timer = self.clock.after(due.saturating_duration_since(now));
        // If the clock advanced while the timer was being set, the timer would fire late.
        (self.clock.now() < due).then_some(timer)
    }
}

/// Runs until the node stops.
pub(super) fn run(shared: &Arc<NodeState>, inputs: &Inputs) {
    while !shared.stopping.is_cancelled() {
        let Some(timer) = shared.timer() else {
            shared.with_core(|core, cx| core.handle(Event::Timeout, cx));
            continue;
        };
        let first = select! {
            recv(shared.inbox.arrived()) -> _ => shared.inbox.take().as_ref().map(received),
            recv(inputs.sink.ended().signal()) -> _ => return,
            recv(inputs.answers) -> answer => answer.ok(),
            recv(inputs.connections.signal()) -> _ => {
                one_of(&inputs.connections).and_then(|event| connected(shared, event))
            }
            recv(inputs.presumed_dead.signal()) -> _ => one_of(&inputs.presumed_dead).map(Event::PresumedDead),
            recv(inputs.identity_switch.signal()) -> _ => one_of(&inputs.identity_switch).map(Event::IdentitySwitch),
            recv(timer) -> _ => Some(Event::Timeout),
            recv(shared.stopping.signal()) -> _ => return,
        };
        let Some(first) = first else { continue };
        shared.with_core(|core, cx| {
            core.handle(first, cx);
            // Handle further incoming events under the same lock.
            for _ in 0..AT_ONCE {
                let next = match inputs.answers.try_recv() {
                    Ok(answer) => answer,
                    Err(_) => match shared.inbox.take() {
                        Some(message) => received(&message),
                        None => break,
                    },
                };
                core.handle(next, cx);
            }
        });
    }
}

/// Receives one signalled item; signals again if more remain.
fn one_of<T: ByteSize>(subscription: &Subscription<T>) -> Option<T> {
    subscription.try_recv().ok().flatten()
}

fn received(message: &ReceivedMessage) -> Event {
    // The core may keep it.
    Event::Received { message: message.message().kept(), from: message.connection_info().id.clone() }
}

/// Returns the event for a peer that proved to be at an endpoint that we dialled.
fn connected(shared: &NodeState, event: comm::Event) -> Option<Event> {
    match event {
        comm::Event::Connected { info, dialled: Some(endpoint) } => {
            let remote = Remote { pki_id: info.id.clone(), org: shared.comm.identity_mapper().org(&info.id) };
            Some(Event::Dialled { endpoint, remote })
        }
        _ => None,
    }
}
