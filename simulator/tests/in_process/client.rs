//! A client without a socket. Its digest is the `http-auth` crate's, not the simulator's.

use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response};
use http_auth::{PasswordClient, PasswordParams};
use migrationlink_simulator::{ApiKeys, Config, Simulator};
use serde_json::Value;
use tower::ServiceExt as _;

pub(crate) const ORG: &str = "5f0d1e2a3b4c5d6e7f801234";
pub(crate) const OTHER_ORG: &str = "5f0d1e2a3b4c5d6e7f805678";
const MAX_BODY: usize = 64 * 1024;

/// An answer read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Keeps its last challenge, as a client that reuses nonces does.
pub(crate) struct Client {
    pub(crate) simulator: Simulator,
    pub(crate) org_id: &'static str,
    pub(crate) keys: ApiKeys,
    challenge: Option<PasswordClient>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn error_code(&self) -> String {
        self.json()["errorCode"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn state(&self) -> String {
        self.json()["status"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn path(org_id: &str) -> String {
    format!("/api/public/v1.0/orgs/{org_id}/liveExport/migrationLink")
}

/// A simulator with one organization, and a client with its keys.
pub(crate) fn start(config: Config) -> Client {
    let simulator = Simulator::new(config);
    let keys = ApiKeys::new("public", "private");
    simulator.add_organization(ORG, [keys.clone()]);
    Client { simulator, org_id: ORG, keys, challenge: None }
}

impl Client {
    pub(crate) async fn post(&mut self, token: &str) -> Answer {
        let body = format!(r#"{{"linkToken":"{token}"}}"#);
        self.call("POST", &path(self.org_id), &body).await
    }

    pub(crate) async fn status(&mut self) -> Answer {
        self.call("GET", &format!("{}/status", path(self.org_id)), "").await
    }

    pub(crate) async fn delete(&mut self) -> Answer {
        self.call("DELETE", &path(self.org_id), "").await
    }

    /// One call: a challenge is fetched, without the body, if there is none yet.
    pub(crate) async fn call(&mut self, method: &str, target: &str, body: &str) -> Answer {
        if self.challenge.is_none() {
            let answer = read(self.send(method, target, "", None).await).await;
            if !self.keep_challenge(&answer) {
                return answer;
            }
        }
        self.authenticated(method, target, body).await
    }

    /// One request with an answer to the challenge that was kept.
    pub(crate) async fn authenticated(&mut self, method: &str, target: &str, body: &str) -> Answer {
        let answer = read(self.unread(method, target, body).await).await;
        self.keep_challenge(&answer);
        answer
    }

    /// The same, with the body still to be read.
    pub(crate) async fn unread(&mut self, method: &str, target: &str, body: &str) -> Response<Body> {
        let params = PasswordParams {
            username: &self.keys.public_key,
            password: &self.keys.private_key,
            uri: target,
            method,
            body: None,
        };
        let authorization = self.challenge.as_mut().expect("a challenge").respond(&params).unwrap();
        self.send(method, target, body, Some(authorization)).await
    }

    /// One request without an Authorization header.
    pub(crate) async fn unauthenticated(&mut self, method: &str) -> Answer {
        let answer = read(self.send(method, &path(self.org_id), "", None).await).await;
        self.keep_challenge(&answer);
        answer
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        body: &str,
        authorization: Option<String>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(target);
        request = request.header("Content-Type", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response: Result<_, Infallible> = self.simulator.router().oneshot(request).await;
        response.unwrap_or_else(|never| match never {})
    }

    fn keep_challenge(&mut self, answer: &Answer) -> bool {
        let Some(challenge) = answer.headers.get("WWW-Authenticate") else { return false };
        self.challenge = Some(PasswordClient::try_from(challenge.to_str().unwrap()).unwrap());
        true
    }
}

pub(crate) async fn read(response: Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY).await.unwrap();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}
