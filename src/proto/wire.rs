//! The wire format of message fields: tags, varints, lengths.

use crate::error::{Error, ErrorKind, Result};
use bytes::BufMut;

/// Wire type of integers, booleans and enums.
pub(crate) const VARINT: u8 = 0;
/// Wire type of all length-delimited fields.
pub(crate) const LEN: u8 = 2;
/// Wire type that opens a group.
pub(crate) const GROUP: u8 = 3;
const FIXED64: u8 = 1;
const END_GROUP: u8 = 4;
const FIXED32: u8 = 5;

const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;
/// Maximum nesting of unknown groups, as in Go.
const MAX_GROUP_DEPTH: usize = 10_000;

#[cold]
fn malformed() -> Error {
    Error::new(ErrorKind::Protocol, "malformed wire format")
}

/// Reads the fields of one serialized message.
pub(crate) struct Reader<'a> {
    all: &'a [u8],
    at: usize,
    /// Cleared when a tag or length was encoded longer than necessary.
    pub(crate) minimal: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(all: &'a [u8]) -> Self {
        Reader { all, at: 0, minimal: true }
    }

    /// Returns field number and wire type of the next field, or `None` at the end.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<Option<(u32, u8)>> {
        if self.at == self.all.len() {
            return Ok(None);
        }
        let tag = self.minimal_varint()?;
        match tag >> 3 {
            number @ 1..=MAX_FIELD_NUMBER => Ok(Some((number as u32, (tag & 7) as u8))),
            _ => Err(malformed()),
        }
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        match self.all.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for (i, &byte) in self.all[self.at..].iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                if i == 9 && byte > 1 {
                    break;
                }
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(malformed())
    }

    /// Reads a varint and records whether its encoding is longer than necessary, which shows in a last byte of zero.
    #[inline]
    fn minimal_varint(&mut self) -> Result<u64> {
        let start = self.at;
        let value = self.varint()?;
        self.minimal &= self.at - start == 1 || self.all[self.at - 1] != 0;
        Ok(value)
    }

    /// Reads a length and that number of bytes.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.minimal_varint()?;
        self.take(usize::try_from(len).map_err(|_| malformed())?)
    }

    /// Reads a length and skips that number of bytes. Returns their positions.
    #[inline]
    pub(crate) fn range(&mut self) -> Result<std::ops::Range<usize>> {
        let len = self.bytes()?.len();
        Ok(self.at - len..self.at)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = &self.all[self.at..];
        if len > rest.len() {
            return Err(malformed());
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// Skips the value of a field and returns its bytes. Groups are not handled recursively, so their depth uses no
    /// stack.
    pub(crate) fn skip(&mut self, number: u32, wire_type: u8) -> Result<&'a [u8]> {
        let start = self.at;
        match wire_type {
            VARINT => drop(self.varint()?),
            FIXED64 => drop(self.take(8)?),
            LEN => drop(self.bytes()?),
            FIXED32 => drop(self.take(4)?),
            GROUP => self.skip_group(number)?,
            _ => return Err(malformed()),
        }
        Ok(&self.all[start..self.at])
    }

    fn skip_group(&mut self, number: u32) -> Result<()> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            match self.tag()?.ok_or_else(malformed)? {
                (number, GROUP) if open.len() < MAX_GROUP_DEPTH => open.push(number),
                (number, END_GROUP) if number == innermost => drop(open.pop()),
                (_, GROUP | END_GROUP) => return Err(malformed()),
                (number, wire_type) => drop(self.skip(number, wire_type)?),
            }
        }
        Ok(())
    }
}

/// Returns the encoded size of a varint in bytes.
#[inline]
pub(crate) fn varint_len(value: u64) -> usize {
    // Seven bits per byte, and one byte for zero.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[inline]
pub(crate) fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(crate) fn put_tag(out: &mut impl BufMut, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Writes a field of wire type [`LEN`].
pub(crate) fn put_bytes(out: &mut impl BufMut, number: u32, bytes: &[u8]) {
    put_tag(out, number, LEN);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}
