//! What concerns the tmux server, and with it the whole home and no single run: that it went, or does not answer.

use std::collections::BTreeSet;

use serde_json::json;

use super::escalation::{self, open_run};
use super::operator::{Call, call_human};
use crate::domain::agent::{Agent, AgentKey};
use crate::domain::command::TmuxNews;
use crate::domain::escalation::{Escalation, Kind, TMUX_TARGET};
use crate::domain::event::{Draft, Subject};
use crate::domain::scene::Scene;
use crate::domain::time::Moment;

pub(super) fn decide(scene: &Scene, news: &TmuxNews, due_at: Option<Moment>, new_id: &str) -> Vec<Draft> {
    let standing = |kind: Kind| scene.escalations.iter().find(|found| found.kind == kind && found.stands());
    match news {
        TmuxNews::Deaths => deaths(scene, standing(Kind::TmuxServerLost), due_at, new_id),
        TmuxNews::Recovered => resolved(standing(Kind::TmuxServerLost).filter(|_| lost(scene).is_empty())),
        TmuxNews::Silent { .. } if standing(Kind::TmuxUnreachable).is_some() => Vec::new(),
        TmuxNews::Silent { since, tries, why } => {
            let call = Call {
                about: &Subject::default(),
                kind: Kind::TmuxUnreachable,
                target: TMUX_TARGET,
                cause: &format!("silent since {since}"),
                reason: &format!("tmux could not be asked {tries} times in a row: {why}"),
                evidence: json!({ "signal": "none", "source": "tmux", "since": since, "tries": tries }),
                due_at,
            };
            call_human(scene, call, new_id).into_iter().collect()
        }
        TmuxNews::Answers => resolved(standing(Kind::TmuxUnreachable)),
    }
}

/// The agents that went with a tmux server and are not back, in runs that are not over.
fn lost(scene: &Scene) -> Vec<&Agent> {
    let open = |agent: &&Agent| open_run(scene, Some(&agent.key.run_id)).is_some();
    scene.agents.iter().filter(|agent| agent.went_with_server().is_some()).filter(open).collect()
}

/// One escalation for all of them, however many runs they are of and in whatever order their ends are reported.
fn deaths(scene: &Scene, standing: Option<&Escalation>, due_at: Option<Moment>, new_id: &str) -> Vec<Draft> {
    let lost = lost(scene);
    let last = lost.iter().max_by_key(|agent| agent.exit.as_ref().and_then(|exit| exit.at));
    let Some(server) = last.and_then(|agent| agent.went_with_server()) else { return Vec::new() };
    let cause = server_cause(server);
    let known = standing.filter(|standing| standing.cause == cause);
    let mut names: BTreeSet<String> = known.map(names_in).unwrap_or_default();
    names.extend(lost.iter().map(|agent| full_name(&agent.key)));
    let names: Vec<String> = names.into_iter().collect();
    let call = Call {
        about: &Subject::default(),
        kind: Kind::TmuxServerLost,
        target: TMUX_TARGET,
        cause: &cause,
        reason: &format!("the tmux server went, and with it {}", names.join(", ")),
        evidence: json!({ "signal": "missing", "source": "process table", "server": server, "agents": names }),
        due_at,
    };
    call_human(scene, call, new_id).into_iter().collect()
}

fn resolved(standing: Option<&Escalation>) -> Vec<Draft> {
    standing.map(escalation::ended).into_iter().collect()
}

/// Whether these deaths are told already, or a human has settled just this.
pub fn is_told(escalations: &[Escalation], lost: &[Agent]) -> bool {
    let told = |agent: &Agent| {
        let cause = agent.went_with_server().map(server_cause);
        escalations.iter().any(|escalation| {
            let same = escalation.kind == Kind::TmuxServerLost && Some(&escalation.cause) == cause.as_ref();
            let listed = names_in(escalation).contains(&full_name(&agent.key));
            same && (escalation.by_human || escalation.stands() && listed)
        })
    };
    lost.iter().all(told)
}

fn server_cause(server: &str) -> String {
    format!("server {server}")
}

fn full_name(key: &AgentKey) -> String {
    format!("{}/{}/{}", key.run_id, key.workspace, key.name)
}

fn names_in(escalation: &Escalation) -> BTreeSet<String> {
    let names = escalation.evidence.get("agents").and_then(|names| names.as_array());
    names.into_iter().flatten().filter_map(|name| name.as_str()).map(str::to_owned).collect()
}
