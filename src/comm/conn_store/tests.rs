use super::*;
use crate::comm::connection::{AuthInfo, ConnectionInfo};
use crate::comm::outbox::Recent;
use crate::comm::peer_entry::BeginDial;
use crate::crypto::PeerIdentity;
use crate::transport::{InlineWrites, Status, Stream, StreamInfo};
use bytes::Bytes;

const CONN_TIMEOUT: Duration = Duration::from_secs(2);

struct Dummy(StreamInfo);

impl Stream for Dummy {
    fn start_send(&self, _: Bytes) -> Result<(), StreamEnd> {
        Ok(())
    }
    fn wait_sent(&self, _: Option<Duration>) -> Result<bool, StreamEnd> {
        Ok(true)
    }
    fn recv(&self, _: Option<Duration>) -> Result<Option<Bytes>, StreamEnd> {
        Ok(None)
    }
    fn finish(&self, _: &Status) -> Result<(), StreamEnd> {
        Ok(())
    }
    fn cancel(&self) {}
    fn info(&self) -> &StreamInfo {
        &self.0
    }
}

struct World {
    store: ConnStore,
    start: Instant,
    generation: AtomicU64,
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            conn_timeout: CONN_TIMEOUT,
            max_peers: 4,
            queue_messages: 10,
            queue_bytes: 1 << 20,
            inline_writes: InlineWrites::default(),
        };
        World { store: ConnStore::new(limits), start: Instant::now(), generation: AtomicU64::new(0) }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn conn(&self, from: &str, dialled: bool, since: Instant) -> Arc<Connection> {
        let info = ConnectionInfo {
            id: id(from),
            identity: PeerIdentity::default(),
            endpoint: format!("{from}:1"),
            auth: AuthInfo { signed_data: Bytes::new(), signature: Bytes::new() },
        };
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let stream = Arc::new(Dummy(StreamInfo::default()));
        Arc::new(match dialled {
            true => Connection::dialled(generation, stream, info, since, true),
            false => Connection::accepted(generation, stream, info, since),
        })
    }

    /// Returns the entry, and whether this call started its writer.
    fn entry(&self, to: &RemotePeer) -> (Arc<PeerEntry>, bool) {
        let mut created = false;
        let peer = self.store.entry(to, |_| {
            created = true;
            Ok(())
        });
        (peer.unwrap(), created)
    }

    fn accepted(&self, conn: &Arc<Connection>) -> Installed {
        self.store.accepted(conn, |_| Ok(())).unwrap()
    }

    fn claim(&self, peer: &Arc<PeerEntry>, id: &PkiId) -> Claim {
        self.store.claim(peer, id, &mut VecDeque::new(), self.start)
    }

    fn push(&self, peer: &PeerEntry) {
        let message = crate::message::SignedMessage::noop_sign(Default::default()).unwrap();
        assert!(peer.outbox.push(Item::Message { message, tracker: None }, &Recent::new()).is_ok());
    }

    fn dial(&self, to: &RemotePeer) -> (Arc<PeerEntry>, Cancel) {
        let (peer, created) = self.entry(to);
        assert!(created);
        match peer.begin_dial() {
            BeginDial::Dial { cancel, .. } => (peer, cancel),
            _ => panic!("nothing to dial"),
        }
    }
}

fn id(name: &str) -> PkiId {
    PkiId::from(name.as_bytes())
}

fn named(name: &str) -> RemotePeer {
    RemotePeer::with_id(format!("{name}:1"), id(name))
}

fn current(peer: &PeerEntry) -> Option<u64> {
    peer.connection().map(|c| c.generation)
}

fn lost() -> StreamEnd {
    StreamEnd::Lost(Status::unknown("gone"))
}

#[test]
fn an_inbound_stream_ends_a_dial_whose_connection_message_has_not_left() {
    let world = World::new();
    let (peer, cancel) = world.dial(&named("b"));
    let inbound = world.conn("b", false, world.at(1));
    let Installed::Current { fresh: true, displaced: None, .. } = world.accepted(&inbound) else {
        panic!("not installed")
    };
    assert!(cancel.is_cancelled());
    assert!(peer.dial_failed().is_some_and(|(_, news)| !news), "there is a stream all the same, and that is known");
    assert_eq!(current(&peer), Some(inbound.generation));
}

