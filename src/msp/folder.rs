//! Reads the files of an MSP folder.

use super::config::{config_error, unreadable, PemFile};
use super::pem;
use crate::error::Result;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest size of a file in an MSP folder, in bytes: room for a long revocation list.
const MAX_FILE: u64 = 64 << 20;

/// Reads the PEM files of a folder, sorted by name; returns none if the folder does not exist.
///
/// Files that cannot be read or are not PEM are skipped with a warning, as in Fabric. A pipe, socket or device is an
/// error: no other reader of the folder gets past one.
pub(super) fn read_folder(dir: &Path) -> Result<Vec<PemFile>> {
    // Only a folder that does not exist is absent; one without read permission is an error.
    match fs::metadata(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && fs::symlink_metadata(dir).is_err() => {
            return Ok(Vec::new())
        }
        Err(e) => return Err(unreadable(dir, e)),
        Ok(_) => {}
    }
    let entries = fs::read_dir(dir).map_err(|e| unreadable(dir, e))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| unreadable(dir, e))?.path());
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let kind = match fs::metadata(&path) {
            Ok(metadata) => metadata.file_type(),
            Err(e) => {
                match fs::read_link(&path) {
                    Ok(target) => log::warn!("skipping {}: broken link to {target:?}: {e}", path.display()),
                    Err(_) => log::warn!("skipping {}: {e}", path.display()),
                }
                continue;
            }
        };
        if kind.is_dir() {
            continue;
        }
        check_regular(&path, kind)?;
        match read_file(&path) {
            Ok(text) if pem::decode(&text).is_some() => files.push(PemFile::new(path.display().to_string(), text)),
            Ok(_) => log::warn!("skipping {}: no PEM in it", path.display()),
            Err(e) => log::warn!("skipping a file: {}", e.message()),
        }
    }
    Ok(files)
}

/// Reads a regular file of at most the maximum size. Anything else is an error and is not opened.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let metadata = fs::metadata(path).map_err(|e| unreadable(path, e))?;
    check_regular(path, metadata.file_type())?;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|e| unreadable(path, e))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| unreadable(path, e))?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(config_error(format!("{} has more than {MAX_FILE} bytes", path.display()))),
        false => Ok(bytes),
    }
}

fn check_regular(path: &Path, kind: fs::FileType) -> Result<()> {
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => Ok(()),
        (_, true) => Err(config_error(format!("cannot read {}: it is a folder, not a file", path.display()))),
        _ => Err(config_error(format!("cannot read {}: it is a pipe, socket or device; remove it", path.display()))),
    }
}
