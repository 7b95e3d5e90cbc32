//! Serves the metrics by HTTP/1.1: `GET /metrics` and `GET /healthz`. One request for each connection.
//!
//! A client can cost little: the size of its request, its time, and the number of clients are limited. Answers are made
//! one after another, off the thread of the servers, and clients that come at once get the same answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::encode::{Format, encode};
use super::scrape::Reader;
use crate::instance::Instance;
use crate::services::Server;

/// Connections at once. Another one waits, or displaces the oldest.
const CLIENTS: usize = 64;
/// Up to this number of clients, each gets an answer of its own.
const CALM: usize = 8;
/// With more clients, an answer is given for this long.
const SHARED: Duration = Duration::from_secs(1);
/// How long a client may take to send its request. An older connection is displaced if others wait.
const REQUEST_TIME: Duration = Duration::from_secs(2);
/// How long a client may take for everything.
const CLIENT_TIME: Duration = Duration::from_secs(10);
/// The largest request, and the largest number of its headers.
const REQUEST_BYTES: usize = 8192;
const REQUEST_HEADERS: usize = 64;
/// The pause after an error of accept(2), such as for want of descriptors, and between looks for a free place.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves the metrics of a run to those who connect to `listener`. `limit` subscriptions have labels of their own.
pub fn server(listener: TcpListener, instance: Instance, limit: usize) -> Server {
    let exporter = Arc::new(Exporter {
        turn: tokio::sync::Mutex::new(Turn {
            reader: Arc::new(Mutex::new(Reader::new(instance, limit))),
            answer: None,
        }),
    });
    Box::pin(async move {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => serve(&listener, &exporter).await,
            Err(error) => tracing::error!("the metrics cannot be served: {error}"),
        }
    })
}

async fn serve(listener: &tokio::net::TcpListener, exporter: &Arc<Exporter>) {
    let mut clients: VecDeque<(Instant, AbortHandle)> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("a client of the metrics cannot be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        clients.retain(|(_, task)| !task.is_finished());
        while clients.len() >= CLIENTS {
            if clients.front().is_some_and(|(since, _)| since.elapsed() >= REQUEST_TIME)
                && let Some((_, oldest)) = clients.pop_front()
            {
                oldest.abort();
                break;
            }
            tokio::time::sleep(PAUSE).await;
            clients.retain(|(_, task)| !task.is_finished());
        }
        let crowd = clients.len() >= CALM;
        let client = tokio::spawn(tokio::time::timeout(CLIENT_TIME, attend(stream, Arc::clone(exporter), crowd)));
        clients.push_back((Instant::now(), client.abort_handle()));
    }
}

/// Answers one client.
async fn attend(stream: TcpStream, exporter: Arc<Exporter>, crowd: bool) {
    let service = service_fn(move |request: Request<Incoming>| {
        let exporter = Arc::clone(&exporter);
        async move { Ok::<_, Infallible>(exporter.respond(&request, crowd).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(REQUEST_TIME)
        .max_header_size(REQUEST_BYTES)
        .max_buf_size(REQUEST_BYTES)
        .max_headers(REQUEST_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("a client of the metrics: {error}");
    }
}

struct Exporter {
    turn: tokio::sync::Mutex<Turn>,
}

/// What the client whose turn it is has.
struct Turn {
    reader: Arc<Mutex<Reader>>,
    answer: Option<(Instant, Format, Bytes)>,
}

impl Exporter {
    async fn respond(&self, request: &Request<Incoming>, crowd: bool) -> Response<Full<Bytes>> {
        let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/metrics" | "/healthz" if !is_get => {
                let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
                refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
                refused
            }
            "/metrics" => {
                let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
                let format = Format::accepted(accept);
                match self.metrics(format, crowd).await {
                    Ok(text) => response(StatusCode::OK, format.content_type(), text),
                    Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")),
                }
            }
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            _ => plain(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
        }
    }

    async fn metrics(&self, format: Format, crowd: bool) -> anyhow::Result<Bytes> {
        let mut turn = self.turn.lock().await;
        if let Some((since, made_for, text)) = &turn.answer
            && crowd
            && *made_for == format
            && since.elapsed() < SHARED
        {
            return Ok(text.clone());
        }
        let reader = Arc::clone(&turn.reader);
        let made = tokio::task::spawn_blocking(move || {
            let scrape = reader.lock().unwrap_or_else(PoisonError::into_inner).read()?;
            anyhow::Ok(Bytes::from(encode(scrape, format)?))
        });
        let text = made.await??;
        turn.answer = Some((Instant::now(), format, text.clone()));
        Ok(text)
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text.into())
}

fn response(status: StatusCode, content_type: &'static str, text: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
