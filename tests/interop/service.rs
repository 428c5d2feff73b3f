//! The server of gRPC's test service.

use crate::messages::{payload_size, response, total, Request};
use bytes::Bytes;
use fabric_gossip::transport::http2::Method;
use fabric_gossip::transport::{code, Status, Stream, StreamEnd};
use std::sync::Arc;

/// Returns the methods by path.
pub fn methods() -> Vec<(String, Method)> {
    let path = |name: &str| format!("/grpc.testing.TestService/{name}");
    vec![
        (path("EmptyCall"), Method::Unary(Box::new(|_| Ok(Bytes::new())))),
        (path("UnaryCall"), Method::Unary(Box::new(unary))),
        (path("StreamingInputCall"), Method::Stream(Box::new(|stream| ended(streaming_input(&*stream))))),
        (path("StreamingOutputCall"), Method::Stream(Box::new(|stream| ended(streaming_output(&*stream))))),
        (path("FullDuplexCall"), Method::Stream(Box::new(|stream| ended(full_duplex(&stream))))),
    ]
}

fn malformed(e: protobuf::Error) -> Status {
    Status::new(code::INTERNAL, format!("malformed request: {e}"))
}

fn unary(message: Bytes) -> Result<Bytes, Status> {
    let request = Request::decode(&message).map_err(malformed)?;
    if request.status.code != code::OK {
        return Err(Status::new(request.status.code, request.status.message));
    }
    Ok(response(request.response_size))
}

/// Reason for which a stream ends: its own status, or the end that came from elsewhere.
enum End {
    Status(Status),
    Stream(StreamEnd),
}

impl From<StreamEnd> for End {
    fn from(end: StreamEnd) -> Self {
        End::Stream(end)
    }
}

impl From<protobuf::Error> for End {
    fn from(e: protobuf::Error) -> Self {
        End::Status(malformed(e))
    }
}

fn ended(outcome: Result<(), End>) -> Status {
    match outcome {
        Ok(()) => Status::ok(),
        Err(End::Status(status)) => status,
        // The client has gone or cancelled: nobody reads this.
        Err(End::Stream(end)) => Status::unknown(end.to_string()),
    }
}

/// Returns the next message; `None` after the client's last one.
fn next(stream: &dyn Stream) -> Result<Option<Bytes>, StreamEnd> {
    match stream.recv(None) {
        Err(StreamEnd::Remote(status)) if status.code == code::OK => Ok(None),
        received => received,
    }
}

fn streaming_input(stream: &dyn Stream) -> Result<(), End> {
    let mut sum = 0;
    while let Some(message) = next(stream)? {
        sum += payload_size(&message)?;
    }
    Ok(stream.send(total(sum))?)
}

fn respond(stream: &dyn Stream, message: &[u8]) -> Result<(), End> {
    let request = Request::decode(message)?;
    if request.status.code != code::OK {
        return Err(End::Status(Status::new(request.status.code, request.status.message)));
    }
    for size in request.response_sizes {
        stream.send(response(size))?;
    }
    Ok(())
}

fn streaming_output(stream: &dyn Stream) -> Result<(), End> {
    match next(stream)? {
        Some(message) => respond(stream, &message),
        None => Err(End::Status(Status::new(code::INTERNAL, "no request"))),
    }
}

fn full_duplex(stream: &Arc<dyn Stream>) -> Result<(), End> {
    while let Some(message) = next(&**stream)? {
        respond(&**stream, &message)?;
    }
    Ok(())
}
