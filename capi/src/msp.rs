//! Organisations: MSPs from a folder or from memory.

use super::error::{gossip_error, gossip_result, Outcome};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::text::{gossip_str, Text};
use gossip::msp::{HashFamily, Msp, MspConfig, MspVersion, NodeOus, OuIdentifier, PemFile};
use std::ffi::c_char;
use std::sync::Arc;

/// Contents for an MSP built in memory. Not thread-safe.
pub struct gossip_msp_config(MspConfig);

/// An organisation, which validates its members' identities. Immutable.
pub struct gossip_msp {
    pub(super) msp: Arc<Msp>,
    id: Text,
}

impl Owned for gossip_msp_config {}
impl Owned for gossip_msp {}

/// Kind of a PEM file of an MSP, with the folder that Fabric keeps it in.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum gossip_msp_part {
    /// A root authority, `cacerts/`. At least one is required.
    GOSSIP_MSP_ROOT = 1,
    /// An intermediate authority, `intermediatecerts/`.
    GOSSIP_MSP_INTERMEDIATE = 2,
    /// A root authority for TLS, `tlscacerts/`.
    GOSSIP_MSP_TLS_ROOT = 3,
    /// An intermediate authority for TLS, `tlsintermediatecerts/`.
    GOSSIP_MSP_TLS_INTERMEDIATE = 4,
    /// A certificate of an administrator, `admincerts/`.
    GOSSIP_MSP_ADMIN = 5,
    /// A certificate revocation list, `crls/`.
    GOSSIP_MSP_REVOCATION_LIST = 6,
}

/// A role that members have by their organisational unit (NodeOUs).
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum gossip_msp_role {
    /// Clients.
    GOSSIP_MSP_CLIENT = 1,
    /// Peers.
    GOSSIP_MSP_PEER = 2,
    /// Administrators.
    GOSSIP_MSP_ADMINISTRATOR = 3,
    /// Orderers.
    GOSSIP_MSP_ORDERER = 4,
}

/// Version of Fabric's MSP rules. Channels choose it by their capabilities; a local MSP has the latest.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum gossip_msp_version {
    /// Without NodeOUs.
    GOSSIP_MSP_V1_0 = 100,
    /// NodeOUs for clients and peers.
    GOSSIP_MSP_V1_1 = 101,
    /// Same as 1.1 for X.509.
    GOSSIP_MSP_V1_3 = 103,
    /// NodeOUs for clients, peers, admins and orderers.
    GOSSIP_MSP_V1_4_3 = 143,
    /// Also Ed25519 keys. The default.
    GOSSIP_MSP_V3_0 = 300,
}

impl gossip_msp {
    pub(super) fn new(msp: Arc<Msp>) -> gossip_msp {
        let id = Text::from(msp.id());
        gossip_msp { msp, id }
    }
}

unsafe fn ou(identifier: *const c_char, cert: *const u8, cert_len: usize) -> Outcome<OuIdentifier> {
    let organizational_unit_identifier = handle::text(identifier, "identifier")?.to_owned();
    let cert = handle::array(cert, cert_len, "cert")?;
    let certificate = (!cert.is_empty()).then(|| PemFile::new("the authority of an OU", cert));
    Ok(OuIdentifier { organizational_unit_identifier, certificate })
}

/// Loads an MSP from its folder, as cryptogen and fabric-ca-client create it. GOSSIP_CONFIG and others: the error names
/// the file and the rule. Free it with gossip_msp_free.
///
/// Reads files.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_load(
    folder: *const c_char,
    mspid: *const c_char,
    msp: *mut *mut gossip_msp,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let msp = Out::new(msp, "msp")?;
        let loaded = Msp::load(handle::text(folder, "folder")?, handle::text(mspid, "mspid")?)?;
        msp.give(gossip_msp::new(Arc::new(loaded)))
    })
}

/// Creates an empty configuration of an MSP. Free it with gossip_msp_config_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_config_new(
    mspid: *const c_char,
    config: *mut *mut gossip_msp_config,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = Out::new(config, "config")?;
        let mspid = handle::text(mspid, "mspid")?.to_owned();
        config.give(gossip_msp_config(MspConfig { mspid, ..MspConfig::default() }))
    })
}

