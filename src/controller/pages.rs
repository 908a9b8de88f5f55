//! Pages of a list that fit into memory, whatever the objects hold.
//!
//! A page has a number of objects, but no number of bytes: who may create a Secret can give it more than a megabyte of
//! labels, or 256 KiB of annotations in characters of which JSON makes six bytes each. kube holds the page twice and then
//! parses it, and whoever starts again after having run out of memory would be given the same page. So a page that is too
//! large is dropped on the way, and asked for again with fewer objects: the `continue` token does not depend on their
//! number, and the caller sees a shorter page. A page of one object is taken as it is: etcd takes 1.5 MiB.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, Uri};
use hyper::body::Body as _;
use kube::Client;
use kube::client::Body;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::service_fn;

/// The most bytes that a page of several objects may have. Of the smallest labels it is ten times that once it is parsed.
const BUDGET: usize = 2 * 1024 * 1024;
/// So many times fewer objects are asked for when a page was too large, and more again when one was not.
const STEP: u32 = 5;
/// The longest that reading a page may take while others wait. The API server itself gives up after this time.
const DEADLINE: Duration = Duration::from_mins(1);

/// A client whose lists have pages that fit into memory. All else passes through: a watch has no end.
pub fn bounded(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let until = *client.valid_until();
    let pages = Arc::new(Pages { client, reading: Semaphore::new(1), fitting: Mutex::default() });
    let service = service_fn(move |request| {
        let pages = Arc::clone(&pages);
        async move { pages.answer(request).await }
    });
    Client::new(service, namespace).with_valid_until(until)
}

struct Pages {
    client: Client,
    /// One page is in memory at a time, however many lists there are. (kube parses it in the same poll.)
    reading: Semaphore,
    /// The size of the last page of each list, where it had to be smaller than asked for: the next may be as large.
    fitting: Mutex<HashMap<String, u32>>,
}

impl Pages {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let Some(asked) = limit(&request) else { return self.client.send(request).await };
        let (mut parts, _) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let mut limit = asked;
        if let Some(last) = self.fitting().get(&path) {
            limit = limit.min(last.saturating_mul(STEP));
        }
        loop {
            parts.uri = with_limit(parts.uri, limit);
            let response = self.client.send(Request::from_parts(parts.clone(), Body::empty())).await?;
            if !response.status().is_success() {
                return Ok(response);
            }
            let (head, body) = response.into_parts();
            let most = if limit > 1 { BUDGET } else { usize::MAX };
            // Never closed, so that there is always a permit in the end.
            let permit = self.reading.acquire().await;
            let read = timeout(DEADLINE, read(body, most)).await;
            if let Some(page) = read.map_err(|late| kube::Error::Service(late.into()))?? {
                if limit < asked {
                    self.fitting().insert(path, limit);
                } else {
                    self.fitting().remove(&path);
                }
                return Ok(Response::from_parts(head, Body::from(page)));
            }
            drop(permit);
            limit = (limit / STEP).max(1);
            tracing::debug!(path, limit, "a page of this list is too large: asking for fewer objects");
        }
    }

    fn fitting(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        // Nothing panics while it holds the lock.
        self.fitting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many objects a list asks for; None if the request is something else, or wants all at once.
fn limit(request: &Request<Body>) -> Option<u32> {
    if request.method() != Method::GET {
        return None;
    }
    let mut limit = None;
    for pair in request.uri().query()?.split('&') {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("watch", _) => return None,
            ("limit", number) => limit = number.parse().ok(),
            _ => {}
        }
    }
    limit.filter(|limit| *limit > 0)
}

fn with_limit(uri: Uri, limit: u32) -> Uri {
    let query = uri.query().unwrap_or_default().split('&');
    let query: Vec<_> = query
        .map(|pair| if pair.starts_with("limit=") { format!("limit={limit}") } else { pair.to_owned() })
        .collect();
    let path_and_query = format!("{}?{}", uri.path(), query.join("&")).parse().ok();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path_and_query.or(parts.path_and_query);
    // What was a URL is one with another number.
    Uri::from_parts(parts).unwrap_or(uri)
}

