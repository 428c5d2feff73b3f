//! `survey`: networks in which something is irregular, and the three forms of the report.

use crate::gossipers::{Answer, Gossiper, Identity};
use crate::markup;
use crate::support::*;
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::testing::skip;
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// A name in a certificate, and an endpoint.
const HOSTILE_NAME: &str = "h\"><script>alert(2)</script>\u{1b}[31m";
const HOSTILE: &str = "<script>alert(1)</script>\"'&\u{1b}[31m:7051";

/// Two organisations. Of the first: `a` and `b` agree; `c` sees neither of them; `d` is dead; `u` is unreachable; `h`
/// has a hostile name and endpoint. The certificate of `b` is about to expire. `f` is of the second.
struct Network {
    a: Gossiper,
    b: Gossiper,
    c: Gossiper,
    f: Gossiper,
    d: Identity,
    u: Identity,
    h: Identity,
    _dir: TempDir,
    flags: Vec<String>,
}

/// An endpoint at which nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

impl Network {
    fn start() -> Network {
        let (org1, org2) = (Org::new("Org1MSP", "org1.test").unwrap(), Org::new("Org2MSP", "org2.test").unwrap());
        let orgs = [&org1, &org2];
        let now = SystemTime::now();
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let ours = |name: &str| Identity::new(&org1, org1.peer(name).unwrap(), &[&org2]);
        let ending = org1.member("b").valid(now - days(10), now + days(11) - days(1) / 2).issue().unwrap();
        let start = |identity| Gossiper::start(identity, &orgs);
        let (a, b, c) = (start(ours("a")), start(Identity::new(&org1, ending, &[&org2])), start(ours("c")));
        let f = start(Identity::new(&org2, org2.peer("f").unwrap(), &[&org1]));
        let (d, u, h) = (ours("d"), ours("u"), ours(HOSTILE_NAME));
        let known = Answer {
            alive: vec![
                a.alive(),
                b.alive(),
                c.alive(),
                u.alive(&nobody(), "u.example.com:7051"),
                h.alive("", HOSTILE),
            ],
            dead: vec![d.alive(&nobody(), "")],
            ..Answer::default()
        };
        let known = [&a, &b, &c, &f].iter().fold(known, |known, peer| known.knows(&peer.identity));
        let known = known.knows(&d).knows(&u).knows(&h);
        a.answers(known.clone());
        b.answers(known);
        c.answers(Answer { alive: vec![c.alive()], ..Answer::default() });
        let dir = TempDir::new();
        let flags = ours("survey").flags(&org1, &dir, &[&org2]);
        Network { a, b, c, f, d, u, h, _dir: dir, flags }
    }

