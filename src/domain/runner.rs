//! Runners: how an agent program is started, resumed, asked once, and what its screen says. They are data
//! (`assets/runners.json`), extended and overridden by the policy.
//!
//! A command is a template. Its arguments are filled one by one:
//! - An argument with a placeholder that has no value (no model, no session id, an empty prompt) drops out. When the
//!   argument is nothing but the placeholder, a flag right before it (`--model`, but not `--model=x`) drops out too.
//! - `{git_dirs}` repeats its argument, and the flag before it, once for each directory.
//! - `{full_auto}` alone becomes the runner's `full_auto` arguments when the profile asks for them, else nothing; a
//!   flag before it stays, for it has nothing to do with it.
//! - A prompt too long for an argument is replaced by a sentence that names the prompt file.

use super::policy::rules::placeholders;
use super::policy::{AgentProfile, LlmPolicy, RunnerPatch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The runner that starts the profile's own command.
pub const SHELL: &str = "shell";
/// Placeholders in the commands of runners.
pub const PLACEHOLDERS: &[&str] =
    &["prompt", "prompt_file", "metawsm_dir", "git_dirs", "model", "session_id", "full_auto"];
/// Placeholders in `operator.llm.args`.
pub const ADVISER_PLACEHOLDERS: &[&str] = &["prompt", "prompt_file", "model", "max_tokens"];
/// Longest prompt, in bytes, that is passed as an argument; Linux takes 128 KiB.
pub const PROMPT_ARGUMENT_MAX: usize = 96 * 1024;

/// What metawsm knows about an agent program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runner {
    /// Command that starts it, a template; empty for `shell`.
    pub start: Vec<String>,
    /// Command that goes on with a session id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Vec<String>>,
    /// Command that answers one prompt and ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_shot: Option<Vec<String>>,
    /// Where it keeps a file for each conversation, named by its id: the first that is an absolute path, or begins with
    /// a variable (`$NAME/…`) that is set in its environment.
    #[serde(default)]
    pub conversation_files: Vec<String>,
    /// Command that lists its conversations as JSON objects with `id`, `directory` and `created`, where it has no files.
    #[serde(default)]
    pub conversation_list: Vec<String>,
    /// Command that prints the one of a session id.
    #[serde(default)]
    pub conversation_show: Vec<String>,
    /// What `{full_auto}` stands for.
    #[serde(default)]
    pub full_auto: Vec<String>,
    /// Regular expressions that fit on the last lines of its screen when it waits for a human there; `^` and `$` are
    /// the ends of a line, `\z` the end of the screen, and the first line is `title: ` with the pane's title.
    #[serde(default)]
    pub waiting_patterns: Vec<String>,
    /// The same for: its model is out of reach or its limit is spent.
    #[serde(default)]
    pub limit_patterns: Vec<String>,
    /// The same for: its composer is there and takes text. A dialog above it is over.
    #[serde(default)]
    pub ready_patterns: Vec<String>,
    /// The same for: it is at work.
    #[serde(default)]
    pub working_patterns: Vec<String>,
    /// The column in which its cursor stands while its composer is empty, where that is always the same. Anywhere else
    /// somebody's words stand in it, which what is typed would join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_column: Option<u16>,
    /// tmux key that submits typed text.
    #[serde(default = "enter")]
    pub submit: String,
    /// Milliseconds between the text and that key.
    #[serde(default)]
    pub submit_delay_ms: u32,
    /// Nobody has tried it yet.
    #[serde(default)]
    pub untested: bool,
}

fn enter() -> String {
    "Enter".into()
}

/// What a template is filled with. Empty texts and lists count as absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaunchInputs<'a> {
    /// The agent's prompt.
    pub prompt: &'a str,
    /// File that holds the prompt.
    pub prompt_file: &'a str,
    /// The home's `.metawsm`, which the agent must be able to write.
    pub metawsm_dir: &'a str,
    /// Git directories of the worktrees, which lie outside the workspace.
    pub git_dirs: &'a [String],
    /// Model; `None`: the profile's.
    pub model: Option<&'a str>,
    /// Session id: chosen for a start, known for a resume.
    pub session_id: Option<&'a str>,
}

