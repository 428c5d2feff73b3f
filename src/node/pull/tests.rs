use super::*;
use crate::random::SeededRandom;

const MS: Duration = Duration::from_millis(1);

/// The waits of Fabric's tests.
fn config() -> PullConfig {
    PullConfig { digest_wait: 100 * MS, request_wait: 200 * MS, response_wait: 200 * MS, ..PullConfig::default() }
}

fn id(name: usize) -> PkiId {
    PkiId::new(format!("p{name:03}"))
}

fn digest(item: u64) -> Bytes {
    Bytes::from(item.to_string())
}

fn number(digest: &Bytes) -> u64 {
    std::str::from_utf8(digest).unwrap().parse().unwrap()
}

type Send = PullSend<u64>;
type Sent = (Instant, PkiId, Send);

/// Returns whether a peer, by its name, gets an item.
type Egress = fn(&PkiId, u64) -> bool;

struct PullingPeer {
    engine: PullEngine<u64>,
    asks: Vec<PkiId>,
    egress: Egress,
    delay: Duration,
    /// Whether it starts rounds.
    active: bool,
}

/// Peers that pull every half second, and the messages that they sent.
struct Net {
    peers: BTreeMap<PkiId, PullingPeer>,
    random: SeededRandom,
    now: Instant,
    start: Instant,
    under_way: Vec<Sent>,
    said: Vec<(PkiId, Send)>,
}

impl Net {
    fn new() -> Net {
        let now = Instant::now();
        let random = SeededRandom::new(7);
        Net { peers: BTreeMap::new(), random, now, start: now, under_way: Vec::new(), said: Vec::new() }
    }

    fn add(&mut self, name: usize, items: impl IntoIterator<Item = u64>, asks: &[usize]) -> PkiId {
        let mut engine = PullEngine::new(config());
        items.into_iter().for_each(|item| assert!(engine.add(digest(item), item)));
        let asks: Vec<PkiId> = asks.iter().map(|name| id(*name)).collect();
        let active = !asks.is_empty();
        self.peers.insert(id(name), PullingPeer { engine, asks, egress: |_, _| true, delay: Duration::ZERO, active });
        id(name)
    }

    fn peer(&mut self, name: usize) -> &mut PullingPeer {
        self.peers.get_mut(&id(name)).unwrap()
    }

    fn items(&self, name: usize) -> Vec<u64> {
        let mut items: Vec<u64> = self.peers[&id(name)].engine.digests().map(number).collect();
        items.sort_unstable();
        items
    }

    fn run(&mut self, until: Duration) {
        while self.now.duration_since(self.start) < until {
            self.now += 10 * MS;
            let (now, random) = (self.now, &mut self.random);
            let round = now.duration_since(self.start).as_millis() % 500 == 0;
            let mut out: Vec<Sent> = Vec::new();
            for (name, peer) in &mut self.peers {
                let mut send = peer.engine.poll(now, random);
                if round && peer.active {
                    send.extend(peer.engine.start_round(peer.asks.clone(), now, random));
                }
                out.extend(send.into_iter().map(|send| (now + peer.delay, name.clone(), send)));
            }
            out.append(&mut self.under_way);
            // Messages are answered immediately, until no peer has an answer.
            while let Some(at) = out.iter().position(|(at, ..)| *at <= now) {
                let (_, from, send) = out.remove(at);
                self.said.push((from.clone(), send.clone()));
                let Some(peer) = self.peers.get_mut(&send.to) else { continue };
                if let Some(answer) = receive(peer, &from, send.nonce, send.step, now) {
                    out.push((now + peer.delay, send.to, answer));
                }
            }
            self.under_way = out;
        }
    }
}

fn receive(peer: &mut PullingPeer, from: &PkiId, nonce: u64, step: PullStep<u64>, now: Instant) -> Option<Send> {
    let egress = |item: &Bytes| (peer.egress)(from, number(item));
    match step {
        PullStep::Hello => peer.engine.on_hello(from, nonce, now, egress),
        PullStep::Digest(digests) => {
            peer.engine.on_digest(from, nonce, &digests, |_| true);
            None
        }
        PullStep::Request(digests) => peer.engine.on_request(from, nonce, &digests, now, egress),
        PullStep::Response(items) => {
            let items = items.into_iter().map(|item| (digest(item), item));
            for (digest, item) in peer.engine.on_response(from, nonce, items) {
                peer.engine.add(digest, item);
            }
            None
        }
    }
}

