//! Types and rules of single values: what a value may be, and the sentence that says so.

use serde_json::Value;

/// Intents of the operator's rules, in the order of their priority.
pub const INTENTS: &[&str] = &[
    "escalate_guidance",
    "escalate_input",
    "auto_restart",
    "escalate_blocked",
    "auto_stop_stale",
    "escalate_sla",
    "escalate_failed",
    "commit_ready",
    "pr_ready",
    "review_feedback_ready",
];

/// Rule of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Anything without NUL.
    Any,
    /// At least one visible character.
    NonBlank,
    /// Name of an agent, profile, repository or runner.
    Name,
    /// Name of an environment variable that is not ours.
    EnvName,
    /// Name git accepts for a branch, or for the first part of one.
    RefName,
    /// Name of a tmux session with placeholders.
    SessionPattern,
    /// Branch with placeholders.
    BranchTemplate,
    /// `http(s)://host…`.
    HttpUrl,
    /// The same, or empty.
    HttpUrlOrEmpty,
    /// Address of a Redis server.
    RedisUrl,
    /// tmux socket.
    Socket,
    /// Relative glob.
    Glob,
    /// Intent of an operator rule.
    Intent,
}

/// Type and rule of a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A boolean with one legal value.
    Only(bool),
    /// Whole number between the two, inclusive.
    Int(i64, i64),
    /// Number between the two, inclusive.
    Number(f64, f64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// List of these words, each once.
    Choices(&'static [&'static str]),
    /// Text with a rule.
    Text(Text),
    /// List of texts with a rule.
    Texts(Text),
    /// A command: list of arguments, or a string split as POSIX words; at least so many words.
    Argv(usize),
    /// List of commands.
    Argvs,
    /// List of arguments with these placeholders.
    Template(&'static [&'static str]),
    /// List of objects, at least so many.
    Objects(usize),
    /// Object whose keys follow the rule.
    Map(Text),
    /// Object, or a string that stands for the named key.
    Shorthand(&'static str),
    /// Text, or `{"from": "VAR"}`.
    Env,
}

impl Kind {
    /// What the rule demands, as the rest of "must be …".
    pub fn rule(self) -> String {
        match self {
            Kind::Bool => "true or false".into(),
            Kind::Only(value) => format!("{value}"),
            Kind::Int(min, max) => format!("a whole number from {min} to {max}"),
            Kind::Number(min, max) => format!("a number from {min} to {max}"),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Choices(words) => format!("a list of {}, each at most once", words.join(", ")),
            Kind::Text(rule) => rule.rule(),
            Kind::Texts(rule) => format!("a list; each element must be {}", rule.rule()),
            Kind::Argv(0) => "a command: a list of arguments, or a string of plain words".into(),
            Kind::Argv(_) => {
                "a command with at least a program: a list of arguments, or a string of plain words".into()
            }
            Kind::Argvs => "a list of commands, each a list of arguments or a string of plain words".into(),
            Kind::Template(names) => format!("a list of arguments; placeholders are {}", braced(names)),
            Kind::Objects(0) => "a list of objects".into(),
            Kind::Objects(min) => format!("a list of at least {min} object"),
            Kind::Map(_) => "an object".into(),
            Kind::Shorthand(key) => format!("an object, or a string that stands for its {key}"),
            Kind::Env => r#"a string, or {"from": "VAR"}"#.into(),
        }
    }

    /// The sentence that says which rule the value breaks, without looking below objects.
    pub fn broken(self, value: &Value) -> Option<String> {
        let must = || Some(format!("must be {}", self.rule()));
        let ok = |fine: bool| if fine { None } else { must() };
        match self {
            Kind::Bool => ok(value.is_boolean()),
            Kind::Only(wanted) => ok(value.as_bool() == Some(wanted)),
            Kind::Int(min, max) => ok(value.as_i64().is_some_and(|n| (min..=max).contains(&n))),
            Kind::Number(min, max) => ok(value.as_f64().is_some_and(|n| (min..=max).contains(&n))),
            Kind::Choice(words) => ok(value.as_str().is_some_and(|word| words.contains(&word))),
            Kind::Choices(words) => ok(distinct_words(value, words)),
            Kind::Text(rule) => ok(value.as_str().is_some_and(|text| rule.holds(text))),
            Kind::Texts(rule) => {
                ok(value.as_array().is_some_and(|l| l.iter().all(|t| t.as_str().is_some_and(|t| rule.holds(t)))))
            }
            Kind::Argv(min) => match argv(value) {
                Ok(words) if words.is_empty() && min > 0 => must(),
                Ok(_) => None,
                Err(rule) => Some(rule),
            },
            Kind::Argvs => match value.as_array() {
                None => must(),
                Some(list) => list.iter().find_map(|one| Kind::Argv(1).broken(one)),
            },
            Kind::Template(names) => match value.as_array() {
                None => must(),
                Some(list) => ok(list.iter().all(|t| t.as_str().is_some_and(|t| holds_template(t, names)))),
            },
            Kind::Objects(min) => ok(value.as_array().is_some_and(|list| list.len() >= min)),
            Kind::Map(_) => ok(value.is_object()),
            Kind::Shorthand(_) => ok(value.is_object() || value.is_string()),
            Kind::Env => ok(env_value(value)),
        }
    }