    fn survey(&self, more: &[&str]) -> Ended {
        let mut args = vec!["survey", &self.a.endpoint, &self.f.endpoint];
        args.extend(more);
        args.extend(self.flags.iter().map(String::as_str));
        run(&args)
    }
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn a_survey_finds_the_dead_the_unreachable_the_expiring_and_the_one_sided() {
    let network = Network::start();
    let ended = network.survey(&["--json"]);
    ended.assert_code(1);
    assert!(ended.stderr.contains("unless a peer runs with this identity"), "{}", ended.stderr);
    let lines = ended.json();
    let found = |kind: &str, peers: &[&str]| {
        let mut of_kind = of(&lines, "finding").into_iter().filter(|line| line["kind"] == kind);
        of_kind.find(|line| line["peers"] == serde_json::json!(peers)).unwrap_or_else(|| panic!("{kind}: {lines:#?}"))
    };
    let id = |identity: &Identity| identity.pki_id.to_string();
    let (a, b, c) = (network.a.pki_id(), network.b.pki_id(), network.c.pki_id());
    assert_eq!(found("dead_entry", &[&id(&network.d)])["severity"], "warning");
    assert_eq!(found("unreachable", &[&id(&network.u)])["severity"], "error");
    assert_eq!(found("expires_soon", &[&b])["severity"], "warning");
    assert_eq!(found("undialable_endpoint", &[&id(&network.h)])["severity"], "error");
    for peer in [&a, &b] {
        let finding = found("one_sided_view", &[peer, &c]);
        assert_eq!(finding["severity"], "warning", "{finding}");
    }

    let peers = of(&lines, "peer");
    assert_eq!(peers.len(), 7, "{peers:#?}");
    let peer = |id: &str| peers.iter().find(|peer| peer["pki_id"] == id).unwrap();
    let (of_a, of_b, of_f) = (peer(&a), peer(&b), peer(&network.f.pki_id()));
    assert_eq!((&of_a["reachable"], &of_a["alive_in"], &of_a["views"]), (&true.into(), &2.into(), &3.into()));
    assert!(of_a["rtt_us"].is_u64() && of_a["verified"] == true && of_a["started"].is_string(), "{of_a}");
    assert_eq!((&of_a["endpoint"], &of_a["mspid"]), (&network.a.endpoint.clone().into(), &"Org1MSP".into()));
    assert_eq!(of_b["days_left"], 10);
    for visited in [of_a, of_b, of_f] {
        let days = visited["tls_days_left"].as_i64().expect("it presents a certificate");
        assert!((3640..3660).contains(&days) && visited["tls_expires"].is_string(), "ten years: {visited}");
    }
    assert_eq!(peer(&id(&network.u))["tls_days_left"], Value::Null);
    assert_eq!(
        (&of_f["mspid"], &of_f["reachable"], &of_f["sees_alive"]),
        (&"Org2MSP".into(), &true.into(), &Value::Null)
    );
    assert_eq!(peer(&id(&network.d))["dead_in"], 2);
    assert_eq!(peer(&id(&network.u))["reachable"], false);

    let summary = lines.last().unwrap();
    assert_eq!((&summary["event"], &summary["ok"]), (&"survey".into(), &false.into()));
    assert_eq!((&summary["peers"], &summary["reachable"], &summary["views"]), (&7.into(), &4.into(), &3.into()));
    assert!(summary["error"].is_string() && summary["errors"].as_u64() >= Some(2), "{summary}");
}

#[test]
fn a_survey_is_shown_as_text_that_a_terminal_cannot_act_upon() {
    let network = Network::start();
    let ended = network.survey(&[]);
    ended.assert_code(1);
    for part in ["ORGANISATION", "Org1MSP", "3 views compared", "[dead_entry]", " 10 days", &network.a.endpoint] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains('\x1b'), "{}", ended.stdout);
    let colored = network.survey(&["--color", "always"]);
    assert!(colored.stdout.contains("\x1b[31merror") && !colored.stdout.contains("&\x1b"), "{}", colored.stdout);
}

#[test]
fn a_page_and_a_graph_are_written_in_which_hostile_names_are_text() {
    let network = Network::start();
    let dir = TempDir::new();
    let (html, dot) = (dir.join("survey.html"), dir.join("survey.dot"));
    network.survey(&["--html", html.to_str().unwrap(), "--dot", dot.to_str().unwrap()]).assert_code(1);
    let page = std::fs::read_to_string(&html).unwrap();
    let tags = markup::parse(&page);
    let count = |name: &str| tags.iter().filter(|tag| tag.name == name).count();
    assert_eq!((count("svg"), count("table"), count("script"), count("link"), count("img")), (1, 2, 0, 0, 0));
    assert!(
        page.contains("&lt;script&gt;alert(1)") && page.contains("&lt;script&gt;alert(2)") && !page.contains('\x1b')
    );
    // Nothing is loaded from elsewhere: all references are to places in the page.
    for tag in &tags {
        assert!(tag.attribute("src").is_none(), "{tag:?}");
        if let Some(target) = tag.attribute("href") {
            let id = target.strip_prefix('#').expect("a reference in the page");
            assert!(tags.iter().any(|tag| tag.attribute("id") == Some(id)), "{target}");
        }
    }
    // Each peer is a node that the keyboard reaches, and has a title.
    let nodes = tags.iter().filter(|tag| tag.name == "a" && tag.attribute("href").unwrap().starts_with("#peer-"));
    assert_eq!((nodes.count(), count("circle")), (7, 7));
    assert!(count("title") > 7 && count("caption") == 2 && page.contains("lang=\"en\""));
    assert!(tags.iter().filter(|tag| tag.name == "th").all(|tag| tag.attribute("scope").is_some()));

    let graph = std::fs::read_to_string(&dot).unwrap();
    assert!(graph.starts_with("digraph survey {") && graph.ends_with("}\n"));
    assert!(graph.contains(&format!("\"{}\" -> \"{}\";", network.a.pki_id(), network.c.pki_id())), "{graph}");
    assert!(graph.contains("<script>alert(1)</script>\\\"'&\\\\u{1b}[31m") && !graph.contains('\x1b'), "{graph}");
    assert!(graph.contains("h\\\"><script>alert(2)"), "{graph}");
    in_browsers(&page, &dir);
}