fn requests(net: &Net) -> impl Iterator<Item = (&PkiId, &PkiId, &Vec<Bytes>)> {
    net.said.iter().filter_map(|(from, send)| match &send.step {
        PullStep::Request(digests) => Some((from, &send.to, digests)),
        _ => None,
    })
}

#[test]
fn p1_items_are_added_and_removed_once() {
    let mut engine = PullEngine::new(PullConfig { max_items: 1, ..config() });
    assert!(engine.add(digest(1), 1) && engine.add(digest(1), 1));
    assert_eq!(engine.digests().count(), 1);
    assert!(!engine.add(digest(2), 2), "no room");
    engine.remove(&digest(1));
    engine.remove(&digest(1));
    assert_eq!((engine.digests().count(), engine.item(&digest(1))), (0, None));
}

#[test]
fn p2_a_peer_that_stopped_brings_nothing_more() {
    let mut net = Net::new();
    net.add(1, [], &[2]);
    net.add(2, [1, 2, 3], &[]);
    net.run(800 * MS);
    assert_eq!(net.items(1), [1, 2, 3]);
    let mut stopped = net.peers.remove(&id(2)).unwrap();
    stopped.engine.add(digest(4), 4);
    stopped.engine.stop();
    net.run(3000 * MS);
    assert_eq!(net.items(1), [1, 2, 3]);
}

#[test]
fn p3_ten_peers_with_an_item_each_all_get_all() {
    let mut net = Net::new();
    let all: Vec<usize> = (0..10).collect();
    all.iter().for_each(|&name| drop(net.add(name, [name as u64], &all)));
    net.run(4000 * MS);
    all.iter().for_each(|&name| assert_eq!(net.items(name), (0..10).collect::<Vec<_>>(), "of {name}"));
}

#[test]
fn p4_only_what_is_missing_is_requested() {
    let mut net = Net::new();
    net.add(1, [1, 3], &[2]);
    net.add(2, [0, 1, 2, 3], &[]);
    net.run(2000 * MS);
    assert_eq!(net.items(1), [0, 1, 2, 3]);
    let requests: Vec<_> =
        requests(&net).map(|(_, _, digests)| digests.iter().map(number).collect::<Vec<_>>()).collect();
    assert_eq!(requests, [[0, 2]]);
}

#[test]
fn p5_who_was_not_asked_brings_nothing() {
    let mut net = Net::new();
    net.add(1, [], &[2]);
    net.add(2, [1, 2], &[]);
    net.add(3, [], &[]);
    for at in 1..300 {
        net.run(at * 10 * MS);
        // A third peer guesses, every 10 ms, with no nonce and with the right one.
        let right = net.peer(1).engine.round.as_ref().map(|round| round.nonces[&id(2)]);
        for nonce in [Some(0), right].into_iter().flatten() {
            let now = net.now;
            receive(net.peer(1), &id(3), nonce, PullStep::Digest(vec![digest(8)]), now);
            receive(net.peer(1), &id(3), nonce, PullStep::Response(vec![1, 8, 9]), now);
        }
    }
    assert_eq!(net.items(1), [1, 2]);
    assert!(requests(&net).all(|(_, to, digests)| *to == id(2) && !digests.contains(&digest(8))));
}

#[test]
fn what_was_asked_counts_with_its_nonce_and_once() {
    let (now, mut random) = (Instant::now(), SeededRandom::new(1));
    let mut engine: PullEngine<u64> = PullEngine::new(config());
    let nonce = engine.start_round(vec![id(2)], now, &mut random)[0].nonce;
    engine.on_digest(&id(2), nonce ^ 1, &[digest(7)], |_| true);
    engine.on_digest(&id(2), nonce, &[digest(1), digest(1), digest(2), Bytes::from(vec![b'1'; 257])], |_| true);
    let requests = engine.poll(now + 100 * MS, &mut random);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].step, PullStep::Request(vec![digest(1), digest(2)]));
    let items = |items: &[u64]| items.iter().map(|item| (digest(*item), *item)).collect::<Vec<_>>();
    assert!(engine.on_response(&id(2), nonce ^ 1, items(&[1])).is_empty());
    assert!(engine.on_response(&id(3), nonce, items(&[1])).is_empty());
    assert_eq!(engine.on_response(&id(2), nonce, items(&[1, 9, 1])), items(&[1]));
    assert!(engine.on_response(&id(2), nonce, items(&[1])).is_empty());
    engine.poll(now + 300 * MS, &mut random);
    assert!(engine.on_response(&id(2), nonce, items(&[2])).is_empty(), "too late");
    assert_eq!(engine.next_deadline(), None);
}

