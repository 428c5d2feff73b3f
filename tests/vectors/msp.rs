//! msp.json: MSP folders, the identities of their members, the mapper, channels.

use crate::orgs::{identity, join, load_all, load_config, load_msp, local_only, text};
use crate::support::{check_sections, hex, load, to_hex};
use crate::tally::{same_text, Tally};
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::identity::{IdentityConfig, IdentityMapper};
use fabric_gossip::msp::{Channel, MspCryptoService};
use fabric_gossip::testing::VirtualClock;
use fabric_gossip::Result;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn every_section_is_run() {
    let known = ["identity_cases", "mapper_cases", "members", "msps", "resolution_cases"];
    check_sections(&load("msp.json"), &known);
}

fn expiration_unix(result: &Result<Option<SystemTime>>) -> Option<u64> {
    let at = result.as_ref().ok()?.expect("certificates expire");
    Some(at.duration_since(UNIX_EPOCH).expect("after 1970").as_secs())
}

/// The service under test for all identities but our own, which a mapper needs and which is always valid.
struct BesidesOwn(Arc<MspCryptoService>);

impl CryptoService for BesidesOwn {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        match *identity == own() {
            true => Some(PkiId::from(identity.as_bytes())),
            false => self.0.pki_id(identity),
        }
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        match *identity == own() {
            true => Ok(()),
            false => self.0.validate_identity(identity),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(message)
    }

    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()> {
        self.0.verify(identity, signature, message)
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Option<SystemTime>> {
        match *identity == own() {
            true => Ok(None),
            false => self.0.expiration(identity),
        }
    }
}

fn own() -> PeerIdentity {
    b"own".as_slice().into()
}

/// Returns the result of Put for an identity, and whether it is known afterwards.
fn mapper_put(service: &Arc<MspCryptoService>, id: &PkiId, identity: &PeerIdentity) -> (Result<()>, bool) {
    let (crypto, clock) = (Arc::new(BesidesOwn(service.clone())), Arc::new(VirtualClock::new()));
    let mapper = IdentityMapper::new(IdentityConfig::default(), crypto, service.clone(), clock, own(), |_, _| {});
    let mapper = mapper.expect("a mapper");
    let put = mapper.put(id, identity);
    (put, mapper.get(id).is_ok())
}

#[test]
fn msps_load_or_not_as_recorded() {
    let file = load("msp.json");
    let mut tally = Tally::default();
    for entry in file["msps"].as_array().expect("msps") {
        let mut case = tally.case(entry);
        let (msp, expect) = (load_msp(entry), &entry["expect"]);
        case.same("loads", msp.as_ref().err().map(|e| e.to_string()).is_none(), expect["ok"] == true);
        if let Some(recorded) = expect["ou_identifiers"].as_object() {
            let listed = load_config(entry).expect("the configuration of a folder that loads").ou_identifiers;
            let names: BTreeSet<&str> = listed.iter().map(|it| it.organizational_unit_identifier.as_str()).collect();
            case.same("OUs", names, recorded.keys().map(String::as_str).collect());
            // Members certified by the same chain have its identifier.
            let msp = msp.as_ref().expect("an MSP that loads");
            let members = file["members"].as_array().expect("members").iter().map(|it| identity(&it["identity"]));
            let members = members.filter_map(|it| msp.deserialize(&it).ok());
            let chains: BTreeSet<String> = members
                .flat_map(|it| msp.organizational_units(&it))
                .map(|it| to_hex(&it.certifiers_identifier))
                .collect();
            for chain in recorded.values().flat_map(|it| it.as_array().expect("identifiers")) {
                case.same("chain of an OU", chains.contains(text(chain)), true);
            }
        }
        if let Err(e) = &msp {
            println!("  {}: {e}\n      recorded: {:.200}", case.id, text(&expect["error"]));
        }
    }
    tally.report("MSP folders");
}

#[test]
fn members_have_the_recorded_pki_ids() {
    let file = load("msp.json");
    let msps = load_all(&file);
    let mut tally = Tally::default();
    for member in file["members"].as_array().expect("members") {
        let mut case = tally.case(member);
        let service = local_only(&msps["org1"]);
        let identity = identity(&member["identity"]);
        case.same(
            "PKI-ID",
            service.pki_id(&identity).map(|id| id.to_string()),
            member["pki_id"].as_str().map(String::from),
        );
        let encoded = fabric_gossip::msp::serialized_identity(
            text(&member["mspid"]),
            text(&member["certificate_pem"]).as_bytes(),
        );
        case.same("serialized", encoded == identity, true);
        let Some(msp) = msps.values().find(|m| m.id() == text(&member["mspid"]) && m.deserialize(&identity).is_ok())
        else {
            continue;
        };
        let (cert, key) = (text(&member["certificate_pem"]), text(&member["private_key_pem"]));
        match fabric_gossip::msp::SigningIdentity::new(msp, cert.as_bytes(), key.as_bytes(), SystemTime::now()) {
            Ok(signer) => {
                case.same("own identity", signer.serialize() == identity, true);
                case.same("own PKI-ID", signer.pki_id().to_string(), text(&member["pki_id"]).to_owned());
                let signature = signer.sign(b"message").expect("a signature");
                let verified = signer.identity().verify(&signature, b"message");
                case.same("own signature", verified.is_ok(), true);
            }
            Err(e) => case.wrong(format!("cannot sign: {e}")),
        }
    }
    tally.report("members");
}

#[test]
fn identities_are_judged_as_recorded() {
    let file = load("msp.json");
    let msps = load_all(&file);
    let mut tally = Tally::default();
    for entry in file["identity_cases"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let Some(msp) = msps.get(text(&entry["msp"])) else {
            case.wrong("its MSP does not load".into());
            continue;
        };
        let (identity, expect) = (identity(&entry["identity"]), &entry["expect"]);
        let service = local_only(msp);

        case.verdict("verdict", &service.validate_identity(&identity), expect);
        let id = service.pki_id(&identity);
        case.same("PKI-ID", id.as_ref().map(|id| id.to_string()), expect["pki_id"].as_str().map(String::from));
        let org = service.org_by_peer_identity(&identity).map(|o| o.to_string());
        case.same("org", org, expect["org"].as_str().map(String::from));
        let expiration = service.expiration(&identity);
        case.same("expiration", expiration_unix(&expiration), expect["expiration_unix"].as_u64());
        if let (Err(e), Some(recorded)) = (&expiration, expect["expiration_error"].as_str()) {
            case.same("expiration text", same_text(e.message(), recorded), true);
        }

        let deserialized = msp.deserialize(&identity);
        case.verdict("deserialize", &deserialized, &expect["deserialize"]);
        case.same("well formed", msp.check_well_formed(&identity).is_ok(), expect["well_formed"]["ok"] == true);
        if expect["well_formed"]["error"].as_str().is_none_or(|e| !e.starts_with("not reached")) {
            case.verdict("well formed", &msp.check_well_formed(&identity), &expect["well_formed"]);
        }
        // The manager of all MSPs says in its own words that it has none with the id of the identity.
        if expect["manager_deserialize"].is_object() {
            let recorded = &expect["manager_deserialize"];
            match recorded["error"].as_str().is_some_and(|it| it.ends_with(" is not defined on channel")) {
                true => case.same("known to the manager", deserialized.is_ok(), recorded["ok"] == true),
                false => case.verdict("deserialize by the manager", &deserialized, recorded),
            }
            let (ours, recorded) = (msp.check_well_formed(&identity), &expect["manager_well_formed"]);
            case.same("well formed to the manager", ours.is_ok(), recorded["ok"] == true);
            let reason = recorded["error"].as_str().is_none_or(|it| it == "no MSP provider recognizes the identity");
            case.same("reason of the manager", reason, true);
        }
        if let Ok(member) = &deserialized {
            case.same("MSP of the member", Some(msp.id()), expect["msp_identifier"].as_str());
            let not_after = member.not_after().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
            case.same("expires", Some(not_after), expect["not_after_unix"].as_u64());
            case.verdict("validate", &msp.validate(member), &expect["validate"]);
            let identifier = msp.identity_identifier(member).ok().map(|h| to_hex(&h));
            case.same("identifier", identifier, expect["identity_identifier"].as_str().map(String::from));
            let same = member.serialize() == identity;
            case.same("serializes to itself", Some(same), expect["serialize_equals_input"].as_bool());
            if let Some(recorded) = expect["serialize"].as_str() {
                case.same("serialized", to_hex(member.serialize().as_bytes()), recorded.to_owned());
            }
            let ous = msp.organizational_units(member);
            let ous: Vec<_> =
                ous.iter().map(|ou| format!("{}({})", ou.name, to_hex(&ou.certifiers_identifier))).collect();
            let recorded = expect["ous"].as_array();
            let recorded = recorded.map(|ous| ous.iter().map(|ou| text(ou).to_owned()).collect()).unwrap_or_default();
            case.same("OUs", ous, recorded);
        }

        match id {
            Some(id) if expect["mapper_put"].is_object() => {
                case.verdict("put", &mapper_put(&service, &id, &identity).0, &expect["mapper_put"])
            }
            // Without a PKI-ID there is no key to put it under.
            _ => case.same("put", expect["mapper_put"]["ok"] == true, expect["mapper_put"]["error"].is_null()),
        }

        if expect["as_channel_msp"].is_object() {
            let remote = MspCryptoService::new(msps["org3"].clone(), None);
            remote.set_channel("ch", Channel::new([msp.clone()], Some(vec![msp.id().to_owned()])));
            case.verdict("in a channel", &remote.validate_identity(&identity), &expect["as_channel_msp"]);
            let org = remote.org_by_peer_identity(&identity).map(|o| o.to_string());
            case.same("org in a channel", org, expect["as_channel_msp_org"].as_str().map(String::from));
        }
    }
    tally.report("identities");
}

/// Row M14: extra bytes around the numbers of a revocation list's signature do not make the list ineffective.
#[test]
fn an_overlong_list_signature_still_revokes() {
    let file = load("msp.json");
    let msps = load_all(&file);
    let cases = file["identity_cases"].as_array().expect("cases");
    let revoked = cases.iter().find(|c| c["id"] == "crl-revoked").expect("the case");
    let msp = &msps["org1-crl-extraint"];
    let member = msp.deserialize(&identity(&revoked["identity"])).expect("a member");
    let verdict = msp.validate(&member).expect_err("revoked");
    assert!(verdict.message().ends_with("The certificate has been revoked"), "{verdict}");
}

#[test]
fn the_mapper_takes_what_is_recorded() {
    let file = load("msp.json");
    let msps = load_all(&file);
    let mut tally = Tally::default();
    for entry in file["mapper_cases"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let service = local_only(&msps[text(&entry["msp"])]);
        let id = PkiId::from(hex(&entry["pki_id"]).unwrap_or_default());
        let (put, known) = mapper_put(&service, &id, &identity(&entry["identity"]));
        case.same("known after", known, entry["expect"]["known_after"] == true);
        let empty = [&entry["pki_id"], &entry["identity"]].map(|it| *it == "");
        match empty[0] || empty[1] {
            // Empty and absent are one thing here, as they are on the wire: refused either way.
            true => {
                case.same("refused", put.is_err(), entry["expect"]["ok"] == false);
                case.same("with a reason", put.is_err(), entry["expect"]["error"].as_str().is_some());
            }
            false => case.verdict("put", &put, &entry["expect"]),
        }
    }
    tally.report("mapper");
}

#[test]
fn foreign_identities_are_resolved_as_recorded() {
    let file = load("msp.json");
    let msps = load_all(&file);
    let mut tally = Tally::default();
    for entry in file["resolution_cases"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let service = MspCryptoService::new(msps[text(&entry["local_msp"])].clone(), None);
        join(&service, &entry["channels"], &msps);
        let (identity, expect) = (identity(&entry["identity"]), &entry["expect"]);
        let (message, signature) = (hex(&entry["message"]).expect("hex"), hex(&entry["signature"]).expect("hex"));
        let mut changed = message.clone();
        changed.push(0);
        case.verdict("verdict", &service.validate_identity(&identity), expect);
        let org = service.org_by_peer_identity(&identity).map(|o| o.to_string());
        case.same("org", org, expect["org"].as_str().map(String::from));
        case.verdict("expiration", &service.expiration(&identity), &expect["expiration"]);
        case.verdict("verify", &service.verify(&identity, &signature, &message), &expect["verify_good"]);
        case.verdict("verify changed", &service.verify(&identity, &signature, &changed), &expect["verify_bad_message"]);
    }
    tally.report("resolution");
}
