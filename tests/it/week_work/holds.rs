//! What is held against the truth in the simulated week of rules 8 to 10: each event when it happens, and all that stands
//! after every step.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, also in what they share")]

use super::*;

impl Week {
    /// What may happen only by these commands, and to what is so.
    pub(super) fn note(&mut self, command: &Command, events: &[Event], event: &Event) {
        let iterates = matches!(command, Command::Run { wish: RunWish::Iterate(_), .. });
        let restarts = matches!(command, Command::Agent { wish: AgentWish::Restart { .. }, .. });
        let (about, by_rule) = (&event.subject, event.actor.kind == ActorType::Operator);
        *self.seen.entry(event.fact.split().0).or_default() += 1;
        match &event.fact {
            Fact::RunTransitioned { from: RunStatus::Completed, to, .. } => {
                assert!(*to == RunStatus::Running && (iterates || restarts), "{command:?}");
            }
            Fact::AgentRestarted { epoch, free, .. } => {
                let anew = |key: &&AgentKey| Some(&key.workspace) == about.workspace.as_ref();
                let mine = |key: &&AgentKey| {
                    Some(&key.name) == about.agent_name.as_ref() && key.run_id == *about.run_id.as_ref().unwrap()
                };
                let key = self.epochs.keys().filter(anew).find(mine).unwrap().clone();
                let (before, anew) = self.epochs[&key];
                assert_eq!(*free, !by_rule, "only a human forgives: {event:?}");
                self.epochs.insert(key, (*epoch, if by_rule { anew + 1 } else { 0 }));
                assert!(*epoch == before + 1 || (restarts && *epoch == before), "{before} {event:?}");
            }
            Fact::ReviewDispatched { repo, items } => {
                let begins = |other: &Event| {
                    let same = (&other.subject.run_id, &other.subject.workspace) == (&about.run_id, &about.workspace);
                    same && matches!(other.fact, Fact::AgentRestarted { .. })
                };
                assert!(iterates && events.iter().any(begins), "nobody begins with it: {event:?}");
                let spot =
                    spot_of(run_of(about.run_id.as_ref()), &repo_target(about.workspace.as_ref().unwrap(), repo));
                for id in items {
                    let said = self.repos.get_mut(&spot).unwrap().said.iter_mut().find(|said| said.name() == *id);
                    let said = said.unwrap();
                    let (was, wording) = said.stands.unwrap();
                    assert_eq!(was, FeedbackStatus::Queued, "{event:?}");
                    assert!(!by_rule || !said.stranger, "by rule, of a stranger: {event:?}");
                    assert!(said.told.insert(wording), "told twice: {event:?}");
                    said.stands = Some((FeedbackStatus::Dispatched, wording));
                }
            }
            Fact::OperatorActed { intent, target, .. } => {
                let spot = spot_of(run_of(about.run_id.as_ref()), target);
                let by_hand = !by_rule && matches!(command, Command::Suggestion { .. });
                assert!(
                    self.completed(spot.0) && (by_hand || self.may(spot, *intent) == Some(Action::Act)),
                    "{event:?}"
                );
                assert!(!by_rule || self.repos[&spot].has(*intent), "nothing to do: {event:?}");
            }
            Fact::OperatorSuggested { intent, target, .. } => {
                let spot = spot_of(run_of(about.run_id.as_ref()), target);
                // What was seen a moment ago may have been nobody's whom rules listen to.
                let late = *intent == Intent::ReviewFeedbackReady && self.settings[spot.0].may[2].is_some();
                assert!(
                    self.completed(spot.0) && (late || self.may(spot, *intent) == Some(Action::Suggest)),
                    "{event:?}"
                );
            }
            Fact::SuggestionSettled { suggestion_id, to: SuggestionState::Withdrawn, .. } => {
                let offer = self.stage.scene.suggestions.get(suggestion_id.as_str()).unwrap();
                let spot = spot_of(run_of(about.run_id.as_ref()), &offer.target);
                let gone = !self.completed(spot.0) || !self.repos[&spot].has(offer.intent);
                // What reviewers say is offered as it is: the offer before gives way to that of all that is said.
                let about = |one: &Suggestion| (one.run_id.clone(), one.target.clone(), one.intent);
                let replaced = self.stage.scene.suggestions.iter().any(|other| {
                    about(other) == about(offer)
                        && other.cause != offer.cause
                        && other.state != SuggestionState::Withdrawn
                });
                let follows = offer.intent == Intent::ReviewFeedbackReady && replaced;
                assert!(gone || follows, "still wanted: {offer:?}");
            }
            Fact::EscalationOpened { escalation_id, target, cause, .. } => {
                let about = (run_of(about.run_id.as_ref()), target.clone(), cause.clone());
                let earlier = self.opened.insert(about, escalation_id.clone()).filter(|id| id != escalation_id);
                let earlier = earlier.and_then(|id| self.stage.scene.escalations.get(id.as_str()));
                assert!(
                    earlier.is_none_or(|call| !call.stands() && (!call.by_human || call.cause != *cause)),
                    "one cause, one call: {event:?}"
                );
            }
            Fact::EscalationResolved { escalation_id, .. } if event.actor.kind == ActorType::System => {
                let call = self.stage.scene.escalations.get(escalation_id.as_str()).unwrap();
                assert!(!self.completed(run_of(about.run_id.as_ref())) || !self.so(call), "still so: {call:?}");
            }
            _ => {}
        }
    }