/// Adds a PEM file; `part` is a gossip_msp_part. `name` is used in errors. The bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_config_add(
    config: *mut gossip_msp_config,
    part: u32,
    name: *const c_char,
    pem: *const u8,
    pem_len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        use gossip_msp_part::*;
        let config = &mut handle::get_mut(config, "config")?.0;
        let files = match part {
            part if part == GOSSIP_MSP_ROOT as u32 => &mut config.root_certs,
            part if part == GOSSIP_MSP_INTERMEDIATE as u32 => &mut config.intermediate_certs,
            part if part == GOSSIP_MSP_TLS_ROOT as u32 => &mut config.tls_root_certs,
            part if part == GOSSIP_MSP_TLS_INTERMEDIATE as u32 => &mut config.tls_intermediate_certs,
            part if part == GOSSIP_MSP_ADMIN as u32 => &mut config.admins,
            part if part == GOSSIP_MSP_REVOCATION_LIST as u32 => &mut config.revocation_lists,
            _ => return Err(super::invalid(format!("unknown part {part} of an MSP"))),
        };
        files.push(PemFile::new(handle::text(name, "name")?, handle::array(pem, pem_len, "pem")?));
        Ok(())
    })
}

/// Adds an organisational unit (`OrganizationalUnitIdentifiers`); members must have at least one of those added. With
/// `cert`, PEM, the unit counts only in identities that this authority certifies; `cert_len` 0 means any.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_config_add_ou(
    config: *mut gossip_msp_config,
    identifier: *const c_char,
    cert: *const u8,
    cert_len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        config.0.ou_identifiers.push(ou(identifier, cert, cert_len)?);
        Ok(())
    })
}

/// Sets the organisational unit that identifies a role, which enables NodeOUs; `role` is a gossip_msp_role. With
/// `cert`, PEM, the unit counts only in identities that this authority certifies; `cert_len` 0 means any.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_config_set_node_ou(
    config: *mut gossip_msp_config,
    role: u32,
    identifier: *const c_char,
    cert: *const u8,
    cert_len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        use gossip_msp_role::*;
        let config = handle::get_mut(config, "config")?;
        let ou = ou(identifier, cert, cert_len)?;
        let mut roles = config.0.node_ous.clone().unwrap_or_else(|| NodeOus { enable: true, ..NodeOus::default() });
        let slot = match role {
            role if role == GOSSIP_MSP_CLIENT as u32 => &mut roles.client,
            role if role == GOSSIP_MSP_PEER as u32 => &mut roles.peer,
            role if role == GOSSIP_MSP_ADMINISTRATOR as u32 => &mut roles.admin,
            role if role == GOSSIP_MSP_ORDERER as u32 => &mut roles.orderer,
            _ => return Err(super::invalid(format!("unknown role {role}"))),
        };
        *slot = Some(ou);
        config.0.node_ous = Some(roles);
        Ok(())
    })
}

/// Sets the version of Fabric's MSP rules, a gossip_msp_version.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_config_set_version(
    config: *mut gossip_msp_config,
    version: u32,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        use gossip_msp_version::*;
        let config = handle::get_mut(config, "config")?;
        config.0.version = match version {
            version if version == GOSSIP_MSP_V1_0 as u32 => MspVersion::V1_0,
            version if version == GOSSIP_MSP_V1_1 as u32 => MspVersion::V1_1,
            version if version == GOSSIP_MSP_V1_3 as u32 => MspVersion::V1_3,
            version if version == GOSSIP_MSP_V1_4_3 as u32 => MspVersion::V1_4_3,
            version if version == GOSSIP_MSP_V3_0 as u32 => MspVersion::V3_0,
            _ => return Err(super::invalid(format!("unknown MSP version {version}"))),
        };
        Ok(())
    })
}

/// Sets whether messages are signed over their SHA3-256 digest instead of their SHA-256 digest.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_config_set_sha3(
    config: *mut gossip_msp_config,
    sha3: bool,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let family = if sha3 { HashFamily::Sha3 } else { HashFamily::Sha2 };
        handle::get_mut(config, "config")?.0.hash_family = family;
        Ok(())
    })
}

/// Frees the configuration. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_config_free(config: *mut gossip_msp_config) {
    gossip_msp_config::free(config);
}

/// Creates an MSP from a configuration, which remains the caller's. Errors name the file and the rule. Free it with
/// gossip_msp_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_new(
    config: *const gossip_msp_config,
    msp: *mut *mut gossip_msp,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let msp = Out::new(msp, "msp")?;
        msp.give(gossip_msp::new(Arc::new(Msp::new(handle::get(config, "config")?.0.clone())?)))
    })
}

/// Returns the MSP id: the organisation's name in the network.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_id(msp: *const gossip_msp) -> gossip_str {
    super::look(msp, gossip_str::EMPTY, |msp| msp.id.as_str())
}

/// Frees the handle. Objects that use the MSP continue to do so. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_msp_free(msp: *mut gossip_msp) {
    gossip_msp::free(msp);
}