#[test]
fn within_the_window_ours_stays_and_theirs_is_read_beside_it() {
    let world = World::new();
    let (peer, cancel) = world.dial(&named("b"));
    peer.conn_sent(world.at(0));
    let inbound = world.conn("b", false, world.at(2));
    assert!(matches!(world.accepted(&inbound), Installed::Spare { displaced: None, .. }));
    assert!(!cancel.is_cancelled());
    let ours = world.conn("b", true, world.at(0));
    assert!(matches!(
        world.store.dialled(&peer, &ours, &mut VecDeque::new()),
        Installed::Current { fresh: true, displaced: None, .. }
    ));
    assert_eq!(current(&peer), Some(ours.generation));
    // It is ours to give up only if our PKI-ID is the larger one.
    assert_eq!(peer.yield_deadline(&id("c"), CONN_TIMEOUT), Some(world.at(4)));
    assert_eq!(peer.yield_deadline(&id("a"), CONN_TIMEOUT), None);
    assert_eq!(world.store.ended(&peer, &ours, lost(), world.at(4), || {}), Loss::None);
    assert_eq!(current(&peer), Some(inbound.generation), "theirs takes over");
}

#[test]
fn after_the_window_an_inbound_stream_replaces_ours() {
    let world = World::new();
    let (peer, _) = world.dial(&named("b"));
    let ours = world.conn("b", true, world.at(0));
    world.store.dialled(&peer, &ours, &mut VecDeque::new());
    let inbound = world.conn("b", false, world.at(3));
    let Installed::Current { displaced: Some(old), fresh: false, .. } = world.accepted(&inbound) else {
        panic!("not replaced")
    };
    assert_eq!(old.generation, ours.generation);
    assert_eq!(world.store.ended(&peer, &ours, StreamEnd::Local, world.at(3), || {}), Loss::None);
    assert_eq!(current(&peer), Some(inbound.generation), "the old one's end does not remove its successor");
}

#[test]
fn an_inbound_stream_replaces_an_inbound_one_at_any_time() {
    let world = World::new();
    let first = world.conn("b", false, world.at(0));
    let Installed::Current { peer, fresh: true, .. } = world.accepted(&first) else { panic!("not installed") };
    let second = world.conn("b", false, world.at(0));
    assert!(matches!(world.accepted(&second), Installed::Current { displaced: Some(_), .. }));
    assert_eq!(world.store.ended(&peer, &second, lost(), world.at(1), || {}), Loss::Disconnected);
    assert!(world.store.remove_if_settled(&peer));
    assert!(world.store.peers().is_empty());
}

#[test]
fn two_names_of_one_peer_become_one_entry() {
    let world = World::new();
    let (by_id, _) = world.dial(&named("b"));
    world.store.dialled(&by_id, &world.conn("b", true, world.at(0)), &mut VecDeque::new());
    let (by_endpoint, _) = world.dial(&RemotePeer::new("alias:1"));
    let again = world.conn("b", true, world.at(1));
    let Installed::Current { peer, fresh: false, displaced: Some(_), .. } =
        world.store.dialled(&by_endpoint, &again, &mut VecDeque::new())
    else {
        panic!("not merged")
    };
    assert!(Arc::ptr_eq(&peer, &by_id));
    assert_eq!(current(&by_id), Some(again.generation), "the other side keeps the newest that we dialled");
    assert!(Arc::ptr_eq(&world.entry(&RemotePeer::new("alias:1")).0, &by_id));
    assert_eq!(world.store.peers().len(), 1);
}

#[test]
fn a_dial_to_a_peer_that_is_another_entrys_is_given_up_and_joins_it() {
    let world = World::new();
    let (first, _) = world.dial(&RemotePeer::new("alias:1"));
    let (second, second_dial) = world.dial(&named("b"));
    world.push(&first);
    // `second` is expected to be that peer but not connected yet: its name takes precedence, and the endpoint of
    // `first` is the proven one.
    assert!(matches!(world.claim(&first, &id("b")), Claim::Joined));
    assert!(second_dial.is_cancelled() && second.dials_again());
    assert_eq!((first.outbox.owed(), second.outbox.owed()), (0, 1));
    assert!(Arc::ptr_eq(&world.entry(&RemotePeer::new("alias:1")).0, &second));
    assert!(second.dial_failed().is_none());
    let BeginDial::Dial { endpoint, .. } = second.begin_dial() else { panic!("nothing to dial") };
    assert_eq!(endpoint, "alias:1");
    assert!(matches!(world.claim(&second, &id("b")), Claim::Granted));
    // From here on the entry belongs to that peer, and an inbound stream yields.
    let (third, _) = world.dial(&RemotePeer::new("other-alias:1"));
    world.push(&third);
    assert!(matches!(world.claim(&third, &id("b")), Claim::Joined));
    assert!(!second.dials_again(), "its own dial has come further");
    assert!(matches!(world.accepted(&world.conn("b", false, world.at(1))), Installed::Spare { .. }));
    assert_eq!((second.outbox.owed(), world.store.peers().len()), (2, 1));
}

