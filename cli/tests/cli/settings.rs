//! `core.yaml` and the variables of Fabric's peer, read as the peer reads them.

use crate::support::*;
use serde_json::Value;

/// A folder with a `core.yaml`.
fn core_yaml(yaml: &str) -> (TempDir, String) {
    let dir = TempDir::new();
    let file = dir.write("core.yaml", yaml);
    (dir, file)
}

fn peer_args(org: u32, number: u32, more: &[&str]) -> Vec<String> {
    let flags = Crypto::get().identity(org, number);
    ["peer"].iter().chain(more).map(|s| s.to_string()).chain(flags).collect()
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// Starts a peer and returns its first line.
fn listening(more: &[&str], variables: &[(&str, &str)]) -> Value {
    let mut running = start_with(&strs(&peer_args(1, 1, more)), variables);
    running.await_event("listening")
}

/// The first address that is not a loopback address, as `hostname -I` or `ip` would say; none in a closed sandbox.
fn local_address() -> Option<String> {
    let addresses = nix::ifaddrs::getifaddrs().unwrap();
    let mut addresses = addresses.filter_map(|i| Some(i.address?.as_sockaddr_in()?.ip()));
    addresses.find(|ip| !ip.is_loopback()).map(|ip| ip.to_string())
}

#[test]
fn row_9_an_address_of_all_interfaces_is_never_published() {
    let Some(local) = local_address() else {
        let ended = run(&strs(&peer_args(1, 1, &["--listen", "0.0.0.0:0"])));
        ended.assert_code(2);
        assert!(ended.stderr.contains("--endpoint"), "{}", ended.stderr);
        return;
    };
    let host = |line: &Value| line["endpoint"].as_str().unwrap().rsplit_once(':').unwrap().0.to_owned();
    let port = |line: &Value, key: &str| line[key].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let line = listening(&["--listen", "0.0.0.0:0"], &[]);
    assert_eq!((host(&line), port(&line, "endpoint")), (local.clone(), port(&line, "address")));
    let line = listening(&[], &[("CORE_PEER_LISTENADDRESS", "0.0.0.0:0")]);
    assert_eq!(host(&line), local);
    let line = listening(&[], &[("CORE_PEER_ADDRESS", "0.0.0.0:7051")]);
    assert_eq!(line["endpoint"], format!("{local}:7051"));
    let auto = [("CORE_PEER_ADDRESS", "peer0:7051"), ("CORE_PEER_ADDRESSAUTODETECT", "true")];
    assert_eq!(listening(&[], &auto)["endpoint"], format!("{local}:7051"));
    assert_eq!(listening(&[], &auto[..1])["endpoint"], "peer0:7051");
    // A named value takes precedence over a detected one.
    let endpoint = listening(&[], &[auto[1], ("CORE_PEER_GOSSIP_ENDPOINT", "peer1:1")]);
    assert_eq!(endpoint["endpoint"], "peer1:1");
    for wrong in [["--endpoint", "0.0.0.0:7051"], ["--external-endpoint", "[::]:7051"]] {
        let ended = run(&strs(&peer_args(1, 1, &wrong)));
        ended.assert_code(2);
        assert!(ended.stderr.contains("cannot be dialled"), "{}", ended.stderr);
    }
}

#[test]
fn row_10_durations_are_those_of_go() {
    for value in ["1m30s", "1h0m0s", "0", "5000000000", "10000000ns", "\"500ms\"", "5e9", ""] {
        let (_dir, config) =
            core_yaml(&format!("peer:\n  gossip:\n    requestWaitTime: {value}\n    pullInterval: {value}\n"));
        listening(&["--config", &config], &[]);
    }
    for value in ["1m30s", "0", "5000000000", "10000000ns", ""] {
        listening(&[], &[("CORE_PEER_GOSSIP_RESPONSEWAITTIME", value)]);
    }
    for value in ["soon", "5 s", "-1s", "1d"] {
        let (_dir, config) = core_yaml(&format!("peer:\n  gossip:\n    digestWaitTime: {value}\n"));
        let ended = run(&strs(&peer_args(1, 1, &["--config", &config])));
        ended.assert_code(2);
        for part in ["peer.gossip.digestWaitTime", &config, value] {
            assert!(ended.stderr.contains(part), "{}", ended.stderr);
        }
        let ended = run_with(&strs(&peer_args(1, 1, &[])), &[("CORE_PEER_GOSSIP_DIGESTWAITTIME", value)]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("CORE_PEER_GOSSIP_DIGESTWAITTIME"), "{}", ended.stderr);
    }
}

#[test]
fn row_16_tls_is_off_by_whatever_viper_takes_for_false() {
    let crypto = Crypto::get();
    let (_plain, endpoint, _) = crypto.listen(&["--no-tls"]);
    for value in ["0", "f", "F", "false", "FALSE", "no", "off"] {
        run_with(&["probe", &endpoint], &[("CORE_PEER_TLS_ENABLED", value)]).assert_code(0);
        let (_dir, config) = core_yaml(&format!("peer:\n  tls:\n    enabled: {value}\n"));
        run(&["probe", &endpoint, "--config", &config]).assert_code(0);
        // The environment goes before the file, and a flag before both.
        run_with(&["probe", &endpoint, "--config", &config], &[("CORE_PEER_TLS_ENABLED", "true")]).assert_code(2);
        run(&["probe", &endpoint, "--config", &config, "--tls-ca", &crypto.tls_ca(1)]).assert_code(1);
    }
    for value in ["yes", "treu", "on", ""] {
        let ended = run_with(&["probe", &endpoint], &[("CORE_PEER_TLS_ENABLED", value)]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("CORE_PEER_TLS_ENABLED"), "{value}: {}", ended.stderr);
    }
}

#[test]
fn row_17_core_yaml_is_found_in_its_folder_and_paths_are_relative_to_it() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&[]);
    let dir = TempDir::new();
    std::os::unix::fs::symlink(crypto.peer(1, 1), dir.join("home")).unwrap();
    let yaml = format!(
        "peer:\n  address: {endpoint}\n  localMspId: Org1MSP\n  mspConfigPath: home/msp\n  tls:\n    cert: {{file: \
         home/tls/server.crt}}\n    key: {{file: home/tls/server.key}}\n    rootcert: {{file: home/tls/ca.crt}}\n"
    );
    dir.write("core.yaml", yaml);
    let folder = dir.path().to_str().unwrap();
    run_with(&["handshake"], &[("FABRIC_CFG_PATH", folder)]).assert_code(0);
    // A relative path in a variable is relative to the file too.
    let variables =
        [("FABRIC_CFG_PATH", folder), ("CORE_PEER_MSPCONFIGPATH", "home/msp"), ("CORE_PEER_ADDRESS", &endpoint)];
    run_with(&["handshake"], &variables).assert_code(0);
    let variables = [("FABRIC_CFG_PATH", folder), ("CORE_PEER_MSPCONFIGPATH", "elsewhere")];
    let ended = run_with(&["handshake"], &variables);
    ended.assert_code(2);
    for part in ["CORE_PEER_MSPCONFIGPATH", &format!("{folder}/elsewhere")] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    // `--config` goes before the folder.
    let (_other, config) = core_yaml("peer:\n  address: nowhere.invalid:1\n");
    run_with(&["probe", "--no-tls", "--config", &config], &[("FABRIC_CFG_PATH", folder)]).assert_code(1);
    for (wrong, part) in [("/nowhere", "folder not found"), ("/", "core.yaml not found")] {
        let ended = run_with(&["probe", "h:1", "--no-tls"], &[("FABRIC_CFG_PATH", wrong)]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("FABRIC_CFG_PATH") && ended.stderr.contains(part), "{}", ended.stderr);
    }
    // Commands without settings do not look for it.
    run_with(&["completions", "bash"], &[("FABRIC_CFG_PATH", "/nowhere")]).assert_code(0);
}