/// The whole body; None if it is larger than that, and then it is not read to its end.
async fn read(mut body: Body, most: usize) -> Result<Option<Vec<u8>>, kube::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Some(data) = frame?.data_ref() {
            if data.len() > most - bytes.len() {
                return Ok(None);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::convert::Infallible;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll};

    use http::StatusCode;
    use hyper::body::{Body as HttpBody, Bytes, Frame};

    const LIST: &str = "/api/v1/secrets?&limit=50&continue=abc%3D&resourceVersion=0";

    /// What was asked for, oldest first.
    type Asked = Arc<Mutex<Vec<String>>>;

    /// A body in pieces of 64 KiB, of this many or without end.
    struct Pieces {
        left: Option<usize>,
        dropped: Arc<AtomicBool>,
    }

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match &mut self.left {
                Some(0) => return Poll::Ready(None),
                Some(left) => *left -= 1,
                None => {}
            }
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 64 * 1024])))))
        }
    }

    impl Drop for Pieces {
        fn drop(&mut self) {
            self.dropped.store(true, Ordering::Relaxed);
        }
    }

    fn pieces(left: Option<usize>) -> Pieces {
        Pieces { left, dropped: Arc::default() }
    }

    /// A client of an API server that answers as `answer` says.
    fn client(answer: impl Fn(&str) -> (u16, Pieces) + Send + Sync + 'static) -> (Client, Asked) {
        let asked = Asked::default();
        let log = asked.clone();
        let service = service_fn(move |request: Request<Body>| {
            let target = request.uri().to_string();
            let (status, body) = answer(&target);
            log.lock().unwrap().push(target);
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            std::future::ready(Ok::<_, Infallible>(response))
        });
        (bounded(Client::new(service, "default")), asked)
    }

    fn request(method: Method, target: &str) -> Request<Body> {
        Request::builder().method(method).uri(target).body(Body::empty()).unwrap()
    }

    /// Status and length of what the caller gets for a GET.
    async fn get(client: &Client, target: &str) -> (u16, usize) {
        let response = client.send(request(Method::GET, target)).await.unwrap();
        (response.status().as_u16(), response.into_body().collect_bytes().await.unwrap().len())
    }

    fn limit_of(target: &str) -> usize {
        let (_, rest) = target.split_once("limit=").unwrap();
        rest.split('&').next().unwrap().parse().unwrap()
    }

    /// The limits that were asked for, and since the last time.
    fn limits(asked: &Asked) -> Vec<usize> {
        std::mem::take(&mut *asked.lock().unwrap()).iter().map(|target| limit_of(target)).collect()
    }

    #[tokio::test]
    async fn a_page_within_the_budget_is_passed_on_after_one_request() {
        let (client, asked) = client(|_| (200, pieces(Some(32))));
        assert_eq!(get(&client, LIST).await, (200, BUDGET));
        assert_eq!(*asked.lock().unwrap(), [LIST]);
    }

    #[tokio::test]
    async fn a_larger_page_is_asked_for_again_with_fewer_objects_and_then_with_more() {
        // 256 KiB an object: eight fit.
        let (client, asked) = client(|target| (200, pieces(Some(4 * limit_of(target)))));
        assert_eq!(get(&client, LIST).await, (200, 2 * 256 * 1024));
        let targets = [50, 10, 2].map(|limit| LIST.replace("limit=50", &format!("limit={limit}")));
        assert_eq!(*asked.lock().unwrap(), targets, "nothing else differs");
        limits(&asked);
        get(&client, LIST).await;
        assert_eq!(limits(&asked), [10, 2], "the next page of the same list is as large");
        get(&client, "/api/v1/configmaps?limit=5").await;
        assert_eq!(limits(&asked), [5], "another list is not");
    }

    #[tokio::test]
    async fn pages_grow_again_when_the_objects_are_small_again() {
        let many = Arc::new(AtomicBool::new(true));
        let now = many.clone();
        let per_object = move || if now.load(Ordering::Relaxed) { 33 } else { 0 };
        let (client, asked) = client(move |target| (200, pieces(Some(per_object() * limit_of(target)))));
        get(&client, LIST).await;
        assert_eq!(limits(&asked), [50, 10, 2, 1]);
        many.store(false, Ordering::Relaxed);
        for limit in [5, 25, 50, 50] {
            get(&client, LIST).await;
            assert_eq!(limits(&asked), [limit]);
        }
    }

    #[tokio::test]
    async fn a_page_of_one_object_is_passed_on_however_large_it_is() {
        let (client, asked) =
            client(|target| (200, pieces(if limit_of(target) > 1 { None } else { Some(200) })));
        assert_eq!(get(&client, LIST).await, (200, 200 * 64 * 1024));
        assert_eq!(limits(&asked), [50, 10, 2, 1]);
    }

    #[tokio::test]
    async fn what_is_no_page_of_a_list_is_not_collected() {
        for (method, target) in [
            (Method::GET, "/api/v1/secrets?limit=50&watch=true"),
            (Method::GET, "/api/v1/secrets?watch=true&limit=50"),
            (Method::GET, "/api/v1/secrets?&resourceVersion=0"),
            (Method::GET, "/api/v1/secrets?limit=0"),
            (Method::GET, "/api/v1/namespaces/a/secrets/limit"),
            (Method::DELETE, "/api/v1/secrets?limit=50"),
        ] {
            let (client, asked) = client(|_| (200, pieces(None)));
            let response = client.send(request(method, target)).await.unwrap();
            // The first pieces of a body that has no end.
            let mut body = response.into_body();
            for _ in 0..64 {
                let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
                assert_eq!(frame.unwrap().unwrap().data_ref().unwrap().len(), 64 * 1024);
            }
            assert_eq!(*asked.lock().unwrap(), [target]);
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_no_success_is_passed_on() {
        for status in [403, 410, 429, 500] {
            let (client, asked) = client(move |_| (status, pieces(Some(64))));
            assert_eq!(get(&client, LIST).await, (status, 64 * 64 * 1024));
            assert_eq!(*asked.lock().unwrap(), [LIST]);
        }
    }

    #[tokio::test]
    async fn a_page_that_is_too_large_is_dropped_before_the_next_is_asked_for() {
        let last = Mutex::new(None::<Arc<AtomicBool>>);
        let (client, asked) = client(move |target| {
            let body = pieces(if limit_of(target) > 1 { None } else { Some(1) });
            let before = last.lock().unwrap().replace(body.dropped.clone());
            assert!(before.is_none_or(|before| before.load(Ordering::Relaxed)), "{target}");
            (200, body)
        });
        assert_eq!(get(&client, LIST).await, (200, 64 * 1024));
        assert_eq!(limits(&asked).len(), 4);
    }
}