/// Checks the page in a headless browser: in both colour schemes, and on a narrow screen.
fn in_browsers(page: &str, dir: &TempDir) {
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let runs = |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    let Some(browser) = browsers.iter().find(runs) else {
        return skip("the page of survey in a browser", "neither chromium nor google-chrome is installed");
    };
    let script = "<script>const root = document.documentElement, style = getComputedStyle(document.body);\
        const links = [...document.querySelectorAll('a')]; links[5].focus();\
        root.dataset.result = [style.backgroundColor, root.scrollWidth <= innerWidth, \
        document.activeElement === links[5], document.querySelectorAll('tbody tr').length].join(' ');</script>";
    let from = page.find("<meta http-equiv").unwrap();
    let to = from + page[from..].find("/>").unwrap() + 2;
    let page = format!("{}{}", &page[..from], &page[to..]).replace("</body>", &format!("{script}</body>"));
    let path = dir.write("checked.html", page);
    for (width, dark, color) in
        [(1200, false, "rgb(255, 255, 255)"), (1200, true, "rgb(21, 22, 26)"), (500, false, "rgb(255")]
    {
        let result = render(browser, dir, &path, width, dark);
        let expected = if width == 500 { " true true 10" } else { color };
        assert!(result.contains(expected) && result.ends_with(" true true 10"), "{width} {dark}: {result}");
    }
}

/// Returns the text that the script in the page left.
fn render(browser: &str, dir: &TempDir, page: &str, width: u32, dark: bool) -> String {
    let (stdout, stderr) = (dir.join("dom.html"), dir.join("browser.log"));
    let file = |path: &Path| std::fs::File::create(path).unwrap();
    let mut browser = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-extensions", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }))
        .arg(format!("file://{page}"))
        .stdout(file(&stdout))
        .stderr(file(&stderr))
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    while browser.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            browser.kill().unwrap();
            panic!("the browser does not end: {}", std::fs::read_to_string(&stderr).unwrap());
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let text = std::fs::read_to_string(&stdout).unwrap();
    let result = text.split("data-result=\"").nth(1);
    let result = result.unwrap_or_else(|| panic!("{text}\n{}", std::fs::read_to_string(&stderr).unwrap()));
    result.split('"').next().unwrap().to_owned()
}

#[test]
fn a_watched_survey_reports_changes_one_by_one() {
    let network = Network::start();
    let flags = &network.flags;
    let mut watch = start(&Crypto::get().args(&["survey", &network.a.endpoint, "--watch", "50ms"], flags));
    watch.await_that("finding", |line| line["kind"] == "one_sided_view");
    watch.await_event("survey");
    // From now on c sees the others, and a and b no longer list d.
    let agreed = Answer { alive: vec![network.a.alive(), network.b.alive(), network.c.alive()], ..Answer::default() };
    let agreed = [&network.a, &network.b, &network.c].iter().fold(agreed, |answer, peer| answer.knows(&peer.identity));
    for peer in [&network.a, &network.b, &network.c] {
        peer.answers(agreed.clone());
    }
    let d = network.d.pki_id.to_string();
    watch.await_that("change", |line| line["kind"] == "vanished" && line["peers"][0] == *d);
    watch.await_that("survey", |line| line["ok"] == true);
    watch.signal("-INT");
    let (status, stderr) = watch.end();
    assert_eq!(status.code(), Some(0), "the last survey found no error: {stderr}");
}

#[test]
fn a_survey_of_healthy_peers_finds_nothing() {
    let network = Network::start();
    let agreed = Answer { alive: vec![network.a.alive(), network.c.alive()], ..Answer::default() };
    network.a.answers(agreed.clone());
    network.c.answers(agreed);
    let ended = network.survey(&["--json"]);
    ended.assert_code(0);
    let lines = ended.json();
    assert_eq!((of(&lines, "finding").len(), lines.last().unwrap()["ok"].clone()), (0, true.into()), "{lines:#?}");
    let anchor = format!("Org1MSP={}", nobody());
    let ended = network.survey(&["--json", "--anchor", &anchor]);
    ended.assert_code(1);
    assert!(of(&ended.json(), "finding").iter().any(|line| line["kind"] == "anchor_missing"), "{}", ended.stdout);
}

