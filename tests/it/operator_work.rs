//! Rules 8 and on: what completed runs hold in their worktrees, as tables and with real git.

use std::path::Path;
use std::time::Duration;

use metawsm::domain::command::{Command, RunWish, SuggestionWish};
use metawsm::domain::escalation::{EscalationState, Kind, SuggestionState};
use metawsm::domain::event::{Event, Fact, Worktree};
use metawsm::domain::operator::{
    Action, Ahead, Conclusion, Dirt, Intent, Measure, Queued, RepoSeen, failed, repo_of, work, work_stands,
};
use metawsm::domain::policy::{GitPrPolicy, OperatorMode, Policy, ReviewMode, RuleMode};
use metawsm::domain::run::RunStatus;
use metawsm::domain::scene::LastDecision;
use metawsm::domain::signal::SignalType;
use metawsm::services::git::Git;
use serde_json::{Value, json};

use crate::committing::{hook, left};
use crate::core_world::*;
use crate::world::{PATIENCE, World, wait_for};

fn dirty(print: &str) -> RepoSeen {
    let dirt = Dirt { print: print.into(), files: 3, first: vec!["a".into(), "b c".into()] };
    RepoSeen { workspace: "ws".into(), repo: "repo".into(), dirt: Some(dirt), ahead: None, queued: None, last: None }
}

fn by_rule(mode: OperatorMode, rule: Option<RuleMode>) -> Measure {
    let rules = rule.map(|rule| ("commit_ready".to_owned(), rule)).into_iter().collect();
    Measure { rules, ..measure(mode) }
}

/// A completed run with a worktree.
fn completed() -> Stage {
    let mut stage = Stage::running(&Plan::of(&["a"]));
    let tree = Worktree {
        repo: "repo".into(),
        path: "/ws/repo".into(),
        branch: "b".into(),
        base: "main".into(),
        start: "0".into(),
    };
    stage.must(&run(RunWish::WorkspaceCreated {
        name: "ws".into(),
        path: "/ws".into(),
        worktrees: vec![tree],
        warnings: vec![],
    }));
    stage.must(&signal("a", SignalType::Completion));
    assert_eq!(stage.status(), RunStatus::Completed);
    stage
}

fn conclude(stage: &Stage, seen: &RepoSeen, git: OperatorMode, measure: &Measure) -> Option<Conclusion> {
    conclude_by(stage, seen, &git_pr(git, ReviewMode::Assist), measure)
}

fn conclude_by(stage: &Stage, seen: &RepoSeen, policy: &GitPrPolicy, measure: &Measure) -> Option<Conclusion> {
    work(stage.scene.runs.get(RUN).unwrap(), std::slice::from_ref(seen), policy, measure, stage.now()).pop()
}

/// How far rules may go with commits, and with reviews.
fn git_pr(mode: OperatorMode, reviews: ReviewMode) -> GitPrPolicy {
    let mut policy = Policy::default().git_pr;
    policy.mode = mode;
    policy.review_feedback.mode = reviews;
    policy
}