    /// Words that could have been meant, for "did you mean".
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Kind::Choice(words) | Kind::Choices(words) => words,
            Kind::Bool
            | Kind::Only(_)
            | Kind::Int(..)
            | Kind::Number(..)
            | Kind::Text(_)
            | Kind::Texts(_)
            | Kind::Argv(_)
            | Kind::Argvs
            | Kind::Template(_)
            | Kind::Objects(_)
            | Kind::Map(_)
            | Kind::Shorthand(_)
            | Kind::Env => &[],
        }
    }
}

fn braced(names: &[&str]) -> String {
    names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(" ")
}

fn distinct_words(value: &Value, words: &[&str]) -> bool {
    let Some(list) = value.as_array() else { return false };
    let mut seen = std::collections::HashSet::new();
    list.iter().all(|w| w.as_str().is_some_and(|w| words.contains(&w) && seen.insert(w)))
}

fn env_value(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains('\0'),
        Value::Object(map) => map.len() == 1 && map.get("from").and_then(Value::as_str).is_some_and(variable_name),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    }
}

impl Text {
    /// What the rule demands, as the rest of "must be …".
    pub fn rule(self) -> String {
        match self {
            Text::Any => "a string without NUL",
            Text::NonBlank => "a string that is not blank",
            Text::Name => "a name: a letter or digit, then at most 63 of letters, digits, . _ -; without .., a trailing . or .lock",
            Text::EnvName => "a variable name ([A-Za-z_][A-Za-z0-9_]*) that does not begin with METAWSM_",
            Text::RefName => "a name that git accepts for a branch",
            Text::SessionPattern => {
                "a session name with {agent} and one of {workspace} {run}; placeholders are {agent} {workspace} {run} {ticket}"
            }
            Text::BranchTemplate => "a branch name; placeholders are {ticket} {repo} {run}",
            Text::HttpUrl => "an http:// or https:// address with a host",
            Text::HttpUrlOrEmpty => "an http:// or https:// address with a host, or empty",
            Text::RedisUrl => "a redis://, rediss:// or unix:// address",
            Text::Socket => "\"default\", an absolute path, or a name of letters, digits, . _ -; placeholder is {db}",
            Text::Glob => "a glob relative to the repository, without .., with its brackets closed",
            Text::Intent => return format!("one of {}", INTENTS.join(", ")),
        }
        .into()
    }

    /// Whether the text keeps the rule.
    pub fn holds(self, text: &str) -> bool {
        if text.contains('\0') {
            return false;
        }
        match self {
            Text::Any => true,
            Text::NonBlank => !text.trim().is_empty(),
            Text::Name => name(text),
            Text::EnvName => variable_name(text) && !text.starts_with("METAWSM_"),
            Text::RefName => ref_name(text),
            Text::SessionPattern => session_pattern(text),
            Text::BranchTemplate => {
                expand_all(text, &["ticket", "repo", "run"]).is_some_and(|expanded| ref_name(&expanded))
            }
            Text::HttpUrl => http_url(text),
            Text::HttpUrlOrEmpty => text.is_empty() || http_url(text),
            Text::RedisUrl => redis_url(text),
            Text::Socket => socket(text),
            Text::Glob => glob(text),
            Text::Intent => INTENTS.contains(&text),
        }
    }
}

/// Names of agents, profiles, repositories and runners.
pub fn name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && !text.contains("..")
        && !text.ends_with('.')
        && !text.ends_with(".lock")
}

fn variable_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The rules of git-check-ref-format for a branch.
fn ref_name(text: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let part = |p: &str| !p.is_empty() && !p.starts_with('.') && !p.ends_with('.') && !p.ends_with(".lock");
    text.len() <= 200
        && text != "@"
        && !text.starts_with('-')
        && !text.contains(bad)
        && !text.contains("..")
        && !text.contains("@{")
        && text.split('/').all(part)
}

