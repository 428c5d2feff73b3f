//! Flags for our identity and the organisations that we trust, and their defaults.

use crate::failure::{Failure, Result};
use crate::identity::{load_msp, KeySource, Me};
use crate::keys;
use crate::settings::{NamedPath, Origin, Settings};
use crate::values::{msp_id, target, Endpoint};
use clap::{Args, ValueHint};
use fabric_gossip::crypto::OrgId;
use fabric_gossip::msp::Msp;
use fabric_gossip::node::AnchorPeer;
use std::path::PathBuf;
use std::sync::Arc;

/// Our identity.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Identity")]
pub struct IdentityArgs {
    /// Our local MSP folder, as cryptogen or fabric-ca-client make it [CORE_PEER_MSPCONFIGPATH]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    msp: Option<PathBuf>,
    /// The MSP id of our organisation, such as Org1MSP [CORE_PEER_LOCALMSPID]
    #[arg(long, value_name = "ID", value_parser = msp_id)]
    mspid: Option<String>,
    /// Another organisation to trust, with its MSP folder; repeatable, also for several folders of one organisation
    #[arg(long, value_name = "ID=DIR", value_parser = trusted)]
    trust_msp: Vec<(String, PathBuf)>,
}

fn trusted(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((id, dir)) if !id.is_empty() && !dir.is_empty() => Ok((msp_id(id)?, dir.into())),
        _ => Err("expected ID=DIR, such as Org2MSP=crypto/peerOrganizations/org2.example.com/msp".into()),
    }
}

impl IdentityArgs {
    /// Loads our identity.
    pub fn load(&self, settings: &Settings) -> Result<Me> {
        let Some(dir) = self.msp_dir(settings)? else {
            return Err(Failure::usage(
                "no identity: give --msp DIR and --mspid ID (or CORE_PEER_MSPCONFIGPATH and CORE_PEER_LOCALMSPID); \
                 `fabric-gossip crypto DIR` makes one to try things out",
            ));
        };
        let Some(mspid) = self.mspid(settings)? else { return Err(no_msp_id(&dir)) };
        check_msp_type(settings)?;
        Me::load(&mspid, &dir, &KeySource::from(settings)?, &self.trusted())
    }

    /// Returns our own MSP, if one is given, and those of the organisations to trust.
    pub fn msps(&self, settings: &Settings) -> Result<Vec<Arc<Msp>>> {
        let mut msps = Vec::new();
        if let Some(dir) = self.msp_dir(settings)? {
            let Some(mspid) = self.mspid(settings)? else { return Err(no_msp_id(&dir)) };
            check_msp_type(settings)?;
            msps.push(Arc::new(load_msp(&mspid, &dir)?));
        }
        for (mspid, dir) in self.trusted() {
            msps.push(Arc::new(load_msp(&mspid, &dir)?));
        }
        Ok(msps)
    }

    /// Loads the MSPs whose TLS authorities are trusted, for a command that needs no identity. Our own may lack an id,
    /// and may be missing if it is given only in `core.yaml`.
    pub fn msps_for_tls(&self, settings: &Settings) -> Result<Vec<Arc<Msp>>> {
        let own = self.msp_dir(settings)?.filter(|dir| dir.origin != Origin::File || dir.path.is_dir());
        let mspid = self.mspid(settings)?.unwrap_or_else(|| "our MSP".to_owned());
        let all = own.map(|dir| (mspid, dir)).into_iter().chain(self.trusted());
        all.map(|(mspid, dir)| load_msp(&mspid, &dir).map(Arc::new)).collect()
    }

    fn trusted(&self) -> Vec<(String, NamedPath)> {
        self.trust_msp.iter().map(|(mspid, dir)| (mspid.clone(), NamedPath::flag("--trust-msp", dir))).collect()
    }

    pub fn mspid(&self, settings: &Settings) -> Result<Option<String>> {
        match &self.mspid {
            Some(mspid) => Ok(Some(mspid.clone())),
            None => settings.parsed(keys::LOCAL_MSP_ID, msp_id),
        }
    }

    pub fn msp_dir(&self, settings: &Settings) -> Result<Option<NamedPath>> {
        match &self.msp {
            Some(dir) => Ok(Some(NamedPath::flag("--msp", dir))),
            None => settings.path(keys::MSP_CONFIG_PATH),
        }
    }
}

/// Checks that the MSP type is the supported one: members with X.509 certificates.
fn check_msp_type(settings: &Settings) -> Result<()> {
    let check = |kind: &str| match kind {
        "bccsp" => Ok(()),
        _ => Err("only MSPs of type bccsp (X.509) are supported".into()),
    };
    settings.parsed(keys::LOCAL_MSP_TYPE, check).map(drop)
}

fn no_msp_id(dir: &NamedPath) -> Failure {
    dir.error("no MSP id: give --mspid ID, such as Org1MSP (or CORE_PEER_LOCALMSPID)")
}

/// Parses an anchor peer with its organisation.
pub fn anchor(text: &str) -> Result<(OrgId, AnchorPeer), String> {
    let (org, endpoint) =
        text.split_once('=').ok_or("expected MSPID=host:port, such as Org2MSP=peer0.org2.example.com:7051")?;
    let Endpoint { host, port } = target(endpoint)?;
    Ok((OrgId::new(msp_id(org)?), AnchorPeer { host, port }))
}

/// Checks that the organisations of anchor peers are known: an unknown one cannot be verified.
pub fn check_anchors(anchors: &[(OrgId, AnchorPeer)], me: &Me) -> Result<()> {
    let known = |org: &OrgId| me.msps.iter().any(|msp| msp.id() == org.as_str());
    match anchors.iter().find(|(org, _)| !known(org)) {
        None => Ok(()),
        Some((org, _)) => Err(Failure::usage(format!(
            "--anchor: the organisation {org} is unknown: check its MSP id, or add --trust-msp {org}=DIR with its MSP folder"
        ))),
    }
}

/// The peer of a command that takes one endpoint.
#[derive(Args, Clone, Debug)]
pub struct TargetArg {
    /// The peer to talk to, host:port [CORE_PEER_ADDRESS]
    #[arg(value_name = "H:P", value_parser = target)]
    endpoint: Option<Endpoint>,
}

impl TargetArg {
    pub fn endpoint(&self, settings: &Settings) -> Result<Endpoint> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        settings
            .parsed(keys::ADDRESS, target)?
            .ok_or_else(|| Failure::usage("no peer: name it as host:port (or set CORE_PEER_ADDRESS)"))
    }
}