    /// Whether that is there which a call says could not be handed on.
    pub(super) fn so(&self, call: &Escalation) -> bool {
        self.repos[&spot_of(run_of(call.run_id.as_ref()), &call.target)].has(kind_of(&call.cause))
    }

    /// What a rule may do there: words of strangers are put to agents, and agents made begin anew again and again, by
    /// humans alone.
    fn may(&self, spot: Spot, intent: Intent) -> Option<Action> {
        let may = self.settings[spot.0].may[kind(intent)]?;
        let known = self.repos[&spot].said.iter().any(|said| said.waits() && !said.stranger);
        let bounded = intent == Intent::ReviewFeedbackReady && (!known || self.anew(spot.0, spot.1) >= BUDGET);
        Some(if bounded { Action::Suggest } else { may })
    }

    /// How often agents of a workspace have begun anew by rule since a human did something about them.
    pub(super) fn anew(&self, run: usize, at: usize) -> u32 {
        let here = |key: &AgentKey| key.run_id == run_id(run) && key.workspace == WORKSPACES[at];
        self.epochs.iter().filter(|(key, _)| here(key)).map(|(_, (_, anew))| *anew).max().unwrap()
    }

    /// The rule that is to fire for a repository, and what it may do: what is not committed goes before pull requests.
    pub(super) fn wanted(&self, spot: Spot) -> Option<(Intent, Action)> {
        let there = KINDS.into_iter().filter(|kind| self.completed(spot.0) && self.repos[&spot].has(*kind));
        there.filter_map(|intent| Some((intent, self.may(spot, intent)?))).next()
    }

    /// Whether a human does not want it, or says that it is settled.
    pub(super) fn settled(&self, found: &Conclusion) -> bool {
        let (about, decision, scene) = (&found.about, &found.decision, &self.stage.scene);
        let of = (&about.run_id, &decision.target, &decision.cause);
        match decision.action {
            Action::Suggest => scene
                .suggestions
                .iter()
                .any(|one| one.state == SuggestionState::Dismissed && (&one.run_id, &one.target, &one.cause) == of),
            Action::Escalate => {
                scene.escalations.iter().any(|one| one.by_human && (&one.run_id, &one.target, &one.cause) == of)
            }
            Action::Act | Action::Nothing => false,
        }
    }

    /// What stands is so, and what is so stands or was settled by a human.
    pub(super) fn check(&mut self) {
        let concluded = self.all_concluded();
        let scene = &self.stage.scene;
        let mut open = BTreeMap::new();
        for offer in scene.suggestions.iter().filter(|offer| offer.state == SuggestionState::Open) {
            let spot = spot_of(run_of(offer.run_id.as_ref()), &offer.target);
            assert!(open.insert((spot, offer.intent), offer).is_none(), "twice: {offer:?}");
            assert!(self.completed(spot.0) && self.repos[&spot].has(offer.intent), "not so any more: {offer:?}");
        }
        let mut standing = BTreeMap::new();
        for call in scene.escalations.iter().filter(|call| call.stands()) {
            let spot = spot_of(run_of(call.run_id.as_ref()), &call.target);
            assert!(call.kind == Kind::NotActed && standing.insert(spot, call).is_none(), "twice: {call:?}");
            assert!(self.completed(spot.0) && self.so(call), "not so any more: {call:?}");
        }
        for found in concluded {
            let Conclusion { about, decision, .. } = &found;
            let spot = spot_of(run_of(about.run_id.as_ref()), &decision.target);
            let told = match decision.action {
                Action::Suggest => open.contains_key(&(spot, decision.intent)),
                Action::Escalate => standing.get(&spot).is_some_and(|call| call.cause == decision.cause),
                Action::Act | Action::Nothing => false,
            };
            let told = told || self.settled(&found);
            assert!(told, "nobody does it and nobody was told: {found:?}");
        }
        let scene = &self.stage.scene;
        let kept = scene.feedback.iter().map(|item| {
            let spot = spot_of(run_of(Some(&item.run_id)), &repo_target(&item.workspace, &item.repo));
            ((spot, item.feedback_id.clone()), (item.status, item.remark.body.clone()))
        });
        let known = |(spot, repo): (&Spot, &Repo)| {
            let spot = *spot;
            let one = |said: &Said| {
                Some(((spot, said.name()), said.stands.map(|(to, words)| (to, format!("wording {words}")))?))
            };
            repo.said.iter().filter_map(one).collect::<Vec<_>>()
        };
        assert_eq!(kept.collect::<BTreeMap<_, _>>(), self.repos.iter().flat_map(known).collect());
        let epochs = scene.agents.iter().map(|agent| (agent.key.clone(), (agent.epoch, agent.restarts.anew)));
        assert_eq!(epochs.collect::<BTreeMap<_, _>>(), self.epochs);
    }
}
