//! The text an agent is given when it starts: who it is, what to do, how to ask, report and finish.
//!
//! Plain words without markup: the same text goes into an argument, a file, or a shell agent's eyes. It never begins
//! with `-`, `!` or `/`, which programs take for a flag, a shell command or a command of their own.

/// How a run ends for its agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptMode<'a> {
    /// A completion is enough.
    Run,
    /// A passed validation of these criteria is needed too.
    Bootstrap {
        /// The brief's `done_criteria`.
        done_criteria: &'a str,
    },
}

/// A skill and where it is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skill<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its SKILL.md.
    pub path: &'a str,
}

/// What the prompt is made of. Empty texts are left out.
#[derive(Clone, Copy, Debug)]
pub struct PromptInputs<'a> {
    /// Name of the agent.
    pub agent: &'a str,
    /// Id of its run.
    pub run_id: &'a str,
    /// Its ticket.
    pub ticket: &'a str,
    /// Name of its workspace.
    pub workspace: &'a str,
    /// Path of `brief.md`; empty: there is none.
    pub brief_path: &'a str,
    /// The profile's base prompt.
    pub base_prompt: &'a str,
    /// The user's own words for this run.
    pub user_prompt: &'a str,
    /// The file of feedback on what was done before; empty: there is none.
    pub feedback_path: &'a str,
    /// Skills it must use.
    pub skills: &'a [Skill<'a>],
    /// Mode of the run.
    pub mode: PromptMode<'a>,
    /// `forum.enabled`: whether it is told how to ask and report.
    pub forum: bool,
}

/// The text given to an agent.
pub fn agent_prompt(input: &PromptInputs) -> String {
    let mut parts = vec![identity(input)];
    parts.extend([input.base_prompt, input.user_prompt].iter().map(|text| text.trim().to_string()));
    parts.push(feedback(input.feedback_path));
    parts.push(skills(input.skills));
    if input.forum {
        parts.push(asking());
        parts.push(reporting());
    }
    parts.push(committing());
    if input.forum {
        parts.push(finishing(input.mode));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n") + "\n"
}

/// The words with which every prompt begins.
const WHO: &str = "You are the agent ";

/// Where in a text a prompt begins, whoever's it is.
pub fn begins(text: &str) -> Option<usize> {
    let names = |at: usize| text[at + WHO.len()..].split_once(' ').is_some_and(|(_, rest)| rest.starts_with("of run "));
    text.match_indices(WHO).map(|(at, _)| at).find(|at| names(*at))
}

/// The words with which a prompt begins; no other agent's begins so.
pub fn who(agent: &str, run_id: &str, ticket: &str, workspace: &str) -> String {
    format!("{WHO}{agent} of run {run_id}. You work on ticket {ticket} in the workspace {workspace}.")
}

fn identity(input: &PromptInputs) -> String {
    let who = who(input.agent, input.run_id, input.ticket, input.workspace);
    match input.brief_path.is_empty() {
        true => who,
        false => format!("{who} Your brief is the file {}: read it before you begin.", input.brief_path),
    }
}

fn feedback(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    format!(
        "You have worked on this before, and there is feedback on it in the file {path}. The newest stands at its \
         end, under the last heading that is a time: read it first, and do what it asks."
    )
}

fn skills(skills: &[Skill]) -> String {
    if skills.is_empty() {
        return String::new();
    }
    let lines = skills.iter().map(|skill| format!("\n  {}: {}", skill.name, skill.path)).collect::<String>();
    format!("Read these skills and use them:{lines}")
}

fn asking() -> String {
    "When you need a decision or an answer from a human, ask and wait for it; do not guess and do not ask in this \
     terminal:\n  \
     $METAWSM_BIN forum ask --title \"<the question in one line>\" --body \"<what you need to know, and why>\" --wait --timeout 90s\n\
     The answer is printed. Exit status 124 means that there is none yet; the thread id is printed as well. Wait on, as \
     often as it takes:\n  \
     $METAWSM_BIN forum wait --thread-id <thread id> --timeout 90s"
        .into()
}

fn reporting() -> String {
    "After each piece of work, say in one line what you did:\n  \
     $METAWSM_BIN forum signal --type progress --note \"<what is done, what comes next>\"\n\
     Before something long that prints nothing, announce it, so that nobody takes you for stuck:\n  \
     $METAWSM_BIN agent quiet --for 20m --reason \"<what you wait for>\""
        .into()
}

fn committing() -> String {
    "Commit your work with git on the current branch of each repository that you changed. Do not switch branches, do \
     not push, and leave nothing uncommitted."
        .into()
}

fn finishing(mode: PromptMode) -> String {
    let summary = "$METAWSM_BIN forum signal --type completion --summary \"<what you did>\"";
    match mode {
        PromptMode::Run => format!("When everything is done and committed, say so, and then stop:\n  {summary}"),
        PromptMode::Bootstrap { done_criteria } => format!(
            "When everything is done and committed, check each of the done criteria. When they hold, send both of \
             these, the criteria word for word as they stand here, and then stop:\n  \
             $METAWSM_BIN forum signal --type validation --status passed --done-criteria {}\n  {summary}",
            shell_words::quote(done_criteria.trim())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn input<'a>() -> PromptInputs<'a> {
        PromptInputs {
            agent: "coder",
            run_id: "run-1",
            ticket: "ACME-1",
            workspace: "acme-1-x",
            brief_path: "/w/brief.md",
            base_prompt: "Be careful.",
            user_prompt: "Fix the bug.",
            feedback_path: "/w/operator-feedback.md",
            mode: PromptMode::Run,
            forum: true,
            skills: &[Skill { name: "rust", path: "/s/rust/SKILL.md" }],
        }
    }

    #[test]
    fn says_all_that_an_agent_needs() {
        let text = agent_prompt(&input());
        for part in [
            "agent coder",
            "run run-1",
            "ticket ACME-1",
            "workspace acme-1-x",
            "/w/brief.md",
            "Be careful.",
            "Fix the bug.",
            "feedback on it in the file /w/operator-feedback.md",
            "rust: /s/rust/SKILL.md",
            "--wait --timeout 90s",
            "forum wait --thread-id",
            "--type progress --note",
            "--type completion --summary",
            "Commit your work with git on the current branch",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("--type validation") && !text.contains("```"));
    }

    #[test]
    fn bootstrap_needs_the_criteria_word_for_word() {
        let text =
            agent_prompt(&PromptInputs { mode: PromptMode::Bootstrap { done_criteria: " it's \"done\" " }, ..input() });
        let line = text.lines().find(|line| line.contains("--type validation")).unwrap();
        let words = shell_words::split(line.trim()).unwrap();
        assert_eq!(words.last().unwrap(), "it's \"done\"");
        assert_eq!(words[4..8], ["validation", "--status", "passed", "--done-criteria"]);
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let text = agent_prompt(&PromptInputs {
            brief_path: "",
            base_prompt: " ",
            user_prompt: "",
            feedback_path: "",
            skills: &[],
            forum: false,
            ..input()
        });
        assert!(
            !text.contains("brief")
                && !text.contains("feedback")
                && !text.contains("skills")
                && !text.contains("forum")
                && !text.contains("\n\n\n")
        );
    }

    proptest! {
        #[test]
        fn never_begins_like_a_command(base in "\\PC{0,9}", user in "\\PC{0,9}") {
            let text = agent_prompt(&PromptInputs { base_prompt: &base, user_prompt: &user, ..input() });
            prop_assert!(text.starts_with("You are"));
        }
    }
}