#[test]
fn rule_8_suggests_in_every_mode_and_acts_only_where_rule_and_mode_of_commits_say_so() {
    use OperatorMode::{Assist, Auto, Off};
    use RuleMode::{Act, Never, Suggest};
    let stage = completed();
    for (mode, rule, git, expected) in [
        (Off, None, Auto, Some(Action::Suggest)),
        (Auto, None, Auto, Some(Action::Suggest)),
        (Assist, None, Assist, Some(Action::Suggest)),
        (Off, Some(Act), Assist, Some(Action::Suggest)),
        (Off, Some(Act), Auto, Some(Action::Act)),
        (Auto, Some(Act), Auto, Some(Action::Act)),
        (Assist, Some(Act), Auto, Some(Action::Act)),
        (Off, Some(Suggest), Auto, Some(Action::Suggest)),
        (Off, Some(Never), Auto, None),
        (Off, Some(Act), Off, None),
    ] {
        let found = conclude(&stage, &dirty("1"), git, &by_rule(mode, rule));
        assert_eq!(found.as_ref().map(|found| found.decision.action), expected, "{mode:?} {rule:?} {git:?}");
        let Some(Conclusion { decision, about, call, .. }) = found else { continue };
        assert_eq!((decision.rule, decision.target.as_str(), decision.cause.as_str()), (8, "repo:ws/repo", "change 1"));
        assert_eq!(decision.reason, "3 files are not committed in repo: a, b c and 1 more");
        assert_eq!((about.workspace.as_deref(), about.ticket, call), (Some("ws"), Some(ticket("ws")), None));
    }
    let clean = RepoSeen { dirt: None, ..dirty("1") };
    assert_eq!(conclude(&stage, &clean, Auto, &by_rule(Off, Some(Act))), None);
    assert_eq!(repo_of("repo:a.b/c"), Some(("a.b", "c")));
    assert_eq!(repo_of("agent:a/b"), None);
}

#[test]
fn rule_9_comes_after_rule_8_and_is_about_what_no_pull_request_holds() {
    let stage = completed();
    let ahead = |request| Some(Ahead { commits: 2, head: "abc".into(), request });
    let act = Measure { rules: [("pr_ready".to_owned(), RuleMode::Act)].into(), ..measure(OperatorMode::Off) };
    let said = |seen: &RepoSeen, git: OperatorMode| {
        let found = conclude(&stage, seen, git, &act)?;
        let decision = found.decision;
        Some(format!(
            "{} {} {}: {} ({})",
            decision.rule,
            decision.intent.word(),
            decision.action.word(),
            decision.reason,
            decision.cause
        ))
    };
    let both = RepoSeen { ahead: ahead(None), ..dirty("1") };
    assert!(said(&both, OperatorMode::Auto).unwrap().starts_with("8 commit_ready suggest"));
    // What is not committed goes first, also where nobody wants to be told of it.
    let never = Measure { rules: [("commit_ready".to_owned(), RuleMode::Never)].into(), ..measure(OperatorMode::Off) };
    assert_eq!(conclude(&stage, &both, OperatorMode::Auto, &never), None);
    let clean = RepoSeen { dirt: None, ..both };
    let expected = "9 pr_ready act: 2 commits of repo are in no pull request (head abc)";
    assert_eq!(said(&clean, OperatorMode::Auto).as_deref(), Some(expected));
    let known = RepoSeen { ahead: ahead(Some(7)), ..clean };
    let expected = "9 pr_ready suggest: 2 commits of repo are not in pull request #7 yet (head abc)";
    assert_eq!(said(&known, OperatorMode::Assist).as_deref(), Some(expected));
    assert_eq!(said(&known, OperatorMode::Off), None);
    assert_eq!(said(&RepoSeen { ahead: None, ..known }, OperatorMode::Auto), None);
}

