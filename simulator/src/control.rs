//! The control API: what a test does with [`Simulator`]'s methods, for a person with curl. JSON over HTTP, on a port of
//! its own, without authentication. It shows no private key and no link token.

use std::io;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::behaviour::Behaviour;
use crate::journal::Entry;
use crate::organizations::ApiKeys;
use crate::server::{self, Server};
use crate::simulator::Simulator;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewOrganization {
    org_id: String,
    public_key: String,
    private_key: String,
    synced_after: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LiveExport {
    project_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SyncedAfter {
    polls: u32,
}

/// Serves the control API of a simulator over plain HTTP.
///
/// # Errors
/// The listener has no address.
pub fn serve_control(simulator: &Simulator, listener: TcpListener) -> io::Result<Server> {
    server::plain(router(simulator.clone()), listener)
}

fn router(simulator: Simulator) -> Router {
    Router::new()
        .route("/organizations", post(add_organization))
        .route("/organizations/{id}/keys", post(set_keys))
        .route("/organizations/{id}/unlink", post(unlink))
        .route("/organizations/{id}/live-export", post(set_live_exports))
        .route("/organizations/{id}/synced-after", post(set_synced_after))
        .route("/behaviours", post(script).delete(clear_scripts))
        .route("/journal", get(journal).delete(clear_journal))
        .route("/state", get(state))
        .with_state(simulator)
}

async fn add_organization(
    State(simulator): State<Simulator>,
    Json(organization): Json<NewOrganization>,
) -> StatusCode {
    let NewOrganization { org_id, public_key, private_key, synced_after } = organization;
    simulator.add_organization(&org_id, [ApiKeys { public_key, private_key }]);
    if let Some(polls) = synced_after {
        simulator.set_synced_after(&org_id, polls);
    }
    StatusCode::CREATED
}

async fn set_keys(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
    Json(keys): Json<ApiKeys>,
) -> StatusCode {
    done(simulator.set_keys(&id, [keys]))
}

async fn unlink(State(simulator): State<Simulator>, Path(id): Path<String>) -> StatusCode {
    done(simulator.unlink_behind_the_back(&id))
}

async fn set_live_exports(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
    Json(live_export): Json<LiveExport>,
) -> StatusCode {
    done(simulator.set_live_exports(&id, live_export.project_ids))
}

async fn set_synced_after(
    State(simulator): State<Simulator>,
    Path(id): Path<String>,
    Json(synced_after): Json<SyncedAfter>,
) -> StatusCode {
    done(simulator.set_synced_after(&id, synced_after.polls))
}

async fn script(State(simulator): State<Simulator>, Json(behaviour): Json<Behaviour>) -> StatusCode {
    simulator.script(behaviour);
    StatusCode::CREATED
}

async fn clear_scripts(State(simulator): State<Simulator>) -> StatusCode {
    simulator.clear_scripts();
    StatusCode::NO_CONTENT
}

async fn journal(State(simulator): State<Simulator>) -> Json<Vec<Entry>> {
    Json(simulator.journal())
}

async fn clear_journal(State(simulator): State<Simulator>) -> StatusCode {
    simulator.clear_journal();
    StatusCode::NO_CONTENT
}

async fn state(State(simulator): State<Simulator>) -> Json<Value> {
    let organizations = simulator.state().organizations.view();
    Json(json!({ "organizations": organizations, "behaviours": simulator.scripts() }))
}

/// 404 without such an organization.
fn done(found: bool) -> StatusCode {
    if found { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