#[test]
fn a_dial_does_not_go_on_beside_a_stream_that_came_in_or_one_that_is_being_closed() {
    let world = World::new();
    let (peer, _) = world.dial(&named("b"));
    world.accepted(&world.conn("b", false, world.at(0)));
    assert!(matches!(world.claim(&peer, &id("b")), Claim::Unwanted));
    world.store.close(&named("b"));
    let (again, _) = world.dial(&RemotePeer::new("b:1"));
    let Claim::Later(over) = world.claim(&again, &id("b")) else { panic!("not put off") };
    assert!(!over.is_cancelled());
    peer.done.cancel();
    assert!(over.is_cancelled());
}

#[test]
fn an_entry_without_a_writer_is_never_found() {
    let world = World::new();
    let refused = || Err(Error::new(crate::ErrorKind::Full, "no thread"));
    assert!(matches!(world.store.entry(&named("b"), |_| refused()), Err(Refusal::NoThread(_))));
    assert!(world.store.accepted(&world.conn("b", false, world.at(0)), |_| refused()).is_err());
    assert!(world.store.peers().is_empty() && world.entry(&named("b")).1);
    // Of two entries created at the same time, the later one ends.
    let mut late = None;
    let found = world.store.entry(&named("c"), |peer| {
        late = Some(peer.clone());
        world.entry(&named("c"));
        Ok(())
    });
    let late = late.unwrap();
    assert!(!Arc::ptr_eq(&found.ok().unwrap(), &late) && late.closing.is_cancelled());
}

#[test]
fn an_entry_expected_to_be_another_peer_is_found_under_both_names_until_that_one_comes() {
    let world = World::new();
    let expected = RemotePeer::with_id("h:1", id("old"));
    let (peer, _) = world.dial(&expected);
    world.store.dialled(&peer, &world.conn("new", true, world.at(0)), &mut VecDeque::new());
    for name in [&expected, &named("new")] {
        assert!(Arc::ptr_eq(&world.entry(name).0, &peer));
    }
    let real = world.conn("old", false, world.at(1));
    assert!(matches!(world.accepted(&real), Installed::Current { fresh: true, .. }));
    assert!(!Arc::ptr_eq(&world.entry(&expected).0, &peer));
}

#[test]
fn an_entry_that_owes_something_is_not_removed_and_one_that_is_closed_is_replaced() {
    let world = World::new();
    let (peer, _) = world.dial(&named("b"));
    world.push(&peer);
    assert!(!world.store.remove_if_settled(&peer));
    world.store.close(&named("b"));
    assert!(peer.closing.is_cancelled());
    let (successor, created) = world.entry(&named("b"));
    assert!(created && !Arc::ptr_eq(&successor, &peer));
    assert_eq!(world.store.close_all().len(), 2, "stopping reaches the one that is leaving too");
    assert!(matches!(world.store.entry(&named("c"), |_| Ok(())), Err(Refusal::Closing)));
}

#[test]
fn the_table_is_bounded() {
    let world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.accepted(&world.conn(name, false, world.at(0)));
    }
    assert!(matches!(world.accepted(&world.conn("e", false, world.at(0))), Installed::Full));
}

#[test]
fn of_two_peers_that_answer_for_one_entry_the_expected_one_keeps_it() {
    let world = World::new();
    let (peer, _) = world.dial(&named("b"));
    peer.conn_sent(world.at(0));
    let expected = world.conn("b", false, world.at(1));
    assert!(matches!(world.accepted(&expected), Installed::Spare { .. }));
    let another = world.conn("c", true, world.at(0));
    assert!(matches!(world.store.dialled(&peer, &another, &mut VecDeque::new()), Installed::Unwanted));
    let Some((conn, true)) = peer.dial_failed() else { panic!("not taken up") };
    assert_eq!(conn.generation, expected.generation);
    assert!(world.entry(&named("c")).1, "the other one has no peer yet");
}
