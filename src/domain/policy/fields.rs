//! The one table of policy keys. The default document, validation, detection of unknown keys, JSON Schema and
//! `policy show` all come from it, so a key cannot exist in one of them and be missing in another.
//!
//! Paths: `[]` stands for an element of a list, `*` for a name chosen by the user.

use super::rules::{Kind, Text};
use serde_json::{Map, Value};
use std::sync::OnceLock;

/// What an absent key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The key has to be given (inside an element of a list or map).
    Required,
    /// The key may be absent; the doc says what that means.
    Absent,
    /// This JSON text is its value.
    Json(&'static str),
}

impl Preset {
    /// The default value, if there is one.
    pub fn value(self) -> Option<Value> {
        match self {
            Preset::Required | Preset::Absent => None,
            Preset::Json(text) => serde_json::from_str(text).ok(),
        }
    }
}

/// One key of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Dotted path with `[]` and `*`.
    pub path: &'static str,
    /// Type and rule of the value.
    pub kind: Kind,
    /// What an absent key means.
    pub preset: Preset,
    /// Unit of numbers, else empty.
    pub unit: &'static str,
    /// The range that makes sense to most; a value outside is only warned about. 0 is never warned about.
    pub usual: Option<(i64, i64)>,
    /// One sentence for the reader of the file.
    pub doc: &'static str,
}

const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;
const MODE: Kind = Kind::Choice(&["off", "assist", "auto"]);
const CHECKS: Kind = Kind::Choices(&["tests", "forbidden_files", "ticket_workflow", "clean_tree"]);
const RUNNER_ARGV: Kind = Kind::Template(super::super::runner::PLACEHOLDERS);
const TEXTS: Kind = Kind::Texts(Text::NonBlank);

const fn seconds(min: i64) -> Kind {
    Kind::Int(min, YEAR)
}

/// Braces keep rustfmt from taking the rows apart: one key, one row.
macro_rules! fields {
    ($($path:literal $kind:expr, $preset:expr, $unit:literal $(, $low:literal - $high:literal)?; $doc:literal)*) => {
        /// All keys, in the order in which they are written.
        pub const FIELDS: &[Field] = &[$(Field {
            path: $path, kind: $kind, preset: $preset, unit: $unit, usual: fields!(@usual $($low $high)?), doc: $doc,
        }),*];
    };
    (@usual) => { None };
    (@usual $low:literal $high:literal) => { Some(($low, $high)) };
}

use Preset::{Absent, Json, Required};

