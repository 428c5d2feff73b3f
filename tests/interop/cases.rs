//! The cases of gRPC's interoperability tests, as a client.

use crate::messages::{payload_size, read_total, response, EchoStatus, Request};
use bytes::Bytes;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::transport::http2::Http2Transport;
use fabric_gossip::transport::{code, Status, Stream, StreamEnd};
use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

type Outcome = Result<(), Box<dyn Error>>;

/// Longest time for which a case waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sizes that gRPC's description of the cases gives.
const REQUEST_SIZES: [usize; 4] = [27_182, 8, 1_828, 45_904];
const RESPONSE_SIZES: [usize; 4] = [31_415, 9, 2_653, 58_979];
const LARGE_REQUEST: usize = 271_828;
const LARGE_RESPONSE: usize = 314_159;

/// Runs a case against the server at this address.
pub fn run(net: &Http2Transport, case: &str, address: &str) -> Outcome {
    let service = |method: &str| format!("/grpc.testing.TestService/{method}");
    let dial = |path: &str, limit| Call::open(net, address, path, limit);
    let open = |method: &str| dial(&service(method), None);
    match case {
        "empty_unary" => open("EmptyCall")?.unary(Bytes::new()).and_then(|answer| same(answer, Ok(Bytes::new()))),
        "large_unary" => large_unary(open("UnaryCall")?),
        "client_streaming" => client_streaming(open("StreamingInputCall")?),
        "server_streaming" => server_streaming(open("StreamingOutputCall")?),
        "ping_pong" => ping_pong(open("FullDuplexCall")?),
        "empty_stream" => open("FullDuplexCall")?.finish()?.expect_end(Status::ok()),
        "cancel_after_begin" => open("StreamingInputCall")?.cancelled(),
        "cancel_after_first_response" => cancel_after_first_response(open("FullDuplexCall")?),
        "timeout_on_sleeping_server" => timeout(dial(&service("FullDuplexCall"), Some(Duration::from_millis(1)))),
        "status_code_and_message" => {
            unary_status(open("UnaryCall")?, "test status message")?;
            stream_status(open("FullDuplexCall")?, "test status message")
        }
        "special_status_message" => {
            let text = "\t\ntest with whitespace\r\nand Unicode BMP \u{263a} and non-BMP \u{1f608}\t\n";
            unary_status(open("UnaryCall")?, text)
        }
        "unimplemented_method" => unimplemented(open("UnimplementedCall")?),
        "unimplemented_service" => unimplemented(dial("/grpc.testing.UnimplementedService/UnimplementedCall", None)?),
        _ => Err(format!("unknown case {case}").into()),
    }
}

fn same<T: PartialEq + Debug>(found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    let text = format!("expected {expected:?}, found {found:?}");
    Err(text.chars().take(2_000).collect::<String>().into())
}

fn large_unary(call: Call) -> Outcome {
    let request = Request { response_size: LARGE_RESPONSE, payload: LARGE_REQUEST, ..Default::default() };
    let answer = call.unary(request.encode())?;
    let size = answer.as_deref().map(payload_size).map_err(|status| format!("{status:?}"))??;
    same(size, LARGE_RESPONSE)
}

fn client_streaming(call: Call) -> Outcome {
    for size in REQUEST_SIZES {
        // The payload has the same place in a StreamingInputCallRequest as in a response.
        call.send(response(size))?;
    }
    let call = call.finish()?;
    let sum = read_total(&call.message()?)?;
    same(sum, REQUEST_SIZES.iter().sum())?;
    call.expect_end(Status::ok())
}

fn server_streaming(call: Call) -> Outcome {
    call.send(Request { response_sizes: RESPONSE_SIZES.to_vec(), ..Default::default() }.encode())?;
    let call = call.finish()?;
    for size in RESPONSE_SIZES {
        same(payload_size(&call.message()?)?, size)?;
    }
    call.expect_end(Status::ok())
}

fn ping_pong(call: Call) -> Outcome {
    for (request, response) in REQUEST_SIZES.into_iter().zip(RESPONSE_SIZES) {
        call.send(Request { response_sizes: vec![response], payload: request, ..Default::default() }.encode())?;
        same(payload_size(&call.message()?)?, response)?;
    }
    call.finish()?.expect_end(Status::ok())
}

