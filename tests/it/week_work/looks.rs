//! What the supervisor does in the simulated week of rules 8 to 10: it looks, tells, and hands on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use super::*;

impl Week {
    /// Hands on what is there now: whether it came through; nothing where it was broken off.
    pub(super) fn carries_out(&mut self, spot: Spot, intent: Intent, actor: &Actor) -> Option<bool> {
        let (broken, print) = (self.repos[&spot].broken[kind(intent)], self.new_id());
        if self.dice.chance(5) {
            return None;
        }
        let repo = self.repos.get_mut(&spot).unwrap();
        let (workspace, name) = (WORKSPACES[spot.1].to_owned(), REPOS[spot.2].to_owned());
        match intent {
            Intent::CommitReady if broken => {
                // What the hook changes is no other change.
                repo.dirt = if self.dice.chance(30) { Some(print) } else { repo.dirt };
            }
            _ if broken => {}
            Intent::CommitReady => {
                (repo.dirt, repo.commits) = (None, repo.commits + 1);
                let (sha, message) = (format!("h{}", repo.commits), "Work".to_owned());
                let wish = RunWish::Committed { workspace, repo: name, sha, message, own: false, author: None };
                self.must(actor.clone(), &of_run(spot.0, wish));
                self.handed_on(spot, intent);
            }
            Intent::PrReady => {
                repo.push();
                let request = repo.fact(&name);
                let wish = RunWish::PullRequest { workspace, request, on_behalf_of: None };
                self.must(actor.clone(), &of_run(spot.0, wish));
                self.handed_on(spot, intent);
            }
            _ => {
                let mut items = self.queued(spot.0, spot.1);
                items.retain(|item| actor.kind != ActorType::Operator || item.remark.is_trusted());
                items.truncate(MOST);
                self.iterates(actor, spot.0, vec![workspace], &items);
            }
        }
        Some(!broken)
    }

    pub(super) fn queued(&self, run: usize, at: usize) -> Vec<Feedback> {
        let id = run_id(run);
        let first = (id.clone(), WORKSPACES[at].to_owned(), String::new(), String::new());
        let all = self.stage.scene.feedback.from(first, move |key| key.0 == id && key.1 == WORKSPACES[at]);
        all.map(|(_, item)| item).filter(|item| item.status == FeedbackStatus::Queued).cloned().collect()
    }

    /// Nothing is left of it: what was offered and called about it ends.
    pub(super) fn handed_on(&mut self, spot: Spot, intent: Intent) {
        let (id, target) = (Some(run_id(spot.0)), target(spot));
        let scene = &self.stage.scene;
        let offers = scene.suggestions.iter().filter(|offer| offer.state == SuggestionState::Open);
        let offers = offers.filter(|offer| (&offer.run_id, &offer.target, offer.intent) == (&id, &target, intent));
        let reason = "nothing is left".to_owned();
        let gone = offers.map(|offer| suggestion(offer, SuggestionWish::Withdraw { reason: reason.clone() }));
        let of = |call: &&Escalation| kind_of(&call.cause) == intent;
        let calls =
            scene.escalations.iter().filter(|call| call.stands() && (&call.run_id, &call.target) == (&id, &target));
        let over = calls.filter(of).map(|call| escalation(call, EscalationWish::Resolve { note: None }));
        for command in gone.chain(over).collect::<Vec<_>>() {
            self.must(Actor::system("rules"), &command);
        }
    }

    /// What the rules conclude about a workspace, which is what its setting allows of what is there.
    pub(super) fn concluded(&self, run: usize, at: usize) -> Vec<Conclusion> {
        let (the_run, setting) = (self.stage.scene.runs.get(run_id(run).as_str()).unwrap(), &self.settings[run]);
        let items = self.queued(run, at);
        let see = |repo: usize| {
            let mine: Vec<&Feedback> = items.iter().filter(|item| item.repo == REPOS[repo]).collect();
            let queued = mine.iter().map(|item| item.since).max().map(|newest| Queued {
                count: mine.len(),
                trusted: mine.iter().filter(|item| item.remark.is_trusted()).count(),
                anew: (self.anew(run, at), BUDGET),
                first: Vec::new(),
                print: format!("{} until {newest}", mine.len()),
            });
            let last = self.stage.scene.decisions.get(&(run_id(run), target((run, at, repo))));
            let last = last.map(|last| last.decision.clone());
            let seen = self.repos[&(run, at, repo)].seen(WORKSPACES[at], REPOS[repo], queued);
            let found =
                work(the_run, &[RepoSeen { last, ..seen }], &setting.policy, &setting.measure, self.stage.now()).pop();
            let wanted = self.wanted((run, at, repo));
            assert_eq!(found.as_ref().map(|found| found.decision.intent), wanted.map(|wanted| wanted.0));
            for (found, (_, action)) in found.iter().zip(wanted) {
                let in_vain = action == Action::Act && found.decision.action == Action::Escalate;
                assert!(found.decision.action == action || in_vain, "{found:?}");
            }
            found
        };
        (0..2).filter_map(see).collect()
    }

