//! `msp.SerializedIdentity`: MSP id and certificate, the serialized form of identities. The PKI-ID depends on its
//! bytes, so it is parsed exactly as by protobuf-go.

use super::invalid;
use crate::crypto::PkiId;
use crate::error::Result;

/// A serialized identity, parsed.
pub(super) struct SerializedIdentity {
    pub mspid: String,
    /// The certificate as PEM, exactly as sent.
    pub id_bytes: Vec<u8>,
}

/// Maximum nesting of unknown groups.
const MAX_DEPTH: u32 = 100;

impl SerializedIdentity {
    /// Unknown fields are skipped; of a repeated field the last one is used.
    pub fn parse(bytes: &[u8]) -> Result<SerializedIdentity> {
        const MALFORMED: &str = "proto: cannot parse invalid wire-format data";
        let mut input = Wire(bytes);
        let mut identity = SerializedIdentity { mspid: String::new(), id_bytes: Vec::new() };
        while !input.0.is_empty() {
            match input.tag().ok_or_else(|| invalid(MALFORMED))? {
                (1, 2) => {
                    let text = input.bytes().ok_or_else(|| invalid(MALFORMED))?;
                    let text = std::str::from_utf8(text);
                    text.map_err(|_| invalid("string field contains invalid UTF-8"))?.clone_into(&mut identity.mspid);
                }
                (2, 2) => identity.id_bytes = input.bytes().ok_or_else(|| invalid(MALFORMED))?.to_vec(),
                (field, kind) => input.skip(field, kind, 0).ok_or_else(|| invalid(MALFORMED))?,
            }
        }
        Ok(identity)
    }

    pub fn encode(mspid: &str, id_bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(mspid.len() + id_bytes.len() + 12);
        for (tag, value) in [(0x0a, mspid.as_bytes()), (0x12, id_bytes)] {
            if value.is_empty() {
                continue;
            }
            out.push(tag);
            let mut len = value.len();
            while len >= 0x80 {
                out.push(len as u8 | 0x80);
                len >>= 7;
            }
            out.push(len as u8);
            out.extend_from_slice(value);
        }
        out
    }

    /// Returns the SHA-256 of MSP id and certificate bytes.
    pub fn pki_id(&self) -> PkiId {
        let mut hash = openssl::sha::Sha256::new();
        hash.update(self.mspid.as_bytes());
        hash.update(&self.id_bytes);
        PkiId::from(&hash.finish()[..])
    }
}

/// The remaining bytes of a message.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for i in 0..10 {
            let byte = *self.0.get(i)?;
            // The tenth byte has room for one bit.
            if i == 9 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.0 = &self.0[i + 1..];
                return Some(value);
            }
        }
        None
    }

    /// Reads field number and wire type.
    fn tag(&mut self) -> Option<(u64, u8)> {
        let tag = self.varint()?;
        let field = tag >> 3;
        (1..1 << 29).contains(&field).then_some((field, (tag & 7) as u8))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        self.take(len)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.0.get(..len)?;
        self.0 = &self.0[len..];
        Some(taken)
    }

    fn skip(&mut self, field: u64, kind: u8, depth: u32) -> Option<()> {
        match kind {
            0 => self.varint().map(|_| ()),
            1 => self.take(8).map(|_| ()),
            2 => self.bytes().map(|_| ()),
            3 if depth < MAX_DEPTH => loop {
                match self.tag()? {
                    (end, 4) => return (end == field).then_some(()),
                    (inner, kind) => self.skip(inner, kind, depth + 1)?,
                }
            },
            5 => self.take(4).map(|_| ()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_not() {
        let bytes = SerializedIdentity::encode("Org1MSP", &[7; 300]);
        let parsed = SerializedIdentity::parse(&bytes).unwrap();
        assert_eq!((parsed.mspid.as_str(), parsed.id_bytes), ("Org1MSP", vec![7; 300]));
        for cut in 1..bytes.len() {
            // Only a cut between the fields leaves a valid message.
            assert_eq!(SerializedIdentity::parse(&bytes[..cut]).is_ok(), cut == 9, "{cut}");
        }
    }

    #[test]
    fn unknown_fields_are_skipped_if_they_are_fields() {
        let group = [0x1b, 0x23, 0x08, 0x01, 0x24, 0x1c];
        assert!(SerializedIdentity::parse(&group).is_ok());
        for bad in [&[0x1b][..], &[0x1b, 0x24], &[0x1c], &[0x00, 0x00], &[0x0e], &[0xff; 11]] {
            assert!(SerializedIdentity::parse(bad).is_err(), "{bad:?}");
        }
    }
}