/// Replaces every placeholder by `x`; `None` when a brace is left over, so one that is unknown or not closed.
fn expand_all(text: &str, names: &[&str]) -> Option<String> {
    let mut expanded = text.to_string();
    for name in names {
        expanded = expanded.replace(&format!("{{{name}}}"), "x");
    }
    (!expanded.contains(['{', '}'])).then_some(expanded)
}

fn session_pattern(text: &str) -> bool {
    text.contains("{agent}")
        && (text.contains("{workspace}") || text.contains("{run}"))
        && expand_all(text, &["agent", "workspace", "run", "ticket"])
            .is_some_and(|rest| !rest.contains(|c: char| c.is_control()))
}

fn http_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        let host = authority.rsplit('@').next().unwrap_or("");
        !host.is_empty() && !host.starts_with(':') && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    })
}

fn redis_url(text: &str) -> bool {
    ["redis://", "rediss://", "redis+unix://", "unix://"].iter().any(|scheme| {
        text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
    })
}

fn socket(text: &str) -> bool {
    let Some(expanded) = expand_all(text, &["db"]) else { return false };
    // A socket address holds about 100 bytes, the placeholder grows by four, the directory has to fit too.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match expanded.strip_prefix('/') {
        Some(rest) => !rest.is_empty() && text.len() <= 90 && !text.contains(char::is_control),
        None => {
            !expanded.is_empty() && text.len() <= 60 && expanded.chars().all(plain) && !expanded.starts_with(['-', '.'])
        }
    }
}

fn glob(text: &str) -> bool {
    let balanced = |open: char, close: char| text.matches(open).count() == text.matches(close).count();
    !text.trim().is_empty()
        && !text.starts_with(['/', '~'])
        && text.split('/').all(|part| part != "..")
        && balanced('[', ']')
        && balanced('{', '}')
}

/// Whether every `{word}` in a template is a known placeholder. Other braces are text: arguments may hold JSON.
fn holds_template(text: &str, names: &[&str]) -> bool {
    !text.contains('\0') && placeholders(text).iter().all(|word| names.contains(word))
}

/// The words in braces of a template.
pub fn placeholders(text: &str) -> Vec<&str> {
    text.match_indices('{')
        .filter_map(|(at, _)| {
            let word = text.get(at + 1..)?.split('}').next()?;
            let closed = text.get(at + 1 + word.len()..)?.starts_with('}');
            let lower = !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            (closed && lower).then_some(word)
        })
        .collect()
}

/// The words of a command, or the rule it breaks.
pub fn argv(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => split(text),
        Value::Array(list) => {
            let words: Option<Vec<String>> = list.iter().map(|word| word.as_str().map(str::to_string)).collect();
            let words = words.ok_or("must be a command: every argument must be a string")?;
            if words.iter().any(|word| word.contains('\0')) || words.first().is_some_and(|word| word.trim().is_empty())
            {
                return Err("must be a command: the program must not be blank, no argument may hold NUL".into());
            }
            Ok(words)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err("must be a command: a list of arguments, or a string of plain words".into())
        }
    }
}

fn split(text: &str) -> Result<Vec<String>, String> {
    if let Some(why) = shell_syntax(text) {
        let array = Value::from(vec!["sh", "-c", text]);
        return Err(format!("must be plain words, but {why} needs a shell: write {array}"));
    }
    let words = shell_words::split(text).map_err(|_| "must be plain words: a quote is not closed".to_string())?;
    if words.first().is_some_and(|word| word.trim().is_empty()) || text.contains('\0') {
        return Err("must be a command: the program must not be blank, no argument may hold NUL".into());
    }
    Ok(words)
}