#[test]
fn rule_10_comes_last_and_goes_by_the_mode_of_reviews() {
    use OperatorMode::{Assist, Auto, Off};
    use RuleMode::{Act, Never, Suggest};
    let stage = completed();
    let queued = Queued {
        count: 3,
        trusted: 2,
        anew: (2, 3),
        first: vec!["ada on a.rs:7".into(), "bo on the whole change".into()],
        print: "3 x".into(),
    };
    let seen = RepoSeen { dirt: None, queued: Some(queued), ..dirty("1") };
    for (rule, git, reviews, expected) in [
        (None, Auto, ReviewMode::Auto, Some(Action::Suggest)),
        (Some(Act), Auto, ReviewMode::Assist, Some(Action::Suggest)),
        (Some(Act), Assist, ReviewMode::Auto, Some(Action::Act)),
        (Some(Act), Off, ReviewMode::Auto, None),
        (Some(Suggest), Auto, ReviewMode::Auto, Some(Action::Suggest)),
        (Some(Never), Auto, ReviewMode::Auto, None),
    ] {
        let rules = rule.map(|rule| ("review_feedback_ready".to_owned(), rule)).into_iter().collect();
        let measure = Measure { rules, ..measure(Off) };
        let found = conclude_by(&stage, &seen, &git_pr(git, reviews), &measure);
        assert_eq!(found.as_ref().map(|found| found.decision.action), expected, "{rule:?} {git:?} {reviews:?}");
        let Some(Conclusion { decision, call, .. }) = found else { continue };
        assert_eq!((decision.rule, decision.cause.as_str(), call), (10, "feedback 3 x", None));
        let said = "reviewers made 3 remarks on repo that no agent was told of: ada on a.rs:7, bo on the whole change and 1 more";
        let acts = decision.action == Action::Act;
        let more = if acts { "; one remark of strangers not put to agents by rule" } else { "" };
        assert_eq!(decision.reason, format!("{said}{more}"));
    }
    let auto = git_pr(Auto, ReviewMode::Auto);
    // Neither for ever nor for strangers, where nobody has looked.
    let act = Measure { rules: [("review_feedback_ready".to_owned(), Act)].into(), ..measure(Off) };
    let decision = |trusted, anew| {
        let queued = seen.queued.clone().map(|queued| Queued { trusted, anew, ..queued });
        conclude_by(&stage, &RepoSeen { queued, ..seen.clone() }, &auto, &act).map(|found| found.decision).unwrap()
    };
    assert_eq!(decision(1, (2, 3)).action, Action::Act);
    for (trusted, anew, why) in [(1, (3, 3), "agents have begun anew 3 times"), (0, (0, 3), "of nobody who may write")]
    {
        let decision = decision(trusted, anew);
        assert!(decision.action == Action::Suggest && decision.reason.contains(why), "{decision:?}");
    }
    let ahead = Some(Ahead { commits: 2, head: "abc".into(), request: None });
    let rule = |seen: &RepoSeen| conclude_by(&stage, seen, &auto, &measure(Off)).map(|found| found.decision.rule);
    assert_eq!(rule(&RepoSeen { ahead: ahead.clone(), ..seen.clone() }), Some(9));
    assert_eq!(rule(&RepoSeen { ahead, dirt: dirty("1").dirt, ..seen.clone() }), Some(8));
    assert_eq!(rule(&RepoSeen { queued: None, ..seen }), None);
}

#[test]
fn d24_only_completed_runs_are_looked_into_and_failed_ones_are_called_to() {
    let mut stage = completed();
    for status in RunStatus::ALL {
        stage.put_run(status);
        let found = conclude(&stage, &dirty("1"), OperatorMode::Auto, &measure(OperatorMode::Off));
        assert_eq!(found.is_some(), status == RunStatus::Completed, "{status}");
    }
}

#[test]
fn what_was_tried_in_vain_calls_once_and_is_tried_again_after_another_change_or_a_while() {
    let stage = completed();
    let act = by_rule(OperatorMode::Off, Some(RuleMode::Act));
    let first = conclude(&stage, &dirty("1"), OperatorMode::Auto, &act).unwrap();
    let vain = failed(first, "a hook said no", &act, stage.now());
    assert_eq!((vain.decision.action, vain.call.unwrap().0), (Action::Escalate, Kind::NotActed));
    let seen = RepoSeen { last: Some(vain.decision.clone()), ..dirty("1") };
    let again = conclude(&stage, &seen, OperatorMode::Auto, &act).unwrap();
    assert!(again.decision.same_as(&vain.decision) && again.decision.reason == "a hook said no", "{again:?}");
    let other = RepoSeen { dirt: dirty("2").dirt, ..seen.clone() };
    assert_eq!(conclude(&stage, &other, OperatorMode::Auto, &act).unwrap().decision.action, Action::Act);
    let due = vain.decision.due_at.unwrap();
    let run = stage.scene.runs.get(RUN).unwrap();
    let at = |now| {
        work(run, std::slice::from_ref(&seen), &git_pr(OperatorMode::Auto, ReviewMode::Assist), &act, now)
            .remove(0)
            .decision
            .action
    };
    assert_eq!((at(due.minus(Duration::from_secs(1))), at(due)), (Action::Escalate, Action::Act));
    // Whoever offers only has nothing to do with that.
    let offers = conclude(&stage, &seen, OperatorMode::Assist, &act).unwrap();
    assert_eq!(offers.decision.action, Action::Suggest);
}