#[test]
fn row_21_the_key_is_taken_from_the_keystore_that_core_yaml_names() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&[]);
    let dir = TempDir::new();
    let home = crypto.peer(2, 1);
    let msp = dir.join("msp");
    copy_folder(format!("{home}/msp").as_ref(), &msp);
    std::fs::rename(msp.join("keystore"), dir.join("elsewhere")).unwrap();
    let flags = |config: &str| -> Vec<String> {
        let mut flags = crypto.identity(2, 1);
        flags[1] = msp.to_str().unwrap().to_owned();
        let tls = ["--tls-cert", &format!("{home}/tls/server.crt"), "--tls-key", &format!("{home}/tls/server.key")];
        let more = ["handshake", &endpoint, "--config", config].into_iter().chain(tls).map(str::to_owned);
        more.chain(flags).collect()
    };
    let config = dir
        .write("core.yaml", "peer:\n  BCCSP:\n    Default: SW\n    SW:\n      FileKeyStore: {KeyStore: elsewhere}\n");
    run(&strs(&flags(&config))).assert_code(0);

    let config = dir.write("hsm.yaml", "peer:\n  BCCSP:\n    Default: PKCS11\n    PKCS11: {Library: /x.so, Pin: 98}\n");
    let ended = run(&strs(&flags(&config)));
    ended.assert_code(2);
    for part in ["peer.BCCSP.Default", "PKCS11", "not honoured", "keystore"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let config = dir.write("odd.yaml", "peer:\n  BCCSP: {Default: sw}\n");
    let ended = run(&strs(&flags(&config)));
    ended.assert_code(2);
    assert!(ended.stderr.contains("expected SW or PKCS11"), "{}", ended.stderr);
}