/// What in this text only a shell would understand: an unquoted metacharacter, an assignment before the program.
pub fn shell_syntax(text: &str) -> Option<String> {
    let (mut single, mut double, mut word_start) = (false, false, true);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let active = match c {
            _ if single => {
                single = c != '\'';
                false
            }
            '\\' => {
                chars.next();
                false
            }
            '"' => {
                double = !double;
                false
            }
            '$' | '`' => true,
            _ if double => false,
            '\'' => {
                single = true;
                false
            }
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '\n' | '\r' => true,
            '#' | '~' => word_start,
            _ => false,
        };
        if active {
            return Some(format!("{c:?}"));
        }
        word_start = !single && !double && matches!(c, ' ' | '\t');
    }
    let first = text.split_whitespace().next().unwrap_or("");
    let assigned = first.split_once('=').is_some_and(|(variable, _)| variable_name(variable));
    assigned.then(|| format!("the assignment {first:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn texts() {
        let table: &[(Text, &[&str], &[&str])] = &[
            (Text::NonBlank, &["a"], &["", "  ", "a\0"]),
            (Text::Name, &["a", "A1._-z", "9"], &["", "-a", ".a", "a..b", "a.", "a.lock", "a b", "é", "a/b"]),
            (Text::EnvName, &["A", "_x1"], &["", "1A", "A-B", "METAWSM_HOME", "A=B"]),
            (
                Text::RefName,
                &["main", "a/b", "rel-1.0"],
                &["", "/a", "a/", "a//b", "a b", ".a", "a..b", "a.lock", "-a", "@", "a@{b", "a~", "a\\b", "x/.y"],
            ),
            (
                Text::SessionPattern,
                &["{agent}-{workspace}", "{run}_{agent}", "{ticket}{agent}{run}"],
                &[
                    "{agent}",
                    "{workspace}",
                    "{agent}-{workspace}-{repo}",
                    "{agent}-{run",
                    "{agent}-{run}}",
                    "{agent}{run}\n",
                ],
            ),
            (Text::BranchTemplate, &["{ticket}/{repo}/{run}", "x"], &["", "{nope}", "a b", "{ticket}/", "{ticket"]),
            (
                Text::HttpUrl,
                &["http://h", "https://u@h:1/x?y"],
                &["", "ftp://h", "http://", "http:///x", "http://:80", "http://a b"],
            ),
            (Text::HttpUrlOrEmpty, &["", "http://h"], &["x"]),
            (Text::RedisUrl, &["redis://h:1/0", "unix:///s"], &["", "http://h", "redis://"]),
            (Text::Socket, &["default", "metawsm-{db}", "/run/x"], &["", "a b", "a/b", "{x}", "/", "-L"]),
            (Text::Glob, &[".env", "a/**/*.{a,b}"], &["", "/etc/x", "../x", "a[", "~/x"]),
            (Text::Intent, &["auto_restart"], &["restart"]),
        ];
        for (rule, good, bad) in table {
            good.iter().for_each(|text| assert!(rule.holds(text), "{rule:?} takes {text:?}"));
            bad.iter().for_each(|text| assert!(!rule.holds(text), "{rule:?} refuses {text:?}"));
        }
        assert!(!Text::Name.holds(&"a".repeat(65)) && Text::Name.holds(&"a".repeat(64)));
    }

    #[test]
    fn commands() {
        assert_eq!(argv(&json!("sh -i")).unwrap(), ["sh", "-i"]);
        assert_eq!(argv(&json!(["a", "b; c"])).unwrap(), ["a", "b; c"]);
        assert_eq!(
            argv(&json!("a 'b;c|d$e' \"f g*\" \\; h\\ i x=y a~b a#b")).unwrap(),
            ["a", "b;c|d$e", "f g*", ";", "h i", "x=y", "a~b", "a#b"]
        );
        for shell in [
            "a | b", "a && b", "a; b", "a < b", "a > b", "(a)", "a $HOME", "a \"$x\"", "a `b`", "a *.rs", "a b?",
            "a\nb", "a [bc]", "cd ~", "a # b", "A=1 b",
        ] {
            let rule = argv(&json!(shell)).unwrap_err();
            assert!(rule.contains(&json!(["sh", "-c", shell]).to_string()), "{shell:?}: {rule}");
        }
        for bad in [json!("a 'b"), json!([""]), json!([1]), json!(7), json!({"a": 1}), json!(["a\u{0}"]), json!("'' x")]
        {
            assert!(argv(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_words_in_braces_are_placeholders() {
        assert_eq!(placeholders("{a}-{b_c} {\"x\": 1} {} {D} {e"), ["a", "b_c"]);
    }

    proptest! {
        #[test]
        fn printed_words_split_again(words in prop::collection::vec("[a-z ;|$'\"*~#\\\\]{1,6}", 1..4)) {
            prop_assume!(!words[0].trim().is_empty());
            let text = shell_words::join(&words);
            if shell_syntax(&text).is_none() {
                prop_assert_eq!(argv(&json!(text)).unwrap(), words);
            }
        }

        #[test]
        fn no_text_makes_a_rule_panic(text in "\\PC*") {
            for rule in [Text::Name, Text::RefName, Text::SessionPattern, Text::HttpUrl, Text::Socket, Text::Glob] {
                rule.holds(&text);
            }
            let _ = argv(&json!(text));
        }
    }
}