fields! {
"version" Kind::Int(1, 3), Json("3"), ""; "Version of this file's format."

"workspace.provider" Kind::Choice(&["git", "wsm"]), Json(r#""git""#), ""; "What makes workspaces: git worktrees, or the wsm program."
"workspace.root" Kind::Text(Text::NonBlank), Json(r#"".metawsm/workspaces""#), ""; "Where workspaces are made; relative to the home."
"workspace.default_strategy" Kind::Choice(&["create", "fork", "reuse"]), Json(r#""create""#), ""; "How a run gets its workspace when no option says so."
"workspace.branch_prefix" Kind::Text(Text::RefName), Json(r#""task""#), ""; "First part of the name of a run's branch."
"workspace.base_branch" Kind::Text(Text::RefName), Json(r#""main""#), ""; "Branch that runs start from and merge into."
"workspace.setup" Kind::Argvs, Json("[]"), ""; "Commands run once in each new worktree, one after another."
"workspace.copy" Kind::Texts(Text::Glob), Json("[]"), ""; "Globs of untracked files (such as .env) copied from the repo into each new worktree."

"repos" Kind::Map(Text::Name), Json("{}"), ""; "Repositories by name; a bare string is the path."
"repos.*" Kind::Shorthand("path"), Absent, ""; "One repository."
"repos.*.path" Kind::Text(Text::NonBlank), Required, ""; "Its checkout; relative to the home."
"repos.*.base" Kind::Text(Text::RefName), Absent, ""; "Its base branch; absent: workspace.base_branch."

"docs.provider" Kind::Choice(&["files", "docmgr"]), Json(r#""files""#), ""; "What writes ticket docs: metawsm itself, or the docmgr program."
"docs.authority_mode" Kind::Choice(&["workspace_active"]), Json(r#""workspace_active""#), ""; "Whose copy of the ticket docs holds while a run is open."
"docs.seed_mode" Kind::Choice(&["none", "copy_from_repo_on_start"]), Json(r#""copy_from_repo_on_start""#), ""; "Whether ticket docs are copied into a new workspace."
"docs.stale_warning_seconds" seconds(1), Json("900"), "seconds", 60 - 86400; "Age after which synced docs are called stale."
"docs.api.request_timeout_seconds" Kind::Int(1, 600), Json("3"), "seconds", 1 - 30; "Time limit of one request to a docs endpoint."
"docs.api.workspace_endpoints" Kind::Objects(0), Json("[]"), ""; "Docs servers of workspaces."
"docs.api.workspace_endpoints[].name" Kind::Text(Text::NonBlank), Required, ""; "Name, unique across both lists."
"docs.api.workspace_endpoints[].base_url" Kind::Text(Text::HttpUrl), Required, ""; "Address of its API."
"docs.api.workspace_endpoints[].web_url" Kind::Text(Text::HttpUrlOrEmpty), Json(r#""""#), ""; "Address for people; empty: none."
"docs.api.workspace_endpoints[].repo" Kind::Text(Text::NonBlank), Required, ""; "Repository it serves."
"docs.api.workspace_endpoints[].workspace" Kind::Text(Text::NonBlank), Required, ""; "Workspace it serves."
"docs.api.repo_endpoints" Kind::Objects(0), Json("[]"), ""; "Docs servers of repositories."
"docs.api.repo_endpoints[].name" Kind::Text(Text::NonBlank), Required, ""; "Name, unique across both lists."
"docs.api.repo_endpoints[].base_url" Kind::Text(Text::HttpUrl), Required, ""; "Address of its API."
"docs.api.repo_endpoints[].web_url" Kind::Text(Text::HttpUrlOrEmpty), Json(r#""""#), ""; "Address for people; empty: none."
"docs.api.repo_endpoints[].repo" Kind::Text(Text::NonBlank), Required, ""; "Repository it serves."

"tmux.socket" Kind::Text(Text::Socket), Json(r#""metawsm-{db}""#), ""; "Socket name or absolute path of our tmux server; {db} is 8 hex of the database id; \"default\" is your own server."
"tmux.session_pattern" Kind::Text(Text::SessionPattern), Json(r#""{agent}-{workspace}""#), ""; "Name of an agent's session, from {agent} {workspace} {run} {ticket}."
"tmux.stop_grace_seconds" Kind::Int(0, 3600), Json("10"), "seconds", 1 - 120; "Time between TERM and KILL when an agent is stopped."
"tmux.history_lines" Kind::Int(100, 1_000_000), Json("5000"), "lines", 1000 - 100000; "Scrollback kept per session."

"execution.step_retries" Kind::Int(0, 20), Json("1"), "attempts", 0 - 5; "Extra attempts of a failed step."
"execution.max_parallel" Kind::Int(1, 256), Json("4"), "tickets", 1 - 16; "Tickets whose steps run at the same time."
"execution.step_timeout_seconds" seconds(1), Json("300"), "seconds", 10 - 7200; "Time limit of one step."

"health.idle_seconds" seconds(0), Json("300"), "seconds", 30 - 7200; "Silence after which an agent is idle; 0: never."
"health.activity_stalled_seconds" seconds(0), Json("900"), "seconds", 60 - 86400; "Silence after which an agent is stalled, at least idle_seconds; 0: never."
"health.progress_stalled_seconds" seconds(0), Json("1200"), "seconds", 60 - 86400; "Time without progress (git, forum, signals) after which an agent is stalled; 0: never."
"health.observe_ms" Kind::Int(100, 60_000), Json("1000"), "milliseconds", 250 - 10000; "Time between two looks at the agents."
"health.input_wait_seconds" seconds(0), Json("60"), "seconds", 10 - 3600; "How long an agent may wait for input in its terminal before that is escalated."

"close.require_clean_git" Kind::Bool, Json("true"), ""; "Refuse to close a run while a worktree has uncommitted changes."

"operator.interval_seconds" Kind::Int(1, DAY), Json("15"), "seconds", 5 - 300; "Time between two evaluations of the rules when nothing changes."
"operator.unhealthy_confirmations" Kind::Int(1, 1000), Json("2"), "observations", 1 - 10; "Intervals an agent must be unhealthy before a rule acts."
"operator.restart_budget" Kind::Int(1, 1000), Json("3"), "restarts", 1 - 20; "Restarts an agent gets by itself."
"operator.restart_cooldown_seconds" seconds(1), Json("60"), "seconds", 10 - 3600; "Wait before the second restart; doubles with each one, at most 16 times."
"operator.healthy_reset_seconds" seconds(1), Json("1800"), "seconds", 300 - 86400; "Unbroken health after which used restarts are forgotten."
"operator.stale_run_age_seconds" seconds(1), Json("3600"), "seconds", 300 - 604800; "Time without a living agent after which a run is stopped."
"operator.rules" Kind::Map(Text::Intent), Json("{}"), ""; "What a rule may do, by intent; absent: act in the modes off and auto, suggest in assist. Commits and pull requests are suggested, unless it says act and git_pr.mode is auto."
"operator.rules.*" Kind::Choice(&["act", "suggest", "never"]), Absent, ""; "act, suggest or never."
"operator.llm.mode" MODE, Json(r#""assist""#), ""; "off: rules act; assist: rules only suggest; auto: rules act and an LLM may escalate."
"operator.llm.command" Kind::Argv(1), Json(r#"["codex"]"#), ""; "Program of the adviser."
"operator.llm.args" Kind::Template(super::super::runner::ADVISER_PLACEHOLDERS), Json("[]"), ""; "Its arguments, with {prompt} {prompt_file} {model} {max_tokens}; empty: the one-shot arguments of the runner of that name."
"operator.llm.model" Kind::Text(Text::Any), Json(r#""""#), ""; "Model of the adviser; empty: the program's own choice."
"operator.llm.timeout_seconds" Kind::Int(1, 3600), Json("30"), "seconds", 5 - 300; "Time limit of one question to the adviser."
"operator.llm.max_tokens" Kind::Int(1, 1_000_000), Json("400"), "tokens", 100 - 8000; "Value of {max_tokens} in args."
"operator.llm.min_interval_seconds" Kind::Int(0, DAY), Json("120"), "seconds", 15 - 3600; "Shortest time between two questions about one run."
"operator.llm.min_confidence" Kind::Number(0.0, 1.0), Json("0.5"), "probability"; "Advice below this confidence is rejected."

"forum.enabled" Kind::Bool, Json("true"), ""; "false: agents are not told about the forum and forum writes are refused."
"forum.bus" Kind::Choice(&["local", "redis"]), Json(r#""local""#), ""; "Whether events also go to Redis."
"forum.topics.command_prefix" Kind::Text(Text::NonBlank), Json(r#""forum.commands""#), ""; "First part of the topics of commands."
"forum.topics.event_prefix" Kind::Text(Text::NonBlank), Json(r#""forum.events""#), ""; "First part of the topics of events."
"forum.topics.integration_prefix" Kind::Text(Text::NonBlank), Json(r#""forum.integration""#), ""; "First part of the topics of integrations (docs sync)."
"forum.redis.url" Kind::Text(Text::RedisUrl), Json(r#""redis://127.0.0.1:6379/0""#), ""; "Address of the Redis server."
"forum.redis.stream" Kind::Text(Text::NonBlank), Json(r#""metawsm-forum""#), ""; "First part of the names of its streams."
"forum.redis.group" Kind::Text(Text::NonBlank), Json(r#""metawsm-forum""#), ""; "Consumer group."
"forum.redis.consumer" Kind::Text(Text::NonBlank), Json(r#""operator""#), ""; "Consumer name in the group."
"forum.redis.max_len" Kind::Int(1, 100_000_000), Json("100000"), "entries", 1000 - 10000000; "Length at which a stream is trimmed."
"forum.sla.escalation_minutes" Kind::Int(1, 525_600), Json("30"), "minutes", 1 - 1440; "Time a question may wait for an answer before it is escalated."
"forum.docs_sync.enabled" Kind::Bool, Json("true"), ""; "Write answered questions into the ticket's changelog.md."

"outbox.max_attempts" Kind::Int(1, 1000), Json("8"), "attempts", 3 - 20; "Attempts after which a side effect is given up and escalated."
"outbox.keep_hours" Kind::Int(1, 87_600), Json("72"), "hours", 1 - 720; "How long rows that were sent are kept."

"notify.command" Kind::Argv(0), Json("[]"), ""; "Program run when something needs a human, with METAWSM_* in its environment; empty: none."
"notify.bell" Kind::Bool, Json("true"), ""; "Ring the terminal's bell."
"notify.desktop" Kind::Bool, Json("true"), ""; "Send a desktop notification."

"git_pr.mode" MODE, Json(r#""assist""#), ""; "Commits and pull requests by rules. off: none; assist: suggested; auto: made where operator.rules says act."
"git_pr.credential_mode" Kind::Choice(&["local_user_auth"]), Json(r#""local_user_auth""#), ""; "Whose credentials push and open pull requests."
"git_pr.branch_template" Kind::Text(Text::BranchTemplate), Json(r#""{ticket}/{repo}/{run}""#), ""; "Name of the branch that is pushed, from {ticket} {repo} {run}."
"git_pr.require_all" Kind::Bool, Json("true"), ""; "Every required check must pass; false: one that passes is enough."
"git_pr.required_checks" CHECKS, Json(r#"["tests", "forbidden_files", "ticket_workflow", "clean_tree"]"#), ""; "Checks before a commit or pull request."
"git_pr.test_commands" TEXTS, Json("[]"), ""; "Shell lines of the check `tests`, each run by sh -c."
"git_pr.forbidden_file_patterns" TEXTS, Json(r#"[".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa", "id_ed25519"]"#), ""; "Globs of files that may not be committed."
"git_pr.allowed_repos" TEXTS, Json("[]"), ""; "Repositories that may be committed in and get pull requests; empty: all."
"git_pr.default_labels" TEXTS, Json("[]"), ""; "Labels of new pull requests."
"git_pr.default_reviewers" TEXTS, Json("[]"), ""; "Reviewers of new pull requests."
"git_pr.review_feedback.enabled" Kind::Bool, Json("false"), ""; "Read review comments of open pull requests."
"git_pr.review_feedback.mode" Kind::Choice(&["assist", "auto"]), Json(r#""assist""#), ""; "assist: feedback is suggested; auto: it is dispatched to the agents."
"git_pr.review_feedback.include_review_comments" Kind::Only(true), Json("true"), ""; "Review comments are part of the feedback; only true."
"git_pr.review_feedback.ignore_authors" TEXTS, Json("[]"), ""; "Authors whose comments are left out."
"git_pr.review_feedback.max_items_per_sync" Kind::Int(1, 10_000), Json("50"), "items", 10 - 500; "New comments taken at one sync."
"git_pr.review_feedback.auto_dispatch_cap_per_interval" Kind::Int(1, 1000), Json("1"), "dispatches", 1 - 10; "Dispatches at most per operator interval."
"git_pr.review_feedback.sync_seconds" Kind::Int(0, 86_400), Json("300"), "seconds", 60 - 3600; "Time between two syncs by the supervisor; 0: only by review sync."

"agent_profiles" Kind::Objects(1), Json(r#"[{"name": "default-shell", "runner": "shell", "runner_options": {"command": ["sh", "-i"]}, "health": {"idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 0}}]"#), ""; "How agents are started."
"agent_profiles[].name" Kind::Text(Text::Name), Required, ""; "Name of the profile."
"agent_profiles[].runner" Kind::Text(Text::NonBlank), Required, ""; "Runner: shell, codex, claude, gemini, opencode, aider, or one of `runners`."
"agent_profiles[].base_prompt" Kind::Text(Text::Any), Json(r#""""#), ""; "What the agent is told first; codex needs one."
"agent_profiles[].skills" TEXTS, Json("[]"), ""; "Skills the agent must use, by name."
"agent_profiles[].runner_options.command" Kind::Argv(1), Absent, ""; "Command of the runner shell."
"agent_profiles[].runner_options.full_auto" Kind::Bool, Json("false"), ""; "Start codex so that it never asks for approval."
"agent_profiles[].runner_options.model" Kind::Text(Text::Any), Json(r#""""#), ""; "Model for the runner; empty: the program's own choice."
"agent_profiles[].completion" Kind::Choice(&["signal", "exit_zero", "either"]), Json(r#""either""#), ""; "What makes the agent done."
"agent_profiles[].deliver" Kind::Choice(&["none", "paste"]), Json(r#""none""#), ""; "Whether forum posts are typed into its session."
"agent_profiles[].mcp" Kind::Bool, Json("false"), ""; "Write the configuration of our MCP server into its workspace."
"agent_profiles[].may" Kind::Choices(&["run"]), Json("[]"), ""; "What it may do beyond the forum: run (run actions)."
"agent_profiles[].env" Kind::Map(Text::EnvName), Json("{}"), ""; "Its environment."
"agent_profiles[].env.*" Kind::Env, Absent, ""; "A value, or {\"from\": \"VAR\"} to take it from the starter's environment."
"agent_profiles[].health.idle_seconds" seconds(0), Absent, "seconds", 30 - 7200; "Instead of health.idle_seconds; 0: never."
"agent_profiles[].health.activity_stalled_seconds" seconds(0), Absent, "seconds", 60 - 86400; "Instead of health.activity_stalled_seconds; 0: never."
"agent_profiles[].health.progress_stalled_seconds" seconds(0), Absent, "seconds", 60 - 86400; "Instead of health.progress_stalled_seconds; 0: never."

"agents" Kind::Objects(1), Json(r#"[{"name": "agent", "profile": "default-shell"}]"#), ""; "The agents of a run when no option names others."
"agents[].name" Kind::Text(Text::Name), Required, ""; "Name of the agent."
"agents[].profile" Kind::Text(Text::NonBlank), Required, ""; "Its profile."

"runners" Kind::Map(Text::Name), Json("{}"), ""; "Agent programs, added to the built-in ones or overriding them key by key."
"runners.*.start" RUNNER_ARGV, Absent, ""; "Command that starts it, with {prompt} {prompt_file} {metawsm_dir} {git_dirs} {model} {session_id} {full_auto}."
"runners.*.resume" RUNNER_ARGV, Absent, ""; "Command that goes on with {session_id}; empty: it cannot."
"runners.*.one_shot" RUNNER_ARGV, Absent, ""; "Command that answers one {prompt} and ends; empty: it cannot."
"runners.*.conversation_files" TEXTS, Absent, ""; "Places ($NAME/… takes a variable of its environment) where it keeps a file for each conversation, named by its id."
"runners.*.conversation_list" RUNNER_ARGV, Absent, ""; "Command that lists its conversations as JSON: id, directory, created."
"runners.*.conversation_show" RUNNER_ARGV, Absent, ""; "Command that prints the conversation {session_id}."
"runners.*.full_auto" TEXTS, Absent, ""; "What {full_auto} stands for when the profile asks for it."
"runners.*.waiting_patterns" TEXTS, Absent, ""; "Regular expressions that fit on its last lines when it waits for a human at its terminal."
"runners.*.limit_patterns" TEXTS, Absent, ""; "Regular expressions that fit on its last lines when its model is out of reach or its limit is spent."
"runners.*.ready_patterns" TEXTS, Absent, ""; "Regular expressions that fit on its last lines when it takes typed text."
"runners.*.working_patterns" TEXTS, Absent, ""; "Regular expressions that fit on its last lines when it is at work."
"runners.*.home_column" Kind::Int(0, 1000), Absent, "column", 0 - 20; "Where its cursor stands while nothing is typed; elsewhere text is not added to what somebody else typed."
"runners.*.submit" Kind::Text(Text::NonBlank), Absent, ""; "tmux key that submits typed text."
"runners.*.submit_delay_ms" Kind::Int(0, 60_000), Absent, "milliseconds", 0 - 5000; "Wait between the text and that key."
"runners.*.untested" Kind::Bool, Absent, ""; "Nobody has tried this runner yet."
}

/// A key or section in the tree that the table's paths span.
#[derive(Debug, Default)]
pub struct Node {
    /// The row of the table; sections have none.
    pub field: Option<&'static Field>,
    /// Keys below, in the order of the table; `[]` is an element, `*` any name.
    pub children: Vec<(&'static str, Node)>,
}

impl Node {
    /// The child with this key.
    pub fn child(&self, key: &str) -> Option<&Node> {
        self.children.iter().find(|(name, _)| *name == key).map(|(_, node)| node)
    }

    /// Keys and sections, without the stand-ins `[]` and `*`.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.children.iter().map(|(name, _)| *name).filter(|name| *name != "[]" && *name != "*")
    }

    /// Whether filling this section would write anything.
    pub fn has_defaults(&self) -> bool {
        match self.field {
            Some(field) => matches!(field.preset, Preset::Json(_)),
            None => self.children.iter().any(|(name, node)| *name != "[]" && *name != "*" && node.has_defaults()),
        }
    }

    fn insert(&mut self, mut segments: std::vec::IntoIter<&'static str>, field: &'static Field) {
        let Some(segment) = segments.next() else {
            self.field = Some(field);
            return;
        };
        let at = self.children.iter().position(|(name, _)| *name == segment).unwrap_or_else(|| {
            self.children.push((segment, Node::default()));
            self.children.len() - 1
        });
        if let Some((_, child)) = self.children.get_mut(at) {
            child.insert(segments, field);
        }
    }
}

/// The segments of a table path: `a[].b` is `a`, `[]`, `b`.
pub fn segments(path: &'static str) -> Vec<&'static str> {
    path.split('.')
        .flat_map(|part| match part.strip_suffix("[]") {
            Some(list) => vec![list, "[]"],
            None => vec![part],
        })
        .collect()
}

/// The tree of all keys.
pub fn tree() -> &'static Node {
    static TREE: OnceLock<Node> = OnceLock::new();
    TREE.get_or_init(|| {
        let mut root = Node::default();
        for field in FIELDS {
            root.insert(segments(field.path).into_iter(), field);
        }
        root
    })
}

/// The row for a path of a document, such as `agents[0].name`; `None` for sections and unknown paths.
pub fn find(steps: &[super::merge::Step]) -> Option<&'static Field> {
    let mut node = tree();
    for step in steps {
        node = match step {
            super::merge::Step::Index(_) => node.child("[]")?,
            super::merge::Step::Key(key) => node.child(key).or_else(|| node.child("*"))?,
        };
    }
    node.field
}

/// The document with every key at its default.
pub fn default_document() -> Value {
    let mut document = Value::Object(Map::new());
    fill(tree(), &mut document);
    document
}

/// Adds the default of every absent key and puts keys into the order of the table. Keys that the table does not
/// know stay, at the end.
pub fn fill(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let mut old = std::mem::take(map);
            for (name, child) in &node.children {
                if *name == "*" || *name == "[]" {
                    continue;
                }
                let given = old.shift_remove(*name).or_else(|| missing(child));
                if let Some(mut given) = given {
                    fill(child, &mut given);
                    map.insert((*name).to_string(), given);
                }
            }
            for (key, mut rest) in old {
                if let Some(child) = node.child("*") {
                    fill(child, &mut rest);
                }
                map.insert(key, rest);
            }
        }
        Value::Array(list) => {
            if let Some(child) = node.child("[]") {
                list.iter_mut().for_each(|element| fill(child, element));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn missing(node: &Node) -> Option<Value> {
    match node.field {
        Some(field) => field.preset.value(),
        None => node.has_defaults().then(|| Value::Object(Map::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_json_and_paths_are_unique() {
        let paths: std::collections::BTreeSet<_> = FIELDS.iter().map(|field| field.path).collect();
        assert_eq!(paths.len(), FIELDS.len());
        for field in FIELDS {
            if let Preset::Json(text) = field.preset {
                assert!(serde_json::from_str::<Value>(text).is_ok(), "{}", field.path);
                assert_eq!(field.kind.broken(&serde_json::from_str(text).unwrap()), None, "{}", field.path);
            }
            assert!(field.doc.ends_with('.') && !field.doc.contains('\n'), "{}", field.path);
        }
    }

    #[test]
    fn numbers_have_a_unit_and_a_usual_range_that_holds_the_default() {
        for field in FIELDS.iter().filter(|f| f.path != "version") {
            match field.kind {
                Kind::Int(min, max) => {
                    let (low, high) = field.usual.expect(field.path);
                    assert!(!field.unit.is_empty() && min <= low && low < high && high <= max, "{}", field.path);
                    if let Some(default) = field.preset.value() {
                        assert!((low..=high).contains(&default.as_i64().unwrap()), "{}", field.path);
                    }
                }
                Kind::Number(..) => assert!(!field.unit.is_empty()),
                _ => assert!(field.unit.is_empty() && field.usual.is_none(), "{}", field.path),
            }
        }
    }

    #[test]
    fn filling_twice_changes_nothing() {
        let once = default_document();
        let mut twice = once.clone();
        fill(tree(), &mut twice);
        assert_eq!(once.to_string(), twice.to_string());
    }
}