#[test]
fn p6_several_pull_from_one_and_two_from_each_other() {
    let mut net = Net::new();
    (1..=3).for_each(|name| drop(net.add(name, [], &[4])));
    net.add(4, [1, 2, 3], &[]);
    net.add(5, [1, 3], &[6]);
    net.add(6, [0, 2], &[5]);
    net.run(2000 * MS);
    (1..=4).for_each(|name| assert_eq!(net.items(name), [1, 2, 3], "of {name}"));
    (5..=6).for_each(|name| assert_eq!(net.items(name), [0, 1, 2, 3], "of {name}"));
}

#[test]
fn p7_who_is_too_late_is_left_out() {
    let mut net = Net::new();
    net.add(1, [], &[2, 3]);
    net.add(2, [1], &[]);
    net.add(3, [2], &[]);
    net.peer(2).delay = 600 * MS;
    net.run(3000 * MS);
    assert_eq!(net.items(1), [2]);
}

#[test]
fn p8_requests_are_spread_over_the_owners() {
    let mut net = Net::new();
    net.add(1, [], &[2, 3, 4]);
    (2..=5).for_each(|name| drop(net.add(name, 0..100, &[])));
    net.run(1000 * MS);
    assert_eq!(net.items(1).len(), 100);
    let asked: BTreeSet<&PkiId> = requests(&net).map(|(_, to, _)| to).collect();
    assert_eq!(asked, BTreeSet::from([&id(2), &id(3), &id(4)]));
    assert_eq!(requests(&net).map(|(_, _, digests)| digests.len()).sum::<usize>(), 100);
}

#[test]
fn p9_a_peer_gets_only_what_the_egress_filter_lets_it_have() {
    let mut net = Net::new();
    net.add(1, [], &[3]);
    net.add(2, [], &[3]);
    net.add(3, 0..6, &[]);
    net.peer(3).egress = |to, item| (item % 2 == 0) == (*to == id(1));
    net.run(2000 * MS);
    assert_eq!(net.items(1), [0, 2, 4]);
    assert_eq!(net.items(2), [1, 3, 5]);
    // Nor does a peer that requests it directly.
    let now = net.now;
    let peer = net.peer(3);
    receive(peer, &id(1), 9, PullStep::Hello, now).expect("a digest");
    assert_eq!(receive(peer, &id(1), 9, PullStep::Request(vec![digest(1)]), now), None);
}

#[test]
fn p10_p13_an_exchange_has_four_steps_under_one_nonce() {
    let mut net = Net::new();
    net.add(1, [], &[2]);
    net.add(2, [1, 2, 3], &[]);
    net.run(800 * MS);
    let all = || vec![digest(1), digest(2), digest(3)];
    let steps: Vec<_> = net.said.iter().map(|(from, send)| (from.clone(), send.step.clone())).collect();
    assert_eq!(
        steps,
        [
            (id(1), PullStep::Hello),
            (id(2), PullStep::Digest(all())),
            (id(1), PullStep::Request(all())),
            (id(2), PullStep::Response(vec![1, 2, 3])),
        ]
    );
    assert!(net.said.iter().all(|(_, send)| send.nonce == net.said[0].1.nonce));
}

#[test]
fn p11_what_the_ingress_filter_refuses_is_not_requested() {
    let (now, mut random) = (Instant::now(), SeededRandom::new(1));
    let mut engine: PullEngine<u64> = PullEngine::new(config());
    let nonce = engine.start_round(vec![id(2)], now, &mut random)[0].nonce;
    let offered: Vec<Bytes> = (0..4).map(digest).collect();
    engine.on_digest(&id(2), nonce, &offered, |item| number(item) >= 2);
    let requests = engine.poll(now + 100 * MS, &mut random);
    assert_eq!(requests[0].step, PullStep::Request(vec![digest(2), digest(3)]));
}

