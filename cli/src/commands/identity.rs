//! `identity`: shows the identity of a certificate or an MSP, offline.

use crate::certificate::{self, Certificate};
use crate::failure::{read_file, Failure, Result};
use crate::identity::{crypto_service, pki_id, Described};
use crate::options::IdentityArgs;
use crate::output::{printable, shown};
use crate::rules::{self, Verdict};
use crate::summary;
use crate::values::duration;
use crate::Context;
use clap::Args;
use fabric_gossip::crypto::PeerIdentity;
use fabric_gossip::msp::{serialized_identity, PemFile};
use serde_json::json;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

/// Maximum number of bytes that are read from standard input.
const MAX_INPUT: u64 = 1 << 20;

/// Show the identity in a certificate or MSP folder and validate it offline
///
/// For an MSP folder without its own member, show its trust settings: authorities, revocation lists and roles.
#[derive(Args)]
pub struct IdentityCommandArgs {
    /// A certificate in PEM, instead of the one in the MSP folder's signcerts; - reads standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Fail if the certificate expires within this time; of a folder without a member, any of its certificates
    #[arg(long, value_name = "D", value_parser = duration)]
    warn_expiry: Option<Duration>,
    #[command(flatten)]
    identity: IdentityArgs,
}

pub fn run(context: &Context, args: &IdentityCommandArgs) -> Result<()> {
    let msps = args.identity.msps(&context.settings)?;
    let file = match (&args.file, args.identity.msp_dir(&context.settings)?) {
        (Some(file), _) if file.as_os_str() == "-" => PemFile::new("standard input", read_stdin()?),
        (Some(file), _) => {
            if file.is_dir() {
                return Err(Failure::file(file, "is a folder: name an MSP folder with --msp DIR, and its --mspid ID"));
            }
            PemFile::new(shown(file), read_file(file, MAX_INPUT)?)
        }
        (None, Some(dir)) => match PemFile::signing_certificate(&dir.path).map_err(|e| dir.error(e.message()))? {
            Some(file) => file,
            None => {
                let mspid = msps.first().map(|msp| msp.id()).unwrap_or_default();
                return summary::show(context, &dir.path, mspid, args.warn_expiry);
            }
        },
        (None, None) => {
            return Err(Failure::usage("no identity is named: give a certificate, or --msp DIR and --mspid ID"))
        }
    };
    // The form that its owner would send, regardless of the rest of the file.
    let of = |mspid: &str| {
        let identity = serialized_identity(mspid, &file.pem);
        let member = msps.iter().filter(|msp| msp.id() == mspid).find_map(|msp| msp.deserialize(&identity).ok());
        member.map(|member| member.serialize())
    };
    let first = match msps.iter().find_map(|msp| Described::new(&of(msp.id())?).certificate) {
        Some(x509) => Certificate::from_x509(&file.name, x509).map_err(Failure::usage)?,
        None => Certificate::first_of(&file)?,
    };
    // An identity that no MSP can read is shown unchanged, together with the verdict.
    let of = |mspid: &str| of(mspid).unwrap_or_else(|| serialized_identity(mspid, &first.pem));
    let crypto = crypto_service(&msps, None);

    // Its organisation: that of the MSP that accepts it, else the first one given.
    let named = args.identity.mspid(&context.settings)?;
    let judge = |identity: &PeerIdentity| crypto.as_ref().map(|crypto| rules::judge(&**crypto, &msps, identity));
    let accepting = msps.iter().find(|msp| matches!(judge(&of(msp.id())), Some(Verdict::Valid)));
    let mspid = accepting.map(|msp| msp.id().to_owned()).or(named).or_else(|| Some(msps.first()?.id().to_owned()));
    let identity = mspid.as_deref().map(of);
    let pki_id = identity.as_ref().and_then(pki_id).map(|id| id.to_string());
    let (valid, problem) = match identity.as_ref().and_then(judge) {
        Some(Verdict::Valid) => (Some(true), None),
        Some(Verdict::Broken(broken)) => (Some(false), Some(broken)),
        Some(Verdict::UnknownOrganisation) | None => (None, None),
    };

    let (x509, path) = (&first.x509, &file.name);
    let (subject, issuer) = (certificate::name(x509.subject_name()), certificate::name(x509.issuer_name()));
    let ous = certificate::units(x509.subject_name());
    let (from, expires) = (certificate::date(x509.not_before()), certificate::date(x509.not_after()));
    let (serial, fingerprint) = (certificate::serial(x509), certificate::fingerprint(x509));
    let (key, sans, tls) =
        (certificate::key_type(x509), certificate::alternative_names(x509), certificate::is_for_tls(x509));
    let soon = args.warn_expiry.and_then(|time| certificate::expires_within(x509, time));
    let rule = problem.as_ref().map(|p| p.rule);
    let error = problem.as_ref().map(|p| &p.text).or(soon.as_ref()).map(|text| printable(text));
    context.out.line(
        || {
            json!({
                "event": "identity", "path": path, "mspid": mspid, "pki_id": pki_id, "subject": subject,
                "issuer": issuer, "ous": ous, "not_before": from, "expires": expires, "valid": valid,
                "rule": rule, "ok": error.is_none(), "error": error, "hint": problem.as_ref().map(|p| p.hint),
                "serial": serial, "fingerprint": fingerprint, "key": key, "sans": sans, "tls": tls,
            })
        },
        || {
            let unknown = "unknown: give --mspid ID";
            let verdict = match (&problem, valid) {
                (Some(p), _) => format!("no: {} ({})\n  try        {}", printable(&p.text), p.rule, p.hint),
                (None, Some(true)) => "yes".to_owned(),
                _ => "not validated: give its MSP with --msp DIR and --mspid ID, or --trust-msp ID=DIR".to_owned(),
            };
            let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
            let kind = match tls {
                true => "\n  kind       TLS certificate: peers authenticate with the one in signcerts of an MSP folder",
                false => "",
            };
            let soon = soon.as_ref().map(|text| format!("\n✘ {}", printable(text))).unwrap_or_default();
            format!(
                "  file       {path}\n  subject    {}\n  issuer     {}\n  OUs        {}\n  names      {}\n  serial     {}\n  \
                 SHA-256    {}\n  key        {}\n  valid      {from} to {expires} ({}){kind}\n  MSP id     {}\n  \
                 PKI-ID     {}\n  accepted   {verdict}{soon}",
                printable(&subject),
                printable(&issuer),
                listed(&ous),
                listed(&sans),
                known(&serial),
                known(&fingerprint),
                known(&key),
                certificate::remaining(x509),
                mspid.as_deref().unwrap_or(unknown),
                pki_id.as_deref().unwrap_or(unknown),
            )
        },
    );
    match error {
        Some(_) => Err(Failure::Reported),
        None => Ok(()),
    }
}

fn listed(texts: &[String]) -> String {
    match texts.is_empty() {
        true => "none".to_owned(),
        false => printable(&texts.join(", ")),
    }
}

/// Reads a certificate from standard input.
fn read_stdin() -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = std::io::stdin().take(MAX_INPUT).read_to_end(&mut text);
    read.map_err(|e| Failure::usage(format!("standard input cannot be read: {e}")))?;
    Ok(text)
}
