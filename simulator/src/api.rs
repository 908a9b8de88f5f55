//! The three endpoints, for a request that is authenticated.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{Config, Envelope, ExistingLink, LinkAnswer, MissingLink, UnlinkAnswer};
use crate::organizations::{Link, Organization, Organizations};
use crate::reply::Reply;

const ORGANIZATIONS: &str = "/api/public/v1.0/orgs/";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// POST …/liveExport/migrationLink
    Link,
    /// GET …/liveExport/migrationLink/status
    Status,
    /// DELETE …/liveExport/migrationLink
    Unlink,
    /// None of the three.
    Other,
}

/// The content of a request.
pub(crate) struct Content<'a> {
    pub(crate) content_type: Option<&'a str>,
    pub(crate) bytes: &'a [u8],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LinkRequest {
    link_token: Option<String>,
}

/// The organization in a path and what is asked of it.
pub(crate) fn route<'a>(method: &str, path: &'a str) -> (Option<&'a str>, Operation) {
    let Some((org_id, resource)) = path.strip_prefix(ORGANIZATIONS).and_then(|rest| rest.split_once('/'))
    else {
        return (None, Operation::Other);
    };
    let operation = match (method, resource) {
        ("POST", "liveExport/migrationLink") => Operation::Link,
        ("GET", "liveExport/migrationLink/status") => Operation::Status,
        ("DELETE", "liveExport/migrationLink") => Operation::Unlink,
        _ => Operation::Other,
    };
    (Some(org_id), operation)
}

/// The link token in a body, whether or not the rest of the body is as it should be.
pub(crate) fn link_token(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.get("linkToken")?.as_str().map(str::to_owned)
}

/// Does what is asked and answers.
pub(crate) fn carry_out(
    config: &Config,
    organizations: &mut Organizations,
    org_id: Option<&str>,
    operation: Operation,
    content: &Content<'_>,
) -> Reply {
    let Some(org_id) = org_id else {
        return no_resource();
    };
    let Some(organization) = organizations.get_mut(org_id) else {
        return no_organization(org_id);
    };
    match operation {
        Operation::Link => link(config, organization, org_id, content),
        Operation::Status => status(config, organization),
        Operation::Unlink => unlink(config, organization),
        Operation::Other => no_resource(),
    }
}

fn link(config: &Config, organization: &mut Organization, org_id: &str, content: &Content<'_>) -> Reply {
    let token = match requested_token(config, content) {
        Ok(token) => token,
        Err(reply) => return reply,
    };
    if organization.link.is_some() && config.existing_link == ExistingLink::Conflict {
        return Reply::error(409, "UNEXPECTED_ERROR", "The organization already has a link.", &[]);
    }
    let polls_left = organization.synced_after.unwrap_or(config.synced_after);
    let link = organization.link.insert(Link { token, polls_left });
    match config.link_answer {
        LinkAnswer::Created => success(config, 201, json!({ "status": link.status() })),
        LinkAnswer::SourceOrganization => {
            let body = json!({
                "sourceOrgId": org_id,
                "createdAt": "2026-01-01T00:00:00Z",
                "lastSyncedAt": null,
                "errorMessage": null,
                "targetOrg": { "linkToken": link.token },
            });
            success(config, 200, body)
        }
        LinkAnswer::NoBody(status) => Reply::empty(status),
    }
}

/// The link token of a POST, or the refusal. No refusal repeats the token.
fn requested_token(config: &Config, content: &Content<'_>) -> Result<String, Reply> {
    if !content.content_type.is_some_and(|value| value.starts_with("application/json")) {
        return Err(Reply::error(415, "UNEXPECTED_ERROR", "The content must be application/json.", &[]));
    }
    let body: Value = serde_json::from_slice(content.bytes)
        .map_err(|_| Reply::error(400, "INVALID_JSON", "Received JSON is malformed.", &[]))?;
    let request: LinkRequest = serde_json::from_value(body).map_err(|_| {
        let detail = "Invalid attribute specified: only linkToken, a string, is known.";
        Reply::error(400, "INVALID_ATTRIBUTE", detail, &[])
    })?;
    let token = request.link_token.ok_or_else(|| {
        let detail = "The required attribute linkToken was not specified.";
        Reply::error(400, "MISSING_ATTRIBUTE", detail, &["linkToken".into()])
    })?;
    let valid = config.valid_tokens.as_ref().is_none_or(|tokens| tokens.contains(&token));
    if token.is_empty() || !valid {
        let detail = "Invalid attribute linkToken specified.";
        return Err(Reply::error(400, "INVALID_ATTRIBUTE", detail, &["linkToken".into()]));
    }
    Ok(token)
}

fn status(config: &Config, organization: &mut Organization) -> Reply {
    match &mut organization.link {
        Some(link) => success(config, 200, json!({ "status": link.poll() })),
        None if config.missing_link == MissingLink::NotSynced => {
            success(config, 200, json!({ "status": "NOT_SYNCED" }))
        }
        None => no_link(),
    }
}

fn unlink(config: &Config, organization: &mut Organization) -> Reply {
    if organization.link.is_none() {
        return no_link();
    }
    let projects = &organization.live_exports;
    if !projects.is_empty() {
        let detail = format!(
            "Cannot delete the organization link while live exports are running in projects {}.",
            projects.join(", ")
        );
        let parameters: Vec<Value> = projects.iter().map(|id| id.as_str().into()).collect();
        return Reply::error(409, "CANNOT_DELETE_ORG_LINK_WITH_RUNNING_LIVE_EXPORT", &detail, &parameters);
    }
    organization.link = None;
    Reply::empty(match config.unlink_answer {
        UnlinkAnswer::NoContent => 204,
        UnlinkAnswer::Accepted => 202,
    })
}

fn success(config: &Config, status: u16, body: Value) -> Reply {
    let body = match config.envelope {
        None => body,
        Some(Envelope::Content) => json!({ "status": status, "content": body }),
        Some(Envelope::Envelope) => json!({ "status": status, "envelope": body }),
    };
    Reply::json(status, &body)
}

fn no_resource() -> Reply {
    Reply::error(404, "RESOURCE_NOT_FOUND", "Cannot find resource.", &[])
}

fn no_link() -> Reply {
    Reply::error(404, "UNEXPECTED_ERROR", "Could not find the requested external organization link.", &[])
}

/// A malformed id is answered 404, too.
fn no_organization(org_id: &str) -> Reply {
    let well_formed = org_id.len() == 24 && org_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if well_formed {
        let detail = format!("An organization with ID {org_id} was not found.");
        Reply::error(404, "ORG_NOT_FOUND", &detail, &[org_id.into()])
    } else {
        let detail = format!("An invalid organization ID {org_id} was specified.");
        Reply::error(404, "INVALID_ORG_ID", &detail, &[org_id.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_endpoints_are_known_by_method_and_path() {
        let path = "/api/public/v1.0/orgs/5f/liveExport/migrationLink";
        assert_eq!(route("POST", path), (Some("5f"), Operation::Link));
        assert_eq!(route("DELETE", path), (Some("5f"), Operation::Unlink));
        assert_eq!(route("GET", &format!("{path}/status")), (Some("5f"), Operation::Status));
        assert_eq!(route("GET", path), (Some("5f"), Operation::Other));
        assert_eq!(route("POST", &format!("{path}/status")), (Some("5f"), Operation::Other));
        assert_eq!(route("POST", &path.replace("public", "atlas")), (None, Operation::Other));
    }
}