#[test]
fn p12_what_was_removed_on_both_sides_does_not_come_back() {
    let mut net = Net::new();
    net.add(1, [0, 1, 2], &[2]);
    net.add(2, [0, 1, 2], &[1]);
    net.run(1000 * MS);
    (1..=2).for_each(|name| net.peer(name).engine.remove(&digest(0)));
    net.peer(2).engine.add(digest(10), 10);
    net.run(3000 * MS);
    (1..=2).for_each(|name| assert_eq!(net.items(name), [1, 2, 10], "of {name}"));
}

#[test]
fn hellos_without_end_are_neither_answered_nor_remembered() {
    let now = Instant::now();
    let mut engine = PullEngine::new(PullConfig { max_hello_peers: 10, ..config() });
    engine.add(digest(1), 1);
    let answered =
        |engine: &mut PullEngine<u64>, peer, nonce, at| engine.on_hello(&id(peer), nonce, at, |_| true).is_some();
    assert_eq!((0..100).filter(|nonce| answered(&mut engine, 1, *nonce, now)).count(), 8);
    assert!(!answered(&mut engine, 1, 7, now), "nor is the same again");
    assert_eq!((1..100).filter(|peer| answered(&mut engine, *peer, 200, now)).count(), 9);
    assert_eq!(engine.hellos.len(), 10);
    let later = now + 200 * MS;
    assert!(engine.on_request(&id(1), 7, &[digest(1)], later - MS, |_| true).is_some());
    assert!(engine.on_request(&id(1), 7, &[digest(1)], later, |_| true).is_none(), "its time is up");
    assert!(answered(&mut engine, 1, 300, later) && answered(&mut engine, 50, 300, later));
}

#[test]
fn a_round_forgets_the_hellos_whose_time_is_up() {
    let now = Instant::now();
    let mut engine = PullEngine::new(config());
    engine.add(digest(1), 1);
    (1..=100).for_each(|peer| assert!(engine.on_hello(&id(peer), 7, now, |_| true).is_some()));
    let later = now + 200 * MS;
    assert!(engine.on_hello(&id(1), 8, later - MS, |_| true).is_some());
    engine.start_round(Vec::new(), later, &mut SeededRandom::new(1));
    assert_eq!(engine.hellos.keys().collect::<Vec<_>>(), [&id(1)]);
    assert_eq!(engine.hellos[&id(1)].len(), 1, "its first one is forgotten, too");
    assert!(engine.on_request(&id(1), 8, &[digest(1)], later, |_| true).is_some());
}

#[test]
fn requests_without_end_are_not_answered() {
    let now = Instant::now();
    let mut engine = PullEngine::new(config());
    engine.add(digest(1), 1);
    assert!(engine.on_hello(&id(1), 7, now, |_| true).is_some());
    let answered = (0..100).filter(|_| engine.on_request(&id(1), 7, &[digest(1)], now, |_| true).is_some());
    assert_eq!(answered.count(), 2);
}

#[test]
fn who_offers_without_end_leaves_room_for_what_others_offer() {
    let now = Instant::now();
    let mut engine: PullEngine<u64> = PullEngine::new(PullConfig { max_items: 10, ..config() });
    let hellos = engine.start_round(vec![id(1), id(2)], now, &mut SeededRandom::new(1));
    let nonces: Vec<u64> = hellos.iter().map(|hello| hello.nonce).collect();
    (0..50).for_each(|n| engine.on_digest(&id(1), nonces[0], &[digest(2 * n), digest(2 * n + 1)], |_| true));
    engine.on_digest(&id(2), nonces[1], &[digest(1000)], |_| true);
    let requested = |send: &PullSend<u64>| match &send.step {
        PullStep::Request(digests) => digests.len(),
        other => panic!("{other:?}"),
    };
    let requests = engine.poll(now + config().digest_wait, &mut SeededRandom::new(1));
    assert_eq!(requests.iter().map(requested).collect::<Vec<_>>(), [5, 1]);
}