#[test]
fn security_settings_that_are_not_honoured_are_named_in_a_warning() {
    let (_dir, config) =
        core_yaml("peer:\n  tls: {enabled: false, clientAuthRequird: true}\n  BCCSP: {SW: {Hash: SHA3}}\n");
    let ended = run_with(&["probe", "127.0.0.1:1", "--config", &config], &[("CORE_PEER_TLS_HANDSHAKETIMESHIFT", "1h")]);
    for part in ["peer.tls.clientAuthRequird", &config, "CORE_PEER_TLS_HANDSHAKETIMESHIFT"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let ended = run(&strs(&peer_args(1, 1, &["--config", &config, "--listen", "nowhere.invalid:1"])));
    assert!(ended.stderr.contains("peer.BCCSP.SW.Hash"), "{}", ended.stderr);
}

#[test]
fn what_nobody_sees_in_a_variable_is_shown() {
    let crypto = Crypto::get();
    let msp = format!("{}/msp", crypto.peer(1, 1));
    let with = |name: &str, value: &str, parts: &[&str]| {
        let mut variables = vec![("CORE_PEER_MSPCONFIGPATH", &*msp), ("CORE_PEER_LOCALMSPID", "Org1MSP")];
        variables.retain(|(other, _)| *other != name);
        variables.push((name, value));
        let ended = run_with(&["handshake", "127.0.0.1:1"], &variables);
        ended.assert_code(2);
        for part in parts.iter().chain(&[name]) {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
        assert!(ended.stderr.trim_end().chars().all(|c| !c.is_control() || c == '\n'), "{:?}", ended.stderr);
    };
    with("CORE_PEER_MSPCONFIGPATH", &format!("{msp}\r"), &["\\r", "Windows"]);
    with("CORE_PEER_MSPCONFIGPATH", &format!("\"{msp}\""), &["quotes"]);
    with("CORE_PEER_MSPCONFIGPATH", &format!("{msp} "), &["white space"]);
    with("CORE_PEER_LOCALMSPID", "Org1MSP\r", &["\\r", "Windows"]);
    with("CORE_PEER_LOCALMSPID", "\"Org1MSP\"", &["quotes"]);
    with("CORE_PEER_TLS_ENABLED", "true\r", &["\\r"]);
    with("CORE_PEER_TLS_ROOTCERT_FILE", "/ca.crt\r", &["\\r"]);
}

#[test]
fn an_empty_variable_takes_away_what_the_file_says() {
    let (_dir, config) = core_yaml("peer:\n  gossip:\n    endpoint: peer0:1\n    bootstrap: nonsense\n");
    let endpoint = |variables: &[(&str, &str)]| listening(&["--config", &config], variables)["endpoint"].clone();
    assert_eq!(endpoint(&[("CORE_PEER_GOSSIP_BOOTSTRAP", "")]), "peer0:1");
    let taken = endpoint(&[("CORE_PEER_GOSSIP_BOOTSTRAP", ""), ("CORE_PEER_GOSSIP_ENDPOINT", "")]);
    assert!(taken.as_str().unwrap().starts_with("127.0.0.1:"), "{taken}");
}

#[test]
fn a_core_yaml_that_cannot_be_used_is_an_error() {
    let dir = TempDir::new();
    let folder = dir.path().to_str().unwrap().to_owned();
    let files = [
        (folder.clone(), "container mount"),
        (dir.write("broken.yaml", "peer: [\n"), "YAML"),
        (dir.write("list.yaml", "- peer\n"), "no keys"),
        (dir.write("empty.yaml", ""), "no keys"),
        (dir.write("twice.yaml", "peer:\n  tls: {}\n  TLS: {}\n"), "twice"),
        (dir.write("large.yaml", vec![b'#'; 2 << 20]), "1 MiB"),
    ];
    for (file, part) in &files {
        let ended = run(&["probe", "h:1", "--no-tls", "--config", file]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(part) && ended.stderr.contains(&*folder), "{part}: {}", ended.stderr);
    }
}

#[test]
fn clients_of_fabrics_test_network_need_no_server_files() {
    // As its documentation has it: a folder with the sample core.yaml, an administrator's MSP, and the root of TLS.
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&[]);
    let (dir, _) = core_yaml(
        "peer:\n  address: 0.0.0.0:7051\n  mspConfigPath: msp\n  localMspId: SampleOrg\n  tls:\n    enabled: false\n    cert: \
         {file: tls/server.crt}\n    key: {file: tls/server.key}\n    rootcert: {file: tls/ca.crt}\n    clientRootCAs: \
         {files: [tls/ca.crt]}\n    clientKey: {file: }\n    clientCert: {file: }\n  BCCSP:\n    Default: SW\n",
    );
    let home = crypto.peer(1, 1);
    let (msp, ca) = (format!("{home}/msp"), crypto.tls_ca(1));
    let variables = [
        ("FABRIC_CFG_PATH", dir.path().to_str().unwrap()),
        ("CORE_PEER_TLS_ENABLED", "true"),
        ("CORE_PEER_LOCALMSPID", "Org1MSP"),
        ("CORE_PEER_TLS_ROOTCERT_FILE", &ca),
        ("CORE_PEER_MSPCONFIGPATH", &msp),
        ("CORE_PEER_ADDRESS", &endpoint),
    ];
    for command in ["probe", "handshake"] {
        let ended = run_with(&[command], &variables);
        ended.assert_code(0);
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn verbosity_is_set_by_flags_and_by_fabrics_variable() {
    let (_dir, config) = core_yaml("peer:\n  tls: {enabled: false, unknown: 1}\n");
    let stderr = |more: &[&str], variables: &[(&str, &str)]| {
        run_with(&[&["probe", "127.0.0.1:1", "--config", &config], more].concat(), variables).stderr
    };
    assert!(stderr(&[], &[]).contains("peer.tls.unknown"));
    assert!(!stderr(&["-q"], &[]).contains("peer.tls.unknown"));
    assert!(!stderr(&[], &[("FABRIC_LOGGING_SPEC", "ERROR")]).contains("peer.tls.unknown"));
    // The C core's own text is for debugging.
    assert!(!stderr(&[], &[]).contains("grpc") && !stderr(&["-v"], &[]).contains(" grpc]"));
}

#[test]
fn core_yaml_is_read_as_gos_yaml_library_reads_it() {
    let yaml = "base: &base\n  endpoint: peer0:1\n  pullInterval: 1m0s\npeer:\n  gossip:\n    <<: *base\n    bootstrap: NULL\n";
    let endpoint = |text: Vec<u8>| {
        let dir = TempDir::new();
        let config = dir.write("core.yaml", text);
        listening(&["--config", &config], &[])["endpoint"].clone()
    };
    assert_eq!(endpoint(yaml.into()), "peer0:1");
    assert_eq!(endpoint(["\u{feff}", yaml].concat().into()), "peer0:1");
    let utf16: Vec<u8> = ["\u{feff}", yaml].concat().encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(endpoint(utf16), "peer0:1");
    assert_eq!(endpoint(yaml.replace("gossip:", "GOSSIP:").into()), "peer0:1");
}

#[test]
fn a_core_yaml_with_many_aliases_is_judged_soon() {
    let mut bomb = String::from("a0: &a0 {x: y}\n");
    for n in 1..20 {
        let entries: Vec<_> = (0..10).map(|key| format!("k{key}: *a{}", n - 1)).collect();
        bomb += &format!("a{n}: &a{n} {{{}}}\n", entries.join(", "));
    }
    let (_dir, config) = core_yaml(&format!("{bomb}peer: {{tls: *a19, gossip: *a19}}\n"));
    let begin = std::time::Instant::now();
    run(&["probe", "h:1", "--no-tls", "--config", &config]).assert_code(2);
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
}