fn cancel_after_first_response(call: Call) -> Outcome {
    let request = Request { response_sizes: vec![RESPONSE_SIZES[0]], payload: REQUEST_SIZES[0], ..Default::default() };
    call.send(request.encode())?;
    same(payload_size(&call.message()?)?, RESPONSE_SIZES[0])?;
    call.cancelled()
}

/// The time limit passes here or at the server, and possibly before the call is open.
fn timeout(call: Result<Call, Box<dyn Error>>) -> Outcome {
    let end = match call {
        Ok(call) => {
            // An error means that the limit has passed already.
            let _ = call.send(Request { payload: REQUEST_SIZES[0], ..Default::default() }.encode());
            call.end()?
        }
        Err(e) => return Err(format!("the call was not opened: {e}").into()),
    };
    match end {
        StreamEnd::Local => Ok(()),
        StreamEnd::Remote(status) if status.code == code::DEADLINE_EXCEEDED => Ok(()),
        other => Err(format!("expected the end of the time limit, found {other:?}").into()),
    }
}

fn echo(text: &str) -> (Request, Status) {
    let status = EchoStatus { code: code::UNKNOWN, message: text.to_owned() };
    (Request { status, ..Default::default() }, Status::unknown(text))
}

fn unary_status(call: Call, text: &str) -> Outcome {
    let (request, status) = echo(text);
    same(call.unary(request.encode())?, Err(status))
}

fn stream_status(call: Call, text: &str) -> Outcome {
    let (request, status) = echo(text);
    call.send(request.encode())?;
    call.finish()?.expect_end(status)
}

fn unimplemented(call: Call) -> Outcome {
    match call.unary(Bytes::new())? {
        Err(status) if status.code == code::UNIMPLEMENTED => Ok(()),
        other => Err(format!("expected code {}, found {other:?}", code::UNIMPLEMENTED).into()),
    }
}

/// A call that this side has opened.
struct Call(Arc<dyn Stream>);

impl Call {
    fn open(net: &Http2Transport, address: &str, path: &str, limit: Option<Duration>) -> Result<Call, Box<dyn Error>> {
        Ok(Call(net.open_method(address, path, PATIENCE, limit, &Cancel::new())?))
    }

    fn send(&self, message: Bytes) -> Outcome {
        self.0.send(message).map_err(|end| format!("cannot send: {end}").into())
    }

    /// Ends this side's direction.
    fn finish(self) -> Result<Call, Box<dyn Error>> {
        self.0.finish(&Status::ok()).map_err(|end| format!("cannot finish: {end}"))?;
        Ok(self)
    }

    fn received(&self) -> Result<Result<Bytes, StreamEnd>, Box<dyn Error>> {
        match self.0.recv(Some(PATIENCE)) {
            Ok(Some(message)) => Ok(Ok(message)),
            Ok(None) => Err(format!("nothing received within {PATIENCE:?}").into()),
            Err(end) => Ok(Err(end)),
        }
    }

    fn message(&self) -> Result<Bytes, Box<dyn Error>> {
        self.received()?.map_err(|end| format!("expected a message, found the end: {end:?}").into())
    }

    fn end(&self) -> Result<StreamEnd, Box<dyn Error>> {
        match self.received()? {
            Ok(message) => Err(format!("expected the end, found a message of {} bytes", message.len()).into()),
            Err(end) => Ok(end),
        }
    }

    fn expect_end(&self, status: Status) -> Outcome {
        same(self.end()?, StreamEnd::Remote(status))
    }

    fn cancelled(&self) -> Outcome {
        self.0.cancel();
        same(self.end()?, StreamEnd::Local)
    }

    /// Makes a unary call: one message, then its answer or a status that is not OK.
    fn unary(self, message: Bytes) -> Result<Result<Bytes, Status>, Box<dyn Error>> {
        self.send(message)?;
        let call = self.finish()?;
        match call.received()? {
            Ok(answer) => {
                call.expect_end(Status::ok())?;
                Ok(Ok(answer))
            }
            Err(StreamEnd::Remote(status)) if status.code != code::OK => Ok(Err(status)),
            Err(end) => Err(format!("expected an answer, found {end:?}").into()),
        }
    }
}
