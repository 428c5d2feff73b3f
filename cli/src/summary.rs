//! Summary of the trust settings of an MSP folder without its own member.

use crate::certificate;
use crate::failure::{Failure, Result};
use crate::output::printable;
use crate::Context;
use fabric_gossip::msp::{MspConfig, NodeOus, PemFile};
use openssl::x509::X509;
use serde_json::{json, Value};
use std::path::Path;
use std::time::Duration;

/// Shows the authorities, the administrators, the number of revocation lists and the OUs that identify roles. The
/// caller has checked that the MSP can be set up.
pub fn show(context: &Context, dir: &Path, mspid: &str, warn_expiry: Option<Duration>) -> Result<()> {
    let config = MspConfig::load(dir, mspid).map_err(|e| Failure::usage(e.message()))?;
    let groups = [
        ("roots", &config.root_certs),
        ("intermediates", &config.intermediate_certs),
        ("tls_roots", &config.tls_root_certs),
        ("tls_intermediates", &config.tls_intermediate_certs),
        ("admins", &config.admins),
    ];
    let lists = config.revocation_lists.len();
    let roles = config.node_ous.as_ref().map(roles).unwrap_or_default();
    let files = groups.iter().flat_map(|(_, files)| files.iter());
    let mut certificates = files.filter_map(|file| X509::from_pem(&file.pem).ok());
    let error = warn_expiry.and_then(|time| certificates.find_map(|x509| certificate::expires_within(&x509, time)));
    context.out.line(
        || {
            let mut line = json!({"event": "identity", "path": dir.display().to_string(), "mspid": mspid});
            for key in ["pki_id", "subject", "valid"] {
                line[key] = Value::Null;
            }
            line["error"] = json!(error);
            for (name, files) in groups {
                line[name] = files.iter().map(|file| describe(file).0).collect();
            }
            line["revocation_lists"] = json!(lists);
            line["roles"] = json!(roles);
            line["ok"] = json!(error.is_none());
            line
        },
        || {
            let mut text =
                format!("  folder     {}\n  MSP id     {mspid}\n  member     none in signcerts", dir.display());
            for (name, files) in groups {
                for file in files {
                    text += &format!("\n  {:<10} {}", name.replace('_', " ").trim_end_matches('s'), describe(file).1);
                }
            }
            let roles = if roles.is_empty() { "not distinguished".into() } else { roles.join(", ") };
            text += &format!("\n  CRLs       {lists}\n  roles      {}", printable(&roles));
            text + &error.as_ref().map(|text| format!("\n✘ {}", printable(text))).unwrap_or_default()
        },
    );
    match error {
        Some(_) => Err(Failure::Reported),
        None => Ok(()),
    }
}

fn describe(file: &PemFile) -> (Value, String) {
    let Ok(x509) = X509::from_pem(&file.pem) else { return (Value::Null, "cannot be shown".into()) };
    let (subject, expires) = (certificate::name(x509.subject_name()), certificate::date(x509.not_after()));
    let text = format!("{} until {expires} ({})", printable(&subject), certificate::remaining(&x509));
    (json!({"subject": subject, "expires": expires}), text)
}

/// Returns the OUs of the roles, in Fabric's order.
fn roles(ous: &NodeOus) -> Vec<String> {
    let roles = [&ous.client, &ous.peer, &ous.admin, &ous.orderer];
    roles.into_iter().flatten().map(|role| role.organizational_unit_identifier.clone()).collect()
}