fn tell(stage: &mut Stage, seen: &RepoSeen, ids: &str) -> Vec<Event> {
    let found = conclude(stage, seen, OperatorMode::Assist, &measure(OperatorMode::Off)).unwrap();
    stage.give(operator(), None, &concluded(found, ids)).unwrap()
}

fn settle(id: &str, wish: SuggestionWish) -> Command {
    Command::Suggestion { suggestion_id: id.into(), wish }
}

#[test]
fn a_dismissed_change_is_not_offered_again_but_another_is_and_one_that_failed_is_too() {
    let mut stage = completed();
    assert_eq!(tell(&mut stage, &dirty("1"), "1").len(), 2, "decided and suggested");
    assert!(tell(&mut stage, &dirty("1"), "x").is_empty(), "it stands");
    stage.must(&settle("sug-1", SuggestionWish::Dismiss));
    assert!(tell(&mut stage, &dirty("1"), "x").is_empty(), "a human does not want it");
    assert_eq!(tell(&mut stage, &dirty("2"), "2").len(), 2);
    let done = stage.must(&settle("sug-2", SuggestionWish::Accept { cooldown_until: None }));
    assert!(matches!(done[1].fact, Fact::OperatorActed { intent: Intent::CommitReady, .. }), "{done:?}");
    // Accepted and there all the same: it did not come through.
    assert_eq!(tell(&mut stage, &dirty("2"), "3").len(), 1);
    let gone = SuggestionWish::Withdraw { reason: "nothing is left".into() };
    stage.must(&settle("sug-3", gone.clone()));
    assert!(stage.must(&settle("sug-3", gone)).is_empty());
    assert_eq!(stage.scene.suggestions.get("sug-3").unwrap().state, SuggestionState::Withdrawn);
    // What takes the run out of completed takes the offer along.
    tell(&mut stage, &dirty("4"), "4");
    stage.must(&agent("a", restart(false)));
    assert_eq!(stage.scene.suggestions.get("sug-4").unwrap().state, SuggestionState::Withdrawn);
    assert_eq!(stage.scene.escalations.len(), 0, "what was handed on by hand is not unheeded");
}

#[test]
fn a_call_to_a_commit_that_failed_ends_with_the_run_being_taken_up_again() {
    let mut stage = completed();
    let act = by_rule(OperatorMode::Off, Some(RuleMode::Act));
    for cause in ["1", "2"] {
        let found = conclude(&stage, &dirty(cause), OperatorMode::Auto, &act).unwrap();
        let vain = failed(found, &format!("hook {cause}"), &act, stage.now());
        stage.give(operator(), None, &concluded(vain, cause)).unwrap();
    }
    let calls: Vec<_> = stage.scene.escalations.iter().cloned().collect();
    assert_eq!((calls.len(), calls[0].reason.as_str(), calls[0].state), (1, "hook 2", EscalationState::Open));
    stage.must(&agent("a", restart(false)));
    assert_eq!(stage.scene.escalations.iter().next().unwrap().state, EscalationState::Resolved);
}

fn suggestions(world: &World) -> Vec<Value> {
    world.ask(&["suggestions", "list", "--open"])["suggestions"].as_array().unwrap().clone()
}

