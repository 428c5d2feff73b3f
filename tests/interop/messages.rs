//! The messages of gRPC's test service (`grpc.testing`), as far as the cases use them.

use bytes::Bytes;
use protobuf::rt::WireType;
use protobuf::{CodedInputStream, CodedOutputStream};

/// `EchoStatus`: the status that a server should answer with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EchoStatus {
    pub code: i32,
    pub message: String,
}

/// `SimpleRequest` or `StreamingOutputCallRequest`, which differ in how they ask for responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Size of the payload of the response to a `SimpleRequest`.
    pub response_size: usize,
    /// Sizes of the payloads of the responses to a `StreamingOutputCallRequest`.
    pub response_sizes: Vec<usize>,
    /// Size of the payload.
    pub payload: usize,
    pub status: EchoStatus,
}

const SIZE: u32 = 2;
const SIZES: u32 = 2;
const PAYLOAD: u32 = 3;
const STATUS: u32 = 7;
const BODY: u32 = 2;

impl Request {
    pub fn encode(&self) -> Bytes {
        encoded(|out| {
            if self.response_size > 0 {
                out.write_int32(SIZE, self.response_size as i32)?;
            }
            for size in &self.response_sizes {
                out.write_bytes(SIZES, &encoded(|out| out.write_int32(1, *size as i32)))?;
            }
            if self.payload > 0 {
                out.write_bytes(PAYLOAD, &payload(self.payload))?;
            }
            if self.status != EchoStatus::default() {
                let status = encoded(|out| {
                    out.write_int32(1, self.status.code)?;
                    out.write_string(2, &self.status.message)
                });
                out.write_bytes(STATUS, &status)?;
            }
            Ok(())
        })
    }

    pub fn decode(bytes: &[u8]) -> protobuf::Result<Request> {
        let mut request = Request::default();
        fields(bytes, |field, input| {
            match field {
                Field::Number(SIZE, size) => request.response_size = size as usize,
                Field::Text(SIZES) => {
                    let mut size = 0;
                    fields(&input.read_bytes()?, |field, input| match field {
                        Field::Number(1, number) => {
                            size = number as usize;
                            Ok(())
                        }
                        other => other.skip(input),
                    })?;
                    request.response_sizes.push(size);
                }
                Field::Text(PAYLOAD) => request.payload = body(&input.read_bytes()?)?,
                Field::Text(STATUS) => request.status = status(&input.read_bytes()?)?,
                other => other.skip(input)?,
            }
            Ok(())
        })?;
        Ok(request)
    }
}

/// Encodes a `SimpleResponse` or `StreamingOutputCallResponse` with a payload of this size.
pub fn response(size: usize) -> Bytes {
    encoded(|out| out.write_bytes(1, &payload(size)))
}

/// Returns the size of the payload of a `SimpleResponse`, `StreamingOutputCallResponse` or `StreamingInputCallRequest`.
pub fn payload_size(bytes: &[u8]) -> protobuf::Result<usize> {
    let mut size = 0;
    fields(bytes, |field, input| match field {
        Field::Text(1) => {
            size = body(&input.read_bytes()?)?;
            Ok(())
        }
        other => other.skip(input),
    })?;
    Ok(size)
}

/// Encodes a `StreamingInputCallResponse`.
pub fn total(size: usize) -> Bytes {
    encoded(|out| out.write_int32(1, size as i32))
}

/// Returns the sum in a `StreamingInputCallResponse`.
pub fn read_total(bytes: &[u8]) -> protobuf::Result<usize> {
    let mut sum = 0;
    fields(bytes, |field, input| match field {
        Field::Number(1, number) => {
            sum = number as usize;
            Ok(())
        }
        other => other.skip(input),
    })?;
    Ok(sum)
}

/// Encodes a `Payload` of zeros.
fn payload(size: usize) -> Bytes {
    encoded(|out| out.write_bytes(BODY, &vec![0; size]))
}

fn body(bytes: &[u8]) -> protobuf::Result<usize> {
    let mut size = 0;
    fields(bytes, |field, input| match field {
        Field::Text(BODY) => {
            size = input.read_bytes()?.len();
            Ok(())
        }
        other => other.skip(input),
    })?;
    Ok(size)
}

fn status(bytes: &[u8]) -> protobuf::Result<EchoStatus> {
    let mut status = EchoStatus::default();
    fields(bytes, |field, input| {
        match field {
            Field::Number(1, code) => status.code = code as i32,
            Field::Text(2) => status.message = input.read_string()?,
            other => other.skip(input)?,
        }
        Ok(())
    })?;
    Ok(status)
}

/// A field that was read up to its value (`Text`, `Other`) or including it (`Number`).
enum Field {
    Number(u32, u64),
    Text(u32),
    Other(WireType),
}

impl Field {
    fn skip(self, input: &mut CodedInputStream) -> protobuf::Result<()> {
        match self {
            Field::Number(..) => Ok(()),
            Field::Text(_) => input.skip_field(WireType::LengthDelimited),
            Field::Other(kind) => input.skip_field(kind),
        }
    }
}

fn fields(
    bytes: &[u8],
    mut read: impl FnMut(Field, &mut CodedInputStream) -> protobuf::Result<()>,
) -> protobuf::Result<()> {
    let mut input = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        let field = match (tag >> 3, tag & 7) {
            (number, 0) => Field::Number(number, input.read_uint64()?),
            (number, 2) => Field::Text(number),
            (_, 1) => Field::Other(WireType::Fixed64),
            (_, _) => Field::Other(WireType::Fixed32),
        };
        read(field, &mut input)?;
    }
    Ok(())
}

fn encoded(write: impl FnOnce(&mut CodedOutputStream) -> protobuf::Result<()>) -> Bytes {
    let mut bytes = Vec::new();
    let mut out = CodedOutputStream::vec(&mut bytes);
    write(&mut out).and_then(|()| out.flush()).expect("writing to memory does not fail");
    drop(out);
    bytes.into()
}