impl Runner {
    /// Lays the policy's keys over this runner; an empty `resume` or `one_shot` takes it away.
    pub fn apply(&mut self, patch: &RunnerPatch) {
        fn set<T: Clone>(into: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                *into = value.clone();
            }
        }
        let command = |from: &Option<Vec<String>>| from.as_ref().map(|c| Some(c.clone()).filter(|c| !c.is_empty()));
        set(&mut self.start, &patch.start);
        set(&mut self.resume, &command(&patch.resume));
        set(&mut self.one_shot, &command(&patch.one_shot));
        set(&mut self.conversation_files, &patch.conversation_files);
        set(&mut self.conversation_list, &patch.conversation_list);
        set(&mut self.conversation_show, &patch.conversation_show);
        set(&mut self.full_auto, &patch.full_auto);
        set(&mut self.waiting_patterns, &patch.waiting_patterns);
        set(&mut self.limit_patterns, &patch.limit_patterns);
        set(&mut self.ready_patterns, &patch.ready_patterns);
        set(&mut self.working_patterns, &patch.working_patterns);
        if patch.home_column.is_some() {
            self.home_column = patch.home_column;
        }
        set(&mut self.submit, &patch.submit);
        set(&mut self.submit_delay_ms, &patch.submit_delay_ms);
        set(&mut self.untested, &patch.untested);
        if self.submit.is_empty() {
            self.submit = enter();
        }
    }

    /// Whether a session id is chosen before the start, instead of read from the program later.
    pub fn chooses_session_id(&self) -> bool {
        self.start.iter().any(|argument| argument.contains("{session_id}"))
    }

    /// Whether a resumed conversation is given the prompt by its command. Elsewhere it is to be typed.
    pub fn resume_takes_prompt(&self) -> bool {
        self.resume.iter().flatten().any(|argument| argument.contains("{prompt}") || argument.contains("{prompt_file}"))
    }
}

fn builtins() -> &'static BTreeMap<String, Runner> {
    #[expect(clippy::expect_used, reason = "the asset is part of the program, and a test parses it")]
    fn parse() -> BTreeMap<String, Runner> {
        serde_json::from_str(include_str!("../../assets/runners.json")).expect("assets/runners.json holds runners")
    }
    static BUILTINS: OnceLock<BTreeMap<String, Runner>> = OnceLock::new();
    BUILTINS.get_or_init(parse)
}

/// The built-in runner of this name.
pub fn builtin(name: &str) -> Option<&'static Runner> {
    builtins().get(name)
}

/// Names of the built-in runners.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    builtins().keys().map(String::as_str)
}

/// The last part of a program's path.
pub fn program_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// The command that starts an agent. Runners without a template (`shell`) start the profile's command verbatim.
pub fn start_argv(profile: &AgentProfile, runner: &Runner, inputs: &LaunchInputs) -> Vec<String> {
    if runner.start.is_empty() {
        return profile.runner_options.command.clone().unwrap_or_default();
    }
    Filler::new(profile, runner, inputs).fill(&runner.start)
}

/// The command that goes on with the agent's conversation. `None` when the runner cannot, or when the session id is
/// not known: "the last one" may be another agent's, so it is never asked for.
pub fn resume_argv(profile: &AgentProfile, runner: &Runner, inputs: &LaunchInputs) -> Option<Vec<String>> {
    let template = runner.resume.as_ref()?;
    inputs.session_id.filter(|id| !id.is_empty())?;
    Some(Filler::new(profile, runner, inputs).fill(template))
}

/// The command that asks the adviser. Without `args`, a bare program gets the one-shot arguments of the runner that
/// has its name; any other gets the prompt as its last argument.
pub fn adviser_argv(llm: &LlmPolicy, runner: Option<&Runner>, prompt: &str, prompt_file: &str) -> Vec<String> {
    let one_shot = runner.and_then(|runner| runner.one_shot.as_ref()).filter(|_| llm.command.len() == 1);
    let fallback = vec!["{prompt}".to_string()];
    let args = match (llm.args.is_empty(), one_shot) {
        (false, _) => &llm.args[..],
        (true, Some(template)) => template.get(1..).unwrap_or_default(),
        (true, None) => &fallback,
    };
    let max_tokens = llm.max_tokens.to_string();
    let values = [("prompt", prompt), ("prompt_file", prompt_file), ("model", &llm.model), ("max_tokens", &max_tokens)];
    let filler =
        Filler { values: values.iter().map(|(name, value)| (*name, present(value))).collect(), full_auto: Vec::new() };
    llm.command.iter().cloned().chain(filler.fill(args)).collect()
}

fn present(value: &str) -> Vec<String> {
    if value.is_empty() { Vec::new() } else { vec![value.to_string()] }
}

struct Filler {
    /// Values by placeholder; none: absent, several: repeat.
    values: BTreeMap<&'static str, Vec<String>>,
    full_auto: Vec<String>,
}