    pub(super) fn all_concluded(&mut self) -> Vec<Conclusion> {
        self.stage.millis = self.time;
        (0..7)
            .flat_map(|run| (0..3).flat_map(move |at| [(run, at)]))
            .flat_map(|(run, at)| self.concluded(run, at))
            .collect()
    }

    pub(super) fn look(&mut self) {
        self.due = i64::MAX;
        self.stage.millis = self.time;
        for (run, at) in (0..7).flat_map(|run| (0..3).map(move |at| (run, at))) {
            for round in 0.. {
                assert!(round < 50, "it never comes to an end");
                if !self.looks_into(run, at) {
                    break;
                }
            }
        }
        let now = self.stage.now();
        for call in self.stage.scene.escalations.iter().filter(|call| call.stands()).cloned().collect::<Vec<_>>() {
            let again = now.plus(self.settings[0].measure.call_again);
            if call.is_due(now) {
                let wish = EscalationWish::CallAgain { due_at: Some(again) };
                self.must(Actor::system("rules"), &escalation(&call, wish));
            }
        }
    }

    /// As the supervisor looks at a workspace; whether something was done, so that it is to be looked at anew.
    pub(super) fn looks_into(&mut self, run: usize, at: usize) -> bool {
        if !self.completed(run) {
            return false;
        }
        for (spot, intent) in self.gone(run, at) {
            self.handed_on(spot, intent);
        }
        let found = self.concluded(run, at);
        let (act, tell): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.decision.action == Action::Act);
        for found in tell {
            self.due = found.decision.due_at.map_or(self.due, |due| self.due.min(due.millis() - START));
            let (known, settled) = (is_known(&self.stage.scene, &found), self.settled(&found));
            if !known && !settled {
                self.tell(found);
            } else if self.dice.chance(5) {
                let news = self.tell(found).into_iter().any(|event| known || opens(&event));
                assert!(!news, "it stood already, or a human had settled it");
            }
        }
        let Some(found) = act.into_iter().next() else { return false };
        let spot = spot_of(run, &found.decision.target);
        let (intent, breaks_off) = (found.decision.intent, self.repos[&spot].broken[kind(found.decision.intent)]);
        // Some of it shows before anything is begun.
        let begun = !breaks_off || self.dice.chance(60);
        let acted = |event: &Event| matches!(event.fact, Fact::OperatorActed { .. });
        assert!(!begun || self.tell(found.clone()).iter().any(acted), "{found:?}");
        if !begun || self.carries_out(spot, intent, &operator()) == Some(false) {
            let after =
                self.concluded(run, at).into_iter().find(|after| after.decision.target == found.decision.target);
            let mut found = found;
            found.decision.cause = after.map_or(found.decision.cause, |after| after.decision.cause);
            self.fails(found);
        }
        true
    }

    /// What is offered or called about a workspace of which nothing is left.
    pub(super) fn gone(&self, run: usize, at: usize) -> BTreeSet<(Spot, Intent)> {
        let (scene, id) = (&self.stage.scene, Some(run_id(run)));
        let here = |target: &str| Some(spot_of(run, target)).filter(|spot| spot.1 == at);
        let offers = scene.suggestions.iter().filter(|one| one.state == SuggestionState::Open && one.run_id == id);
        let offers = offers.filter_map(|one| Some((here(&one.target)?, one.intent)));
        let calls = scene.escalations.iter().filter(|one| one.stands() && one.run_id == id);
        let calls = calls.filter_map(|one| Some((here(&one.target)?, kind_of(&one.cause))));
        offers.chain(calls).filter(|(spot, intent)| !self.repos[spot].has(*intent)).collect()
    }

    pub(super) fn tell(&mut self, found: Conclusion) -> Vec<Event> {
        let id = self.new_id().to_string();
        self.must(operator(), &concluded(found, &id))
    }

    pub(super) fn fails(&mut self, found: Conclusion) {
        let run = run_of(found.about.run_id.as_ref());
        let failed = failed(found, "it does not work", &self.settings[run].measure, self.stage.now());
        self.tell(failed);
    }
}
