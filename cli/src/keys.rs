//! The keys of Fabric's `core.yaml` that the tool reads: the only table of them. `docs/core-yaml.md` documents every
//! key, and a test compares the two.

/// A key. Files and environment are read only by these keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    name: &'static str,
    flag: &'static str,
}

impl Key {
    /// Returns its name in `core.yaml`, such as `peer.tls.cert.file`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the flag that takes precedence over it; empty if there is none.
    pub fn flag(&self) -> &'static str {
        self.flag
    }

    /// Returns its variable: `peer.tls.cert.file` is `CORE_PEER_TLS_CERT_FILE`.
    pub fn variable(&self) -> String {
        format!("CORE_{}", self.name.replace('.', "_").to_uppercase())
    }
}

macro_rules! keys {
    ($($constant:ident = $name:literal, $flag:literal;)*) => {
        $(pub const $constant: Key = Key { name: $name, flag: $flag };)*
        /// All keys that are read.
        pub const ALL: &[Key] = &[$($constant),*];
    };
}

// The constant, the key, and the flag that takes precedence over it ("" if there is none).
keys! {
    ADDRESS = "peer.address", "";
    ADDRESS_AUTO_DETECT = "peer.addressAutoDetect", "";
    LISTEN_ADDRESS = "peer.listenAddress", "--listen";
    LOCAL_MSP_ID = "peer.localMspId", "--mspid";
    LOCAL_MSP_TYPE = "peer.localMspType", "";
    MSP_CONFIG_PATH = "peer.mspConfigPath", "--msp";
    BCCSP_DEFAULT = "peer.BCCSP.Default", "";
    BCCSP_HASH = "peer.BCCSP.SW.Hash", "";
    BCCSP_SECURITY = "peer.BCCSP.SW.Security", "";
    BCCSP_KEYSTORE = "peer.BCCSP.SW.FileKeyStore.KeyStore", "";
    TLS_ENABLED = "peer.tls.enabled", "--no-tls";
    TLS_CERT = "peer.tls.cert.file", "--tls-cert";
    TLS_KEY = "peer.tls.key.file", "--tls-key";
    TLS_ROOTCERT = "peer.tls.rootcert.file", "--tls-ca";
    TLS_CLIENT_CERT = "peer.tls.clientCert.file", "--tls-client-cert";
    TLS_CLIENT_KEY = "peer.tls.clientKey.file", "--tls-client-key";
    TLS_CLIENT_AUTH_REQUIRED = "peer.tls.clientAuthRequired", "--tls-client-auth";
    TLS_CLIENT_ROOT_CAS = "peer.tls.clientRootCAs.files", "--tls-ca";
    TLS_SERVER_HOST_OVERRIDE = "peer.tls.serverhostoverride", "--tls-server-name";
    GOSSIP_BOOTSTRAP = "peer.gossip.bootstrap", "--bootstrap";
    GOSSIP_ENDPOINT = "peer.gossip.endpoint", "--endpoint";
    GOSSIP_EXTERNAL_ENDPOINT = "peer.gossip.externalEndpoint", "--external-endpoint";
    ALIVE_TIME_INTERVAL = "peer.gossip.aliveTimeInterval", "--alive-interval";
    ALIVE_EXPIRATION_TIMEOUT = "peer.gossip.aliveExpirationTimeout", "--alive-expiration";
    RECONNECT_INTERVAL = "peer.gossip.reconnectInterval", "--reconnect-interval";
    PUBLISH_CERT_PERIOD = "peer.gossip.publishCertPeriod", "";
    MSG_EXPIRATION_FACTOR = "peer.gossip.msgExpirationFactor", "";
    PULL_INTERVAL = "peer.gossip.pullInterval", "--pull-interval";
    PULL_PEER_NUM = "peer.gossip.pullPeerNum", "";
    PROPAGATE_PEER_NUM = "peer.gossip.propagatePeerNum", "";
    PROPAGATE_ITERATIONS = "peer.gossip.propagateIterations", "";
    MAX_PROPAGATION_BURST_SIZE = "peer.gossip.maxPropagationBurstSize", "";
    MAX_PROPAGATION_BURST_LATENCY = "peer.gossip.maxPropagationBurstLatency", "";
    DIGEST_WAIT_TIME = "peer.gossip.digestWaitTime", "";
    REQUEST_WAIT_TIME = "peer.gossip.requestWaitTime", "";
    RESPONSE_WAIT_TIME = "peer.gossip.responseWaitTime", "";
    PUBLISH_STATE_INFO_INTERVAL = "peer.gossip.publishStateInfoInterval", "";
    REQUEST_STATE_INFO_INTERVAL = "peer.gossip.requestStateInfoInterval", "";
    MAX_BLOCK_COUNT_TO_STORE = "peer.gossip.maxBlockCountToStore", "";
    DIAL_TIMEOUT = "peer.gossip.dialTimeout", "--dial-timeout";
    CONN_TIMEOUT = "peer.gossip.connTimeout", "--conn-timeout";
    SEND_BUFF_SIZE = "peer.gossip.sendBuffSize", "";
    OPERATIONS_ADDRESS = "operations.listenAddress", "--metrics";
    OPERATIONS_TLS_ENABLED = "operations.tls.enabled", "--metrics-tls-cert";
    OPERATIONS_TLS_CERT = "operations.tls.cert.file", "--metrics-tls-cert";
    OPERATIONS_TLS_KEY = "operations.tls.key.file", "--metrics-tls-key";
    OPERATIONS_CLIENT_AUTH_REQUIRED = "operations.tls.clientAuthRequired", "--metrics-client-ca";
    OPERATIONS_CLIENT_ROOT_CAS = "operations.tls.clientRootCAs.files", "--metrics-client-ca";
}

/// Sections in which all keys concern security. A key that is set there and not read is named in a warning.
pub const SECURITY_SECTIONS: [&str; 3] = ["peer.tls", "peer.BCCSP", "operations.tls"];

/// The section of a provider that is not in use: none of its keys apply.
pub const BCCSP_PKCS11: &str = "peer.BCCSP.PKCS11";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Returns the rows `| key | status | … |` of the documentation.
    fn documented() -> BTreeMap<&'static str, Vec<&'static str>> {
        let table = include_str!("../../docs/core-yaml.md").lines().filter(|line| line.starts_with("| `"));
        let rows = table.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
        rows.map(|row| (row[0].trim_matches('`'), row)).collect()
    }

    #[test]
    fn the_documentation_says_of_every_key_of_fabrics_sample_what_becomes_of_it() {
        let documented = documented();
        let sample = include_str!("../tests/cli/core-yaml-keys.txt");
        for key in sample.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let row = documented.get(key).unwrap_or_else(|| panic!("{key} has no row"));
            assert!(["honoured", "ignored", "not applicable"].contains(&row[1]), "{row:?}");
            assert!(!row[2].is_empty(), "{key}: no explanation");
        }
    }

    #[test]
    fn the_documentation_calls_those_keys_honoured_that_are_read() {
        let documented = documented();
        let honoured: Vec<&str> =
            documented.iter().filter(|(_, row)| row[1] == "honoured").map(|(key, _)| *key).collect();
        let mut read: Vec<&str> = ALL.iter().map(Key::name).collect();
        read.sort();
        assert_eq!(honoured, read);
        for key in ALL.iter().filter(|key| !key.flag.is_empty()) {
            let row = &documented[key.name];
            assert!(row[2].contains(&format!("`{}", key.flag)), "{row:?}: {} is not named", key.flag);
        }
    }
}