impl Filler {
    fn new(profile: &AgentProfile, runner: &Runner, inputs: &LaunchInputs) -> Filler {
        let named = |file: &str| {
            format!("Your instructions are in the file {file}. Read all of it first, then do what it says.")
        };
        let prompt = match inputs.prompt.len() > PROMPT_ARGUMENT_MAX && !inputs.prompt_file.is_empty() {
            true => named(inputs.prompt_file),
            false => inputs.prompt.to_string(),
        };
        let git_dirs = inputs.git_dirs.iter().filter(|dir| !dir.is_empty()).cloned().collect();
        let values = BTreeMap::from([
            ("prompt", present(&prompt)),
            ("prompt_file", present(inputs.prompt_file)),
            ("metawsm_dir", present(inputs.metawsm_dir)),
            ("git_dirs", git_dirs),
            ("model", present(inputs.model.unwrap_or(&profile.runner_options.model))),
            ("session_id", present(inputs.session_id.unwrap_or(""))),
        ]);
        let full_auto = if profile.runner_options.full_auto { runner.full_auto.clone() } else { Vec::new() };
        Filler { values, full_auto }
    }

    fn fill(&self, template: &[String]) -> Vec<String> {
        let mut argv: Vec<String> = Vec::new();
        // The flag right before: only a literal of the template, so that no value is taken for one.
        let mut flag: Option<String> = None;
        for argument in template {
            if argument == "{full_auto}" {
                argv.extend(flag.take());
                argv.extend(self.full_auto.iter().cloned());
                continue;
            }
            let names = placeholders(argument);
            let whole = matches!(names[..], [name] if argument.len() == name.len() + 2);
            match (names.is_empty(), whole) {
                (true, _) => {
                    argv.extend(flag.take());
                    match argument.starts_with('-') && !argument.contains('=') {
                        true => flag = Some(argument.clone()),
                        false => argv.push(argument.clone()),
                    }
                }
                (false, true) => {
                    let flag = flag.take();
                    argv.extend(
                        self.expand(argument, &names).into_iter().flat_map(|value| flag.iter().cloned().chain([value])),
                    );
                }
                (false, false) => {
                    argv.extend(flag.take());
                    argv.extend(self.expand(argument, &names));
                }
            }
        }
        argv.extend(flag);
        argv
    }