#[test]
fn an_expired_tls_certificate_of_a_peer_is_a_finding_and_the_failed_step_of_a_handshake() {
    let (org, dir) = (Org::new("Org1MSP", "org1.test").unwrap(), TempDir::new());
    let flags = Identity::new(&org, org.peer("survey").unwrap(), &[]).flags(&org, &dir, &[]);
    let authority = std::fs::read(dir.join("peerOrganizations/org1.test/tlsca/priv_sk")).unwrap();
    let mut old = org.peer("old").unwrap();
    old.tls_cert = String::from_utf8(expired(&old.tls_cert, &old.tls_key, &authority).to_pem().unwrap()).unwrap();
    let start = |member| Gossiper::start(Identity::new(&org, member, &[]), &[&org]);
    let (sound, old) = (start(org.peer("sound").unwrap()), start(old));
    let listed = Answer { alive: vec![sound.alive(), old.alive()], ..Answer::default() };
    sound.answers(listed.knows(&sound.identity).knows(&old.identity));

    let crypto = Crypto::get();
    let ended = run(&crypto.args(&["survey", &sound.endpoint, "--json"], &flags));
    let lines = ended.assert_code(1).json();
    let finding = |kind: &str| *of(&lines, "finding").iter().find(|line| line["kind"] == kind).expect(kind);
    let expired = finding("tls_expired");
    assert_eq!((&expired["severity"], &expired["peers"]), (&"error".into(), &serde_json::json!([old.pki_id()])));
    assert!(expired["detail"].as_str().unwrap().contains("TLS") && of(&lines, "finding").len() == 2, "{lines:#?}");
    assert_eq!(finding("unreachable")["peers"], serde_json::json!([old.pki_id()]));
    let peer =
        |gossiper: &Gossiper| *of(&lines, "peer").iter().find(|line| line["pki_id"] == gossiper.pki_id()).unwrap();
    let row = peer(&old);
    assert_eq!((&row["tls_expires"], &row["reachable"]), (&"2023-11-14T22:13:20Z".into(), &false.into()), "{row}");
    assert!(row["tls_days_left"].as_i64() < Some(-365) && row["days_left"].as_i64() > Some(365), "{row}");
    assert_eq!(peer(&sound)["reachable"], true);

    let ended = run(&crypto.args(&["handshake", &old.endpoint, "--json"], &flags));
    let steps = ended.assert_code(1).json();
    let failed = steps.iter().find(|line| line["event"] == "step" && line["ok"] == false).unwrap();
    assert_eq!(failed["name"], "tls");
    assert!(failed["error"].as_str().unwrap().contains("expired on 2023-11-14"), "{failed}");
}

#[test]
fn a_survey_without_an_answer_is_a_failure_with_a_summary() {
    let flags = Crypto::get().identity(1, 1);
    let ended = run(&Crypto::get().args(&["survey", &nobody(), "--json"], &flags));
    ended.assert_code(1);
    let lines = ended.json();
    assert_eq!(of(&lines, "finding")[0]["kind"], "unreachable");
    assert_eq!((&lines.last().unwrap()["event"], &lines.last().unwrap()["ok"]), (&"survey".into(), &false.into()));

    // A peer that accepts the connection and sends nothing, and an interrupted survey.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = mute.local_addr().unwrap().to_string();
    let mut waiting = start(&Crypto::get().args(&["survey", &endpoint, "--timeout", "60s"], &flags));
    let _connection = mute.accept().unwrap();
    waiting.signal("-TERM");
    let summary = waiting.await_event("survey");
    assert_eq!((&summary["ok"], &summary["error"]), (&false.into(), &"interrupted".into()));
    assert_eq!(waiting.end().0.code(), Some(143));
}

#[test]
fn real_peers_are_compared() {
    let crypto = Crypto::get();
    let peer = |number: u32, more: &[&str]| {
        let flags = crypto.identity(1, number);
        let mut running = start(&crypto.args(&[&["peer", "--alive-interval", "100ms"], more].concat(), &flags));
        let endpoint = running.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
        (running, endpoint)
    };
    let (mut first, endpoint) = peer(0, &[]);
    let (mut second, _) = peer(1, &["--bootstrap", &endpoint]);
    for running in [&mut first, &mut second] {
        running.await_that("membership", |line| line["alive"].as_array().unwrap().len() == 1);
    }
    let flags = crypto.identity(1, 2);
    let ended = run(&crypto.args(&["survey", &endpoint, "--json"], &flags));
    ended.assert_code(0);
    let lines = ended.json();
    let peers = of(&lines, "peer");
    assert_eq!(peers.len(), 2, "the entry of the question is no peer: {lines:#?}");
    assert!(peers.iter().all(|peer| peer["reachable"] == true && peer["alive_in"] == 2), "{lines:#?}");
}
