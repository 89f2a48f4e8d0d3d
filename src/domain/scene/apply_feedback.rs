//! The fold's part for what reviewers said.

use super::{Scene, WorktreeKey};
use crate::domain::event::{Event, Fact};
use crate::domain::feedback::{Feedback, FeedbackStatus, Heard};
use crate::domain::time::Moment;

impl Scene {
    pub(super) fn apply_feedback(&mut self, event: &Event) {
        let (Some(run_id), Some(workspace)) = (event.subject.run_id.clone(), event.subject.workspace.clone()) else {
            return;
        };
        match &event.fact {
            Fact::ReviewSynced { repo, number, items } => {
                for heard in items {
                    self.heard(event, (&run_id, &workspace, repo), *number, heard);
                }
            }
            Fact::ReviewDispatched { repo, items } => {
                for id in items {
                    let key = (run_id.clone(), workspace.clone(), repo.clone(), id.clone());
                    if let Some(feedback) = self.feedback.touch(&key) {
                        stands(feedback, FeedbackStatus::Dispatched, event.occurred_at);
                    }
                }
            }
            _ => {}
        }
    }

    fn heard(&mut self, event: &Event, (run_id, workspace, repo): (&str, &str, &str), number: u64, heard: &Heard) {
        let feedback_id = heard.remark.id(number);
        let key = (run_id.to_owned(), workspace.to_owned(), repo.to_owned(), feedback_id.clone());
        let now = event.occurred_at;
        let seen_at = self.feedback.get(&key).map_or(now, |known| known.seen_at);
        let row = Feedback {
            feedback_id,
            run_id: run_id.to_owned(),
            ticket: event.subject.ticket.clone(),
            workspace: workspace.to_owned(),
            repo: repo.to_owned(),
            number,
            remark: heard.remark.clone(),
            status: heard.status,
            seen_at,
            since: now,
        };
        self.feedback.put(key, row);
    }

    /// What agents were told of and something was pushed after is addressed (D3: only then). What was said to another
    /// pull request before, and nobody was told of, is of no concern any more.
    pub(super) fn pushed(&mut self, (run_id, workspace, repo): (&str, &str, &str), number: u64, at: Moment) {
        let first = (run_id.to_owned(), workspace.to_owned(), repo.to_owned(), String::new());
        let mine = |key: &WorktreeKey| (key.0.as_str(), key.1.as_str(), key.2.as_str()) == (run_id, workspace, repo);
        let after = |feedback: &Feedback| match feedback.status {
            FeedbackStatus::Dispatched => Some(FeedbackStatus::Addressed),
            FeedbackStatus::Queued if feedback.number != number => Some(FeedbackStatus::Ignored),
            FeedbackStatus::Queued | FeedbackStatus::Addressed | FeedbackStatus::Ignored => None,
        };
        let turned: Vec<(WorktreeKey, FeedbackStatus)> = self
            .feedback
            .from(first, mine)
            .filter_map(|(key, feedback)| Some((key.clone(), after(feedback)?)))
            .collect();
        for (key, status) in turned {
            if let Some(feedback) = self.feedback.touch(&key) {
                stands(feedback, status, at);
            }
        }
    }
}

fn stands(feedback: &mut Feedback, status: FeedbackStatus, at: Moment) {
    feedback.status = status;
    feedback.since = at;
}