    /// The argument once for each value of its list, or not at all. Values are put in by one pass, so that a
    /// placeholder inside a value stays text.
    fn expand(&self, argument: &str, names: &[&str]) -> Vec<String> {
        let lists: Vec<&[String]> =
            names.iter().map(|name| self.values.get(name).map_or(&[][..], Vec::as_slice)).collect();
        let count = lists.iter().map(|list| list.len()).max().unwrap_or(0);
        if lists.iter().any(|list| list.is_empty()) {
            return Vec::new();
        }
        let value = |list: &[String], turn: usize| list.get(turn).or(list.first()).cloned().unwrap_or_default();
        (0..count)
            .map(|turn| {
                let mut rest = argument;
                let mut filled = String::new();
                for (name, list) in names.iter().zip(&lists) {
                    if let Some((before, after)) = rest.split_once(&format!("{{{name}}}")) {
                        filled.push_str(before);
                        filled.push_str(&value(list, turn));
                        rest = after;
                    }
                }
                filled + rest
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::{Policy, load};
    use proptest::prelude::*;
    use serde_json::json;

    fn profile(runner: &str) -> AgentProfile {
        AgentProfile { runner: runner.into(), ..Policy::default().agent_profiles.remove(0) }
    }

    fn start(runner: &str, inputs: &LaunchInputs) -> String {
        start_argv(&profile(runner), builtin(runner).unwrap(), inputs).join(" ")
    }

    #[test]
    fn the_asset_holds_known_placeholders_only() {
        assert_eq!(builtin_names().collect::<Vec<_>>(), ["aider", "claude", "codex", "gemini", "opencode", "shell"]);
        for (name, runner) in builtins() {
            let asks = [Some(&runner.conversation_list), Some(&runner.conversation_show)];
            let commands = [Some(&runner.start), runner.resume.as_ref(), runner.one_shot.as_ref()];
            let commands = commands.into_iter().chain(asks);
            for argument in commands.flatten().flatten() {
                assert!(placeholders(argument).iter().all(|p| PLACEHOLDERS.contains(p)), "{name}: {argument}");
            }
            assert_eq!(runner.untested, ["gemini", "aider"].contains(&name.as_str()), "{name}");
            assert!(runner.resume.iter().flatten().all(|a| !a.contains("last") && a != "--continue"), "{name}");
            assert!(runner.start.is_empty() == (name == SHELL));
        }
    }

    #[test]
    fn commands_of_the_runners() {
        let dirs = ["/g/a".to_string(), "/g/b".to_string()];
        let full = LaunchInputs {
            prompt: "do it",
            prompt_file: "/p",
            metawsm_dir: "/m",
            git_dirs: &dirs,
            model: Some("big"),
            session_id: Some("id-1"),
        };
        let bare = LaunchInputs { prompt: "do it", ..LaunchInputs::default() };
        assert_eq!(start("shell", &full), "sh -i");
        assert_eq!(
            start("codex", &full),
            "codex --no-daemon --model big --add-dir /m --add-dir /g/a --add-dir /g/b do it"
        );
        assert_eq!(start("codex", &bare), "codex --no-daemon do it");
        assert_eq!(
            start("claude", &full),
            "claude --session-id id-1 --model big --add-dir=/m --add-dir=/g/a --add-dir=/g/b do it"
        );
        assert_eq!(start("claude", &bare), "claude do it");
        assert_eq!(start("opencode", &bare), "opencode --prompt do it");
        assert_eq!(start("aider", &full), "aider --model big --message-file /p");

        let mut auto = profile("codex");
        auto.runner_options.full_auto = true;
        auto.runner_options.model = "small".into();
        let codex = builtin("codex").unwrap();
        assert_eq!(
            start_argv(&auto, codex, &bare).join(" "),
            "codex --no-daemon --sandbox workspace-write --ask-for-approval never --model small do it"
        );
        let resumed = resume_argv(&auto, codex, &LaunchInputs { session_id: Some("id-1"), ..LaunchInputs::default() });
        assert_eq!(resumed.unwrap().last().unwrap(), "id-1");
        assert_eq!(resume_argv(&auto, codex, &bare), None);
        assert_eq!(resume_argv(&profile("shell"), builtin("shell").unwrap(), &full), None);
        let claude = builtin("claude").unwrap();
        assert!(claude.chooses_session_id() && !codex.chooses_session_id());
        assert!(resume_argv(&profile("claude"), claude, &full).unwrap().join(" ").starts_with("claude --resume id-1 "));
    }

    #[test]
    fn a_huge_prompt_goes_through_its_file() {
        let prompt = "x".repeat(PROMPT_ARGUMENT_MAX + 1);
        let inputs = LaunchInputs { prompt: &prompt, prompt_file: "/p.md", ..LaunchInputs::default() };
        assert!(start("claude", &inputs).contains("/p.md. Read all"));
    }

    #[test]
    fn the_policy_adds_and_overrides() {
        let text = json!({"runners": {
            "codex": {"resume": [], "limit_patterns": ["stop"]},
            "mine": {"start": ["mine", "--p={prompt}"]},
        }})
        .to_string();
        let policy = load(Some(&text), &[]).unwrap().policy;
        let codex = policy.runner("codex").unwrap();
        assert_eq!(
            (codex.resume.clone(), &codex.limit_patterns[..], &codex.start),
            (None, &["stop".to_string()][..], &builtin("codex").unwrap().start)
        );
        let mine = policy.runner("mine").unwrap();
        assert_eq!(mine.submit, "Enter");
        let inputs = LaunchInputs { prompt: "say {model}", model: Some("m"), ..LaunchInputs::default() };
        assert_eq!(start_argv(&profile("mine"), &mine, &inputs), ["mine", "--p=say {model}"]);
        assert_eq!(policy.runner("nobody"), None);
    }

    #[test]
    fn the_adviser() {
        let mut llm = Policy::default().operator.llm;
        let ask = |llm: &LlmPolicy| adviser_argv(llm, builtin(program_name(&llm.command[0])), "Q", "/q").join(" ");
        assert_eq!(ask(&llm), "codex exec --skip-git-repo-check --sandbox read-only Q");
        llm.model = "m".into();
        assert_eq!(ask(&llm), "codex exec --skip-git-repo-check --sandbox read-only --model m Q");
        llm.args = vec!["--max={max_tokens}".into(), "{prompt_file}".into()];
        assert_eq!(ask(&llm), "codex --max=400 /q");
        llm = LlmPolicy { command: vec!["/opt/own".into()], args: vec![], ..llm };
        assert_eq!(ask(&llm), "/opt/own Q");
    }

    proptest! {
        #[test]
        fn values_are_never_taken_apart(prompt in "[-{}a-z_ ]{1,20}", session in "[-a-z]{1,8}") {
            let inputs = LaunchInputs { prompt: &prompt, session_id: Some(&session), ..LaunchInputs::default() };
            let argv = start_argv(&profile("claude"), builtin("claude").unwrap(), &inputs);
            prop_assert_eq!(argv, vec!["claude".to_string(), "--session-id".into(), session, prompt]);
        }
    }
}