fn offer(world: &World, not: &str) -> Value {
    let other = |offer: &Value| offer["intent"] == "commit_ready" && offer["suggestion_id"] != not;
    wait_for("the suggestion", PATIENCE, || suggestions(world).into_iter().find(other))
}

fn rules(more: Value) -> Value {
    let mut policy = json!({ "operator": { "interval_seconds": 1 } });
    crate::world::merge(&mut policy, more);
    policy
}

/// What tells the work that is left from another change.
fn print_of(world: &World, run: &str) -> String {
    let path = world.tree(run);
    let mut changes = Git::new(world.root.join("locks")).status(&path).unwrap();
    changes.retain(|change| !change.path.starts_with("ttmp"));
    let path = path.to_str().unwrap().to_owned();
    let tree = Worktree { repo: "shop".into(), path, branch: "b".into(), base: "main".into(), start: "0".into() };
    metawsm::services::committing::dirt(&tree, &changes).unwrap().print
}

fn subjects(world: &World, tree: &Path) -> Vec<String> {
    world.git(tree, &["log", "--format=%s", "main..HEAD"]).lines().map(str::to_owned).collect()
}

#[test]
fn d24_what_a_completed_run_left_is_offered_and_accepting_commits_what_is_there_then() {
    let (world, run) = left(rules(json!({})));
    let tree = world.tree(&run);
    let _live = world.spawn(&["--headless"]);
    let first = offer(&world, "");
    let reason = first["reason"].as_str().unwrap();
    assert!(reason.starts_with("4 files are not committed in shop: ") && !reason.contains("ttmp"), "{reason}");
    let explained = world.metawsm(&["explain", "run", &run]).is(0).stdout;
    assert!(explained.contains("suggest commit_ready"), "{explained}");
    // A human commits by hand, and what is offered then is nothing any more.
    world.git(&tree, &["add", "-A"]);
    world.git(&tree, &["commit", "-qm", "By hand"]);
    let id = first["suggestion_id"].as_str().unwrap();
    let error = world.metawsm(&["suggestions", "accept", id, "--json"]).is(4).error();
    assert!(error["message"].as_str().unwrap().contains("withdrawn"), "{error}");
    std::fs::write(tree.join("later"), "1\n").unwrap();
    let second = offer(&world, id);
    // A check that is not passed keeps the offer open.
    std::fs::write(tree.join(".env"), "S=1\n").unwrap();
    let second = second["suggestion_id"].as_str().unwrap();
    world.metawsm(&["suggestions", "accept", second]).is(4);
    assert_eq!(suggestions(&world).len(), 1);
    std::fs::remove_file(tree.join(".env")).unwrap();
    std::fs::write(tree.join("later"), "2\n").unwrap();
    let accepted = world.ask(&["suggestions", "accept", second]);
    assert_eq!(
        (&accepted["suggestion"]["state"], &accepted["commits"][0]["repo"]),
        (&json!("accepted"), &json!("shop"))
    );
    assert_eq!(subjects(&world, &tree)[..2], [format!("T-1: apply {run} updates"), "By hand".to_owned()]);
    assert_eq!(world.git(&tree, &["show", "HEAD:later"]), "2");
    let explained = world.metawsm(&["explain", "run", &run]).is(0).stdout;
    assert!(explained.contains("(it has changed since)"), "{explained}");
    let report = world.metawsm(&["report"]).is(0).stdout;
    assert!(report.contains("would have committed what was left 2 times (1 accepted, 1 withdrawn)"), "{report}");
    let events = world.verified();
    let place = |what: &str, own: bool| {
        let fits = |event: &&Value| event["event_type"] == what && (!own || event["payload"]["own"] == false);
        events.iter().filter(fits).map(|event| event["seq"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let (acted, committed) = (place("operator.acted", false), place("git.committed", true));
    assert!(acted.len() == 1 && committed.len() == 1 && acted[0] < committed[0], "{acted:?} {committed:?}");
}

#[test]
fn what_was_accepted_and_did_not_come_through_is_told_until_it_is_done() {
    let (world, run) = left(rules(json!({})));
    hook(&world, "pre-commit", "echo 'not on fridays' >&2; exit 1");
    let _live = world.spawn(&["--headless"]);
    let id = offer(&world, "")["suggestion_id"].as_str().unwrap().to_owned();
    world.metawsm(&["suggestions", "accept", &id]).is(6);
    let calls = || world.ask(&["escalations", "--open"])["escalations"].as_array().unwrap().clone();
    let call = wait_for("the call", PATIENCE, || calls().pop());
    assert_eq!(call["kind"], "not_acted");
    let reason = call["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("commit_ready was accepted and not done: ") && reason.contains("not on fridays"),
        "{reason}"
    );
    hook(&world, "pre-commit", "exit 0");
    world.ask(&["commit", "--run-id", &run]);
    wait_for("the end of the call", PATIENCE, || calls().is_empty().then_some(()));
    world.verified();
}

#[test]
fn by_rule_it_is_committed_and_a_hook_that_says_no_calls_once_until_something_changes() {
    let more = json!({ "git_pr": { "mode": "auto" }, "operator": { "rules": { "commit_ready": "act" } } });
    let (world, run) = left(rules(more));
    let tree = world.tree(&run);
    let tried = world.root.join("tried");
    // What it changes itself, each time, is no other change.
    let rewrites = "date +%s%N > deep/er/file; git add deep/er/file";
    let says_no = format!("{rewrites}; echo tried >> {}; echo 'not on fridays' >&2; exit 1", tried.display());
    hook(&world, "pre-commit", &says_no);
    let live = world.spawn(&["--headless"]);
    let calls = || world.ask(&["escalations", "--open"])["escalations"].as_array().unwrap().clone();
    let call = wait_for("the call", PATIENCE, || calls().pop());
    assert_eq!(
        (&call["kind"], &call["workspace"]),
        (&json!("not_acted"), &world.ask(&["status"])["run"]["workspaces"][0]["name"])
    );
    assert!(call["reason"].as_str().unwrap().contains("not on fridays"), "{call}");
    assert_eq!(call["cause"].as_str().unwrap(), format!("change {}", print_of(&world, &run)));
    world.git(&tree, &["add", "-A", "deep"]);
    world.git(&tree, &["reset", "-q"]);
    std::fs::File::open(tree.join("README")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(call["cause"].as_str().unwrap(), format!("change {}", print_of(&world, &run)), "the same is there");
    // The next supervisor knows that as well.
    drop(live);
    let _next = world.spawn(&["--headless"]);
    let seen = |word: &str| world.metawsm(&["events", "--type", word]).is(0).lines();
    std::fs::write(world.root.join("home/shop/.git/hooks/pre-commit"), "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::write(tree.join("more"), "1\n").unwrap();
    let commits = |own: bool| {
        let mut commits = seen("git.committed");
        commits.retain(|event| event["payload"]["own"] == own);
        commits
    };
    let made = wait_for("the commit", PATIENCE, || commits(false).pop());
    wait_for("the end of the call", PATIENCE, || calls().is_empty().then_some(()));
    assert_eq!(std::fs::read_to_string(tried).unwrap().lines().count(), 1, "it was tried once");
    assert_eq!(subjects(&world, &tree)[0], format!("T-1: apply {run} updates"));
    assert_eq!(seen("operator.acted").len(), 2);
    assert_eq!((commits(false).len(), &made["actor_type"]), (1, &json!("operator")));
    assert!(suggestions(&world).is_empty());
    world.verified();
}

#[test]
fn a_supervisor_killed_within_a_commit_leaves_one_story_and_the_next_ends_it() {
    let more = json!({ "git_pr": { "mode": "auto" }, "operator": { "rules": { "commit_ready": "act" } } });
    let (world, run) = left(rules(more));
    let tree = world.tree(&run);
    let pid = world.root.join("hook");
    hook(&world, "pre-commit", &format!("echo $$ > {}; exec sleep 60", pid.display()));
    let mut live = world.spawn(&["--headless"]);
    let pid: u32 = wait_for("the hook", PATIENCE, || std::fs::read_to_string(&pid).ok()?.trim().parse().ok());
    live.signal("KILL");
    assert_eq!(live.ended(), -9);
    crate::harness::signal(pid, "KILL");
    let told = |word: &str| world.metawsm(&["events", "--type", word]).is(0).lines();
    assert_eq!((told("operator.acted").len(), told("escalation.*").len()), (1, 0));
    hook(&world, "pre-commit", "exit 0");
    let _next = world.spawn(&["--headless"]);
    let committed = || told("git.committed").iter().filter(|event| event["payload"]["own"] == false).count();
    wait_for("the commit", PATIENCE, || (committed() == 1).then_some(()));
    assert_eq!((told("operator.acted").len(), committed()), (2, 1), "begun twice, done once");
    assert_eq!(world.git(&tree, &["status", "--porcelain"]), "");
    assert_eq!(told("escalation.*").len(), 0);
    world.verified();
}

#[test]
fn a_broken_repository_is_told_of_once_and_hides_no_other() {
    let world = World::with(&[("coder", "obeys.sh")], rules(json!({})));
    let other = world.shop().with_file_name("barn");
    world.git(&world.root, &["clone", "-q", world.shop().to_str().unwrap(), other.to_str().unwrap()]);
    let run = world.ask(&["run", "--ticket", "T-1", "--repos", "barn,shop", "--detach"])["run"]["run_id"].clone();
    let run = run.as_str().unwrap();
    world.order("coder", 1, "\"$METAWSM_BIN\" forum signal --type completion --summary left > /dev/null");
    world.until_run(run, "completed");
    std::fs::write(world.tree(run).join("later"), "1\n").unwrap();
    std::fs::write(world.tree(run).with_file_name("barn").join(".git"), "gone\n").unwrap();
    let _live = world.spawn(&["--headless"]);
    let found = offer(&world, "");
    assert_eq!(found["reason"], "one file is not committed in shop: later");
    std::fs::write(world.tree(run).join("second"), "2\n").unwrap();
    world.metawsm(&["suggestions", "dismiss", found["suggestion_id"].as_str().unwrap()]).is(0);
    offer(&world, found["suggestion_id"].as_str().unwrap());
    let log = std::fs::read_to_string(world.home().join(".metawsm/logs/metawsm.log")).unwrap();
    let told = log.lines().filter(|line| line.contains(&format!("worktrees of run {run}: barn: ")));
    assert_eq!(told.count(), 1, "{log}");
}

#[test]
fn what_was_decided_about_a_worktree_stands_as_long_as_its_offer_or_call_does() {
    let mut stage = completed();
    let seen = dirty("1");
    let Conclusion { about, decision, .. } =
        conclude(&stage, &seen, OperatorMode::Assist, &measure(OperatorMode::Off)).unwrap();
    let last = LastDecision { about, at: stage.now(), decision };
    let stands = |stage: &Stage, last: &LastDecision| {
        let offers: Vec<_> = stage.scene.suggestions.iter().cloned().collect();
        let calls: Vec<_> = stage.scene.escalations.iter().cloned().collect();
        work_stands(stage.scene.runs.get(RUN).unwrap(), last, &offers, &calls)
    };
    assert!(!stands(&stage, &last), "nothing is offered");
    tell(&mut stage, &seen, "1");
    assert!(stands(&stage, &last));
    let mut other = last.clone();
    other.decision.cause = "change 2".into();
    assert!(!stands(&stage, &other));
    let id = stage.scene.suggestions.iter().next().unwrap().suggestion_id.clone();
    stage.must(&settle(&id, SuggestionWish::Withdraw { reason: "done".into() }));
    assert!(!stands(&stage, &last));
}
