//! membership.json: the reactions of one Fabric node to scripted messages, on the state machine in virtual time.
//!
//! Its tables are compared record by record, its calls one by one. We have no separate identity table: the known
//! members are the alive and dead ones, and always we ourselves.

use crate::record::Record;
use crate::support::{check_sections, hex, load, unhex};
use crate::tally::{Case, Tally};
use fabric_gossip::crypto::{OrgId, PeerIdentity, PkiId};
use fabric_gossip::internals::discovery::{
    Context, Disclosure, Discovery, DiscoveryConfig, Effect, Event, NetworkMember, Notice, Remote, SelfInfo, State,
};
use fabric_gossip::internals::random::SeededRandom;
use fabric_gossip::message::{Content, Envelope, GossipMessage, SignedMessage, Tag};
use fabric_gossip::proto::gossip::{self, MembershipResponse};
use fabric_gossip::{Error, ErrorKind};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A scenario that is not compared: its state is one that we cannot have.
const NOT_APPLICABLE: &[(&str, &str)] = &[("mem-41-neither-table", "a member that is neither alive nor dead")];

/// Deliberate improvements: in the n-th snapshot of a scenario the names in a table, the number of calls, or
/// whether there was a heartbeat, instead of the recorded value.
const BETTER: &[(&str, usize, &str)] = &[
    // A bad entry is skipped, the others are used.
    ("mem-18-memres-undecodable-alive", 0, r#"{"alive": ["p1", "p2"], "dead": ["p3"]}"#),
    ("mem-19-memres-nonalive", 0, r#"{"alive": ["p1", "p2"], "dead": ["p3"]}"#),
    ("mem-20-memres-empty-entry", 0, r#"{"alive": ["p2"]}"#),
    ("mem-22-memres-dead-undecodable", 0, r#"{"dead": ["p2", "p3"]}"#),
    // A message that makes Fabric panic is refused, and we continue.
    ("mem-24-memres-dead-nonalive", 0, r#"{"dead": ["p2", "p3"]}"#),
    ("mem-28-no-timestamp", 0, r#"{"message_store": []}"#),
    ("mem-29-no-timestamp-memres", 0, r#"{"alive": ["p2"]}"#),
    // A message known to be old is not believed, even by a node that has forgotten it; a new one keeps a member, from
    // any source.
    ("mem-34-purge-memres-relearn", 1, r#"{"alive": []}"#),
    ("mem-43-replay-after-2ttl", 2, r#"{"alive": [], "message_store": [], "forwarded": 0}"#),
    ("mem-44-ttl-removes-memres-refreshed", 1, r#"{"alive": ["p1"]}"#),
    // In the end all are forgotten.
    ("mem-45-memres-only-dead-stays", 1, r#"{"dead": []}"#),
    // A node does not answer itself.
    ("mem-61-memreq-self", 0, r#"{"sent": 0}"#),
    // Only a valid answer stops the requests.
    ("mem-70-connect-answered", 1, r#"{"sent": 1}"#),
    // A stop stops.
    ("mem-75-stop", 1, r#"{"own_alive_gossiped": false}"#),
];

/// Requests to seeds are repeated sooner here, so how many there were is compared at the end of these.
const SOONER: &[&str] = &["mem-69-connect", "mem-72-connect-identify-fails"];

#[test]
fn membership_changes_as_recorded() {
    let file = load("membership.json");
    check_sections(&file, &["scenarios"]);
    let scenarios = file["scenarios"].as_array().expect("scenarios");
    let mut tally = Tally::default();
    for scenario in scenarios {
        let id = scenario["id"].as_str().expect("an id");
        if let Some((_, why)) = NOT_APPLICABLE.iter().find(|(it, _)| *it == id) {
            println!("{id} does not apply: {why}: {scenario}");
            continue;
        }
        let mut case = tally.case(scenario);
        case.same("the node goes on", Some(true), scenario["expect"]["ok"].as_bool());
        Player::new(&file["config_ms"], scenario).play(&mut case);
    }
    let ids: Vec<&str> = scenarios.iter().filter_map(|it| it["id"].as_str()).collect();
    let excepted =
        NOT_APPLICABLE.iter().map(|it| it.0).chain(BETTER.iter().map(|it| it.0)).chain(SOONER.iter().copied());
    excepted.for_each(|id| assert!(ids.contains(&id), "no scenario {id}"));
    tally.report("membership");
}

/// Plays one scenario and answers the requests of the state machine immediately.
struct Player<'a> {
    scenario: &'a Record,
    discovery: Discovery,
    random: SeededRandom,
    start: Instant,
    now: Instant,
    names: HashMap<PkiId, String>,
    hidden_from: Vec<PkiId>,
    /// The peer at the endpoint of a seed, and how often identifying it fails first.
    seeds: HashMap<String, (Remote, u64)>,
    reachable: Vec<PkiId>,
    calls: Calls,
    last_nonce: u64,
    sent_in_all: [usize; 2],
}

/// The calls since the last snapshot.
#[derive(Default)]
struct Calls {
    forwarded: Vec<Value>,
    closed: Vec<Value>,
    sent: Vec<Value>,
    pinged: Vec<Value>,
    gossiped: Vec<Value>,
}

fn list(value: &Record) -> Vec<&Record> {
    value.as_array().into_iter().flatten().collect()
}

fn values(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn strings(value: &Record) -> Vec<String> {
    list(value).into_iter().map(|it| text(it).to_owned()).collect()
}

fn text(value: &Record) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by_key(Value::to_string);
    values
}

/// A message is authentic if it has alive content, membership, PKI-ID, payload, signature, and not the signature `bad`.
fn is_authentic(message: &SignedMessage) -> bool {
    let complete = matches!(message.content(), Some(Content::AliveMsg(it)) if !it.membership.pki_id.is_empty());
    complete && message.is_signed() && &message.envelope().signature[..] != b"bad"
}

fn sign(message: GossipMessage, internal_endpoint: &str) -> fabric_gossip::Result<SignedMessage> {
    let signed = SignedMessage::sign(message, |_| Ok(b"ok".to_vec()))?;
    signed.sign_secret(internal_endpoint, |_| Ok(b"ok".to_vec()))
}

impl<'a> Player<'a> {
    fn new(config: &Record, scenario: &'a Record) -> Self {
        let ms = |name: &str| Duration::from_millis(config[name].as_u64().unwrap_or_else(|| panic!("no {name}")));
        let mut settings = DiscoveryConfig::default();
        settings.alive_time_interval = ms("alive_time_interval");
        settings.alive_expiration_timeout = ms("alive_expiration_timeout");
        settings.alive_expiration_check_interval = ms("alive_expiration_check_interval");
        settings.reconnect_interval = ms("reconnect_interval");
        settings.msg_expiration_factor = config["msg_expiration_factor"].as_u64().expect("a factor") as u32;
        settings.response_timeout = ms("connect_ack_wait");
        settings.sync_interval = None;
        assert_eq!(settings.message_ttl(), ms("message_ttl"));

        let peers = list(&scenario["peers"]);
        let id = |peer: &Record| PkiId::from(unhex(text(&peer["pki_id"])));
        let names: HashMap<PkiId, String> = peers.iter().map(|it| (id(it), text(&it["name"]).to_owned())).collect();
        let ids = |wanted: &Record| {
            let wanted = strings(wanted);
            names.iter().filter(|(_, name)| wanted.contains(name)).map(|(id, _)| id.clone()).collect()
        };
        let own = peers.iter().find(|it| it["name"] == "self").expect("ourselves");
        let own = SelfInfo {
            pki_id: id(own),
            org: OrgId::new("own"),
            identity: PeerIdentity::from(&b"self"[..]),
            endpoint: text(&own["endpoint"]).into(),
            internal_endpoint: text(&own["internal_endpoint"]).into(),
            metadata: Default::default(),
        };
        for peer in peers.iter().filter(|it| text(&it["name"]) != "self") {
            let endpoints = [&peer["endpoint"], &peer["internal_endpoint"]].map(text);
            assert!(endpoints.iter().all(|it| it.is_empty() || it.contains(':')), "{peer}");
        }
        let start = Instant::now();
        Player {
            discovery: Discovery::new(settings, own, 1, start).expect("settings"),
            random: SeededRandom::new(1),
            start,
            now: start,
            hidden_from: ids(&scenario["hidden_from"]),
            reachable: ids(&scenario["reachable_for_ping"]),
            names,
            seeds: HashMap::new(),
            calls: Calls::default(),
            last_nonce: 0,
            sent_in_all: [0, 0],
            scenario,
        }
    }

    fn play(mut self, case: &mut Case<'_, '_>) {
        // Never to be forgotten; there is no peer, and in these scenarios none is dialled.
        for seed in
            [&self.scenario["bootstrap_peers"], &self.scenario["anchor_endpoints"]].into_iter().flat_map(strings)
        {
            self.act(|discovery, cx| discovery.connect(&seed, cx).expect("an endpoint"));
        }
        let mut snapshots = 0;
        for event in list(&self.scenario["events"]) {
            let at = self.start + Duration::from_millis(event["at_ms"].as_u64().expect("a time"));
            // Fabric's timers lag a little: timers due at this very time had not fired yet.
            while let Some(due) = self.discovery.next_timeout().filter(|due| *due < at) {
                self.now = self.now.max(due);
                self.handle(Event::Timeout);
            }
            self.now = at;
            if event["event"] == "snapshot" {
                case.same("the snapshot is one", Some(true), event["expect"]["ok"].as_bool());
                self.compare(case, snapshots, event["expect"].whole());
                snapshots += 1;
            } else {
                self.apply(event);
                case.describe(event, &["summary", "note", "fabric_panics"]);
                if let Some(peer) = event.get("peer") {
                    let id = event.get("pki_id").map(|id| PkiId::from(unhex(text(id))));
                    case.same(
                        "peer of the event",
                        id.and_then(|id| self.names.get(&id).cloned()),
                        Some(text(peer).into()),
                    );
                }
            }
        }
        if SOONER.contains(&case.id.as_str()) {
            case.same("sent in all", self.sent_in_all[0], self.sent_in_all[1]);
        }
        let expected = list(&self.scenario["events"]).iter().filter(|it| it["event"] == "snapshot").count();
        case.same("snapshots", snapshots, expected);
    }

    fn apply(&mut self, event: &Record) {
        let peer = || PkiId::from(unhex(text(&event["pki_id"])));
        match text(&event["event"]) {
            "receive" => {
                let wire = hex(&event["envelope_bytes"]).expect("an envelope");
                // A message that cannot be decoded does not reach the membership.
                if let Ok(message) = SignedMessage::decode(wire.into()) {
                    self.receive(message);
                }
            }
            "receive_memres_with_nonce_of_last_memreq" => {
                let payloads = strings(&event["alive"]);
                let envelope = |hex: &String| gossip::Envelope { payload: unhex(hex).into(), ..Default::default() };
                let alive = payloads.iter().map(envelope).collect();
                let content = Content::MemRes(MembershipResponse { alive, ..Default::default() });
                let message = GossipMessage {
                    nonce: self.last_nonce,
                    tag: Tag::EMPTY.into(),
                    content: Some(content),
                    ..Default::default()
                };
                self.receive(SignedMessage::noop_sign(message).expect("a response"));
            }
            "presumed_dead" => self.handle(Event::PresumedDead(peer())),
            "identity_switch" => self.handle(Event::IdentitySwitch(peer())),
            "update_metadata" => self.discovery.update_metadata(unhex(text(&event["metadata"]))),
            "update_endpoint" => self.discovery.update_endpoint(text(&event["endpoint"])).expect("an endpoint"),
            "initiate_sync" => {
                let count = event["peers"].as_u64().expect("a number") as usize;
                self.act(|discovery, cx| discovery.sync(count, cx));
            }
            "connect" => {
                let endpoint = text(&event["endpoint"]);
                let (pki_id, _) = self.names.iter().find(|(_, it)| event["identified_as"] == **it).expect("a peer");
                let org = if event["same_org"] == true { "own" } else { "other" };
                let found = Remote { pki_id: pki_id.clone(), org: Some(OrgId::new(org)) };
                let failures = event["identify_failures_first"].as_u64().expect("a number");
                self.seeds.insert(endpoint.to_owned(), (found, failures));
                self.act(|discovery, cx| discovery.connect(endpoint, cx).expect("an endpoint"));
            }
            "stop" => self.discovery.stop(),
            other => panic!("nobody knows the event {other}"),
        }
    }

    fn receive(&mut self, message: SignedMessage) {
        let from = PkiId::from(&b"somebody"[..]);
        self.handle(Event::Received { message, from });
    }

    fn handle(&mut self, event: Event) {
        self.act(|discovery, cx| discovery.handle(event, cx));
    }

    fn act(&mut self, act: impl FnOnce(&mut Discovery, &mut Context<'_>)) {
        let hidden = self.hidden_from.clone();
        let policy = |remote: &NetworkMember, _: &NetworkMember| match hidden.contains(&remote.pki_id) {
            true => Disclosure::Nothing,
            false => Disclosure::Whole,
        };
        let mut effects = Vec::new();
        act(
            &mut self.discovery,
            &mut Context { now: self.now, random: &mut self.random, peers: &policy, effects: &mut effects },
        );
        effects.into_iter().for_each(|effect| self.carry_out(effect));
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Verify { token, message, .. } => {
                self.handle(Event::Verified { token, valid: is_authentic(&message) });
            }
            Effect::Sign { token, message, internal_endpoint } => {
                self.handle(Event::Signed { token, result: sign(message, &internal_endpoint) });
            }
            Effect::Ping { token, pki_id, endpoint } => {
                self.calls.pinged.push(format!("{} @ {endpoint}", self.names[&pki_id]).into());
                self.handle(Event::Pinged { token, reachable: self.reachable.contains(&pki_id) });
            }
            Effect::Handshake { token, endpoint } => {
                let result = match self.seeds.get_mut(&endpoint) {
                    None => return,
                    Some((found, 0)) => Ok(found.clone()),
                    Some((_, failures)) => {
                        *failures -= 1;
                        Err(Error::new(ErrorKind::Unreachable, "nobody there"))
                    }
                };
                self.handle(Event::Handshaken { token, result });
            }
            Effect::Gossip { message, from: None } => {
                let mut alive = self.entry(&message);
                alive["nonce"] = message.nonce().into();
                alive["tag"] = message.message().tag.value().into();
                self.calls.gossiped.push(alive);
            }
            Effect::Gossip { message, from: Some(_) } => {
                let entry = self.entry(&message);
                self.calls.forwarded.push(part(&entry, &["peer", "inc_num", "seq_num"]));
            }
            Effect::Close(peer) => self.calls.closed.push(self.names[&peer].clone().into()),
            Effect::Send { to, endpoint, message } => self.on_send(&to, &endpoint, &message),
            Effect::Notify(Notice::Membership(_)) => {}
            other => panic!("{other:?}"),
        }
    }

    fn on_send(&mut self, to: &PkiId, endpoint: &str, message: &SignedMessage) {
        let mut sent = json!({
            "endpoint": endpoint, "to": self.names[to], "tag": message.message().tag.value(), "signed": message.is_signed(),
        });
        match message.content() {
            Some(Content::MemReq(request)) => {
                let own = self.nested(request.self_information.as_ref().expect("self information"));
                sent["content"] = "mem_req".into();
                sent["nonce_zero"] = (message.nonce() == 0).into();
                sent["self_peer"] = own["peer"].clone();
                sent["secret_present"] = own["secret_present"].clone();
                sent["internal_endpoint"] = own["internal_endpoint"].clone();
                if message.nonce() != 0 {
                    self.last_nonce = message.nonce();
                }
            }
            Some(Content::MemRes(response)) => {
                let entries = |of: &[gossip::Envelope]| {
                    let entry = |envelope| match self.nested(envelope) {
                        own if own["peer"] == "self" => part(&own, &["peer", "secret_present"]),
                        other => part(&other, &["peer", "secret_present", "inc_num", "seq_num"]),
                    };
                    of.iter().map(entry).collect::<Vec<Value>>()
                };
                let alive = entries(&response.alive);
                sent["content"] = "mem_res".into();
                sent["nonce"] = message.nonce().into();
                sent["self_is_last_alive"] = alive.last().is_some_and(|it| it["peer"] == "self").into();
                sent["alive"] = sorted(alive).into();
                sent["dead"] = sorted(entries(&response.dead)).into();
            }
            other => panic!("sends {other:?}"),
        }
        self.calls.sent.push(sent);
    }

    fn nested(&self, envelope: &gossip::Envelope) -> Value {
        self.entry(&SignedMessage::from_envelope(Some(envelope.clone().into())).expect("an alive message"))
    }

    /// An alive message in the words of the recording.
    fn entry(&self, message: &SignedMessage) -> Value {
        let Some(Content::AliveMsg(alive)) = message.content() else { panic!("not alive: {message}") };
        json!({
            "peer": self.names[&PkiId::from(&alive.membership.pki_id[..])],
            "endpoint": alive.membership.endpoint,
            "internal_endpoint": message.internal_endpoint(),
            "metadata": String::from_utf8_lossy(&alive.membership.metadata),
            "inc_num": alive.timestamp.inc_num,
            "seq_num": alive.timestamp.seq_num,
            "secret_present": message.envelope().secret.is_some(),
        })
    }

    /// The records of a table as the recording has them, and when each was seen last.
    fn table(&self, wanted: State) -> Vec<Value> {
        let record = |member: &NetworkMember, seen: Instant, time: (u64, u64)| {
            let stored: Envelope = member.envelope.clone().expect("an envelope");
            let stored = self.entry(&SignedMessage::from_envelope(Some(stored)).expect("an alive message"));
            json!({
                "peer": self.names[&member.pki_id],
                "endpoint": member.endpoint,
                "internal_endpoint": member.internal_endpoint,
                "metadata": String::from_utf8_lossy(&member.metadata),
                "inc_num": time.0,
                "seq_num": time.1,
                "last_seen_ms_approx": (seen - self.start).as_millis() as u64,
                "stored_message": part(&stored, &["inc_num", "seq_num", "secret_present"]),
            })
        };
        let records = self.discovery.records().filter(|(_, state)| *state == wanted);
        let records = records.map(|(it, _)| record(&it.member, it.last_seen, (it.time.incarnation, it.time.sequence)));
        sorted_by_name(records.collect())
    }

    fn compare(&mut self, case: &mut Case<'_, '_>, snapshot: usize, expect: &Value) {
        let calls = std::mem::take(&mut self.calls);
        let better = BETTER.iter().find(|(id, n, _)| *id == case.id && *n == snapshot);
        let better: Value = better.map_or(json!({}), |(.., it)| it.parse().expect("JSON"));
        let (alive, dead) = (self.table(State::Alive), self.table(State::Dead));
        let store: Vec<Value> = self
            .discovery
            .message_store(self.now)
            .map(|(id, time, expired)| {
                json!({"peer": self.names[id], "inc_num": time.incarnation, "seq_num": time.sequence, "expired": expired})
            })
            .collect();
        let mut compare = |what: &str, ours: Vec<Value>, recorded: &Value| {
            let what_at = format!("snapshot {snapshot}, {what}");
            let recorded = values(recorded);
            match &better[what] {
                Value::Null => compare_lists(case, &what_at, ours, recorded),
                // An exception that changes nothing is one too many.
                Value::Array(names) if *names == names_of(&recorded) => case.wrong(format!("{what_at}: as recorded")),
                Value::Array(names) => case.same(&what_at, &names_of(&ours), names),
                number if *number == json!(recorded.len()) => case.wrong(format!("{what_at}: as recorded")),
                number => case.same(&what_at, &json!(ours.len()), number),
            }
        };
        compare("alive", alive.clone(), &expect["alive"]);
        compare("dead", dead.clone(), &expect["dead"]);
        compare("message_store", sorted_by_name(store), &expect["message_store"]);
        let recorded = &expect["calls"];
        compare("forwarded", sorted(calls.forwarded), &sorted_list(&recorded["forwarded"]));
        compare("closed", sorted(calls.closed), &sorted_list(&recorded["closed"]));
        self.sent_in_all[0] += calls.sent.len();
        self.sent_in_all[1] += values(&recorded["sent"]).len();
        if !SOONER.contains(&self.scenario["id"].as_str().unwrap_or_default()) {
            compare("sent", sorted(calls.sent), &sorted_list(&recorded["sent"]));
        }

        if better.get("alive").or(better.get("dead")).is_none() {
            let mut known: Vec<Value> = alive.iter().chain(&dead).map(|it| it["peer"].clone()).collect();
            known.sort_by_key(Value::to_string);
            let recorded = values(&expect["known"]).into_iter().filter(|it| it != "self").collect();
            case.same(&format!("snapshot {snapshot}, known"), known, recorded);
            let membership = self.discovery.membership();
            let membership = membership.iter().map(|it| Value::from(self.names[&it.pki_id].as_str())).collect();
            let recorded = values(&expect["get_membership"]);
            case.same(&format!("snapshot {snapshot}, membership"), sorted(membership), recorded);
        }
        if let Some(pinged) = recorded.get("pinged") {
            let mut ours = sorted(calls.pinged);
            ours.dedup();
            case.same(&format!("snapshot {snapshot}, pinged"), &Value::from(ours), pinged);
        }
        if let Some(gossiped) = recorded.get("own_alive_gossiped") {
            let expected = better.get("own_alive_gossiped").unwrap_or(gossiped);
            let what = format!("snapshot {snapshot}, heartbeat");
            case.same(&what, &Value::from(!calls.gossiped.is_empty()), expected);
            if let (Some(ours), Some(last)) = (calls.gossiped.last(), recorded.get("own_alive_last")) {
                let keys = ["endpoint", "internal_endpoint", "metadata", "nonce", "peer", "tag"];
                case.same(&what, &part(ours, &keys), last);
            }
        }
    }
}

fn part(of: &Value, keys: &[&str]) -> Value {
    Value::Object(keys.iter().map(|key| (key.to_string(), of[*key].clone())).collect())
}

fn sorted_list(value: &Value) -> Value {
    sorted(values(value)).into()
}

fn sorted_by_name(mut records: Vec<Value>) -> Vec<Value> {
    records.sort_by_key(|it| it["peer"].to_string());
    records
}

fn names_of(records: &[Value]) -> Vec<Value> {
    records.iter().map(|it| it["peer"].clone()).collect()
}

/// Compares lists; when a peer was seen last is known to a few milliseconds.
fn compare_lists(case: &mut Case<'_, '_>, what: &str, mut ours: Vec<Value>, mut recorded: Vec<Value>) {
    const SEEN: &str = "last_seen_ms_approx";
    for (ours, recorded) in ours.iter_mut().zip(&mut recorded) {
        let seen = |value: &Value| value[SEEN].as_u64();
        if let (Some(a), Some(b)) = (seen(ours), seen(recorded)) {
            if a.abs_diff(b) <= 15 {
                ours[SEEN] = recorded[SEEN].clone();
            }
        }
        let merged = |value: &Value| value.get("times_same").and_then(Value::as_u64);
        assert_eq!(merged(recorded), None, "calls that were made several times");
    }
    // Both without regard to the order of fields.
    let plain = |list: Vec<Value>| list.into_iter().map(canonical).collect::<Vec<String>>();
    case.same(what, plain(ours), plain(recorded));
}

/// The text of a value with its fields in the order of their names.
fn canonical(value: Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            let fields: Vec<String> =
                fields.into_iter().map(|(name, it)| format!("{name}:{}", canonical(it))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(list) => format!("[{}]", list.into_iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}
