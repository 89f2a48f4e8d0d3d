//! Reads a policy: parse, migrate, lay the flags on top, check everything, fill in defaults. All faults at once.

use super::Policy;
use super::fields::{self, Field, Node, Preset};
use super::merge::{Origin, at_path, leaves, merge, origins};
use super::rules::{Kind, Text, argv};
use super::span::{Place, Spans, join_index, join_key, place_of, scan};
use super::{migrate, whole};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Where in the document, such as `agent_profiles[1].runner`; empty for the document itself.
    pub path: String,
    /// The value that breaks the rule; `None` when there is none, or when it may be a secret.
    pub value: Option<Value>,
    /// The rule, as a sentence: "must be …".
    pub rule: String,
    /// Line in the file, from 1; `None` when the value is not from the file.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// What was perhaps meant.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault without place or hint.
    pub fn new(path: impl Into<String>, value: Option<Value>, rule: impl Into<String>) -> Fault {
        Fault { path: path.into(), value, rule: rule.into(), line: None, column: None, hint: None }
    }

    pub(super) fn hinted(mut self, hint: Option<String>) -> Fault {
        self.hint = hint;
        self
    }

    fn placed(mut self, place: Option<Place>) -> Fault {
        self.line = place.map(|place| place.line);
        self.column = place.map(|place| place.column);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.path.is_empty() { "policy" } else { &self.path })?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, " (line {line}, column {column})")?;
        }
        write!(f, ": {}", self.rule)?;
        if let Some(value) = &self.value {
            let text = value.to_string();
            let short: String = text.chars().take(60).collect();
            write!(f, ", not {short}{}", if short.len() < text.len() { "…" } else { "" })?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// A policy that holds, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The effective policy.
    pub policy: Policy,
    /// The merged document with every key. It may hold secrets (`agent_profiles[].env`).
    pub document: Value,
    /// Layer of every leaf, by path.
    pub origins: BTreeMap<String, Origin>,
    /// What is legal but looks wrong, and what a migration changed.
    pub warnings: Vec<String>,
}

/// One line of `policy show`.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownKey {
    /// Path of the leaf.
    pub path: String,
    /// Its value; secrets are replaced.
    pub value: Value,
    /// Its layer.
    pub origin: Origin,
    /// Unit of a number, else empty.
    pub unit: &'static str,
    /// What it means.
    pub doc: &'static str,
}

impl Loaded {
    /// Every leaf in the order of the document, for `policy show`. Values of environment variables stay hidden.
    pub fn shown(&self) -> Vec<ShownKey> {
        let mut rows = Vec::new();
        leaves(&self.policy.stored(), &mut |path, steps, value| {
            let field = (0..=steps.len()).rev().find_map(|n| fields::find(steps.get(..n)?));
            let written = path.strip_suffix(".literal").filter(|p| self.origins.contains_key(*p)).unwrap_or(path);
            rows.push(ShownKey {
                path: written.to_string(),
                value: if written == path { value.clone() } else { Value::from("(hidden)") },
                origin: self.origins.get(written).copied().unwrap_or(Origin::Default),
                unit: field.map_or("", |field| field.unit),
                doc: field.map_or("", |field| field.doc),
            });
        });
        rows
    }
}

/// Reads the text of a policy file (`None`: there is no file) with values from the command line laid on top.
/// Flags name a key by its dotted path, such as `operator.llm.mode`.
pub fn load(text: Option<&str>, flags: &[(&str, Value)]) -> Result<Loaded, Vec<Fault>> {
    let (mut file, spans) = match text {
        Some(text) => parse(text)?,
        None => (Value::Object(Map::new()), Spans::default()),
    };
    let mut faults = duplicates(&spans);
    let mut warnings = Vec::new();
    match migrate::version(&file) {
        Ok(version) => warnings.extend(migrate::migrate_value(&mut file, version)),
        Err(fault) => {
            faults.push(place(*fault, &spans, &[]));
            return Err(faults);
        }
    }
    let mut over = Value::Object(Map::new());
    flags.iter().for_each(|(path, value)| merge(&mut over, &at_path(path, value)));
    prepare(fields::tree(), &mut file);
    prepare(fields::tree(), &mut over);
    let mut document = file.clone();
    merge(&mut document, &over);

    let mut checker = Checker { faults: Vec::new(), warnings };
    checker.visit(fields::tree(), &document, "");
    fields::fill(fields::tree(), &mut document);
    whole::check(&document, &mut checker);
    let Checker { faults: found, warnings } = checker;

    let mut flagged = Vec::new();
    leaves(&over, &mut |path, _, _| flagged.push(path.to_string()));
    faults.extend(found.into_iter().map(|fault| place(fault, &spans, &flagged)));
    if faults.is_empty() {
        words(fields::tree(), &mut document);
        let origins = origins(&document, &file, &over);
        match serde_json::from_value(document.clone()) {
            Ok(policy) => return Ok(Loaded { policy, document, origins, warnings }),
            Err(error) => faults.push(Fault::new("", None, format!("must be a policy: {error}"))),
        }
    }
    faults.sort_by_key(|fault| (fault.line.is_none(), fault.line, fault.column));
    Err(faults)
}

/// The value and the places of its parts. Editors of other systems may leave a byte order mark: it is skipped.
pub(super) fn parse(text: &str) -> Result<(Value, Spans), Vec<Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let spans = scan(text);
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_object() => Ok((value, spans)),
        Ok(value) => Err(vec![Fault::new("", Some(value), "must be an object").placed(spans.value(""))]),
        Err(error) => {
            let place = place_of(text, error.line(), error.column());
            let message = error.to_string();
            let what = message.split(" at line ").next().unwrap_or("");
            Err(vec![Fault::new("", None, format!("must be JSON: {what}")).placed(Some(place))])
        }
    }
}

fn duplicates(spans: &Spans) -> Vec<Fault> {
    let fault = |(path, place): &(String, Place)| {
        let first =
            spans.key(path).map(|first| format!("it is already in line {}, column {}", first.line, first.column));
        Fault::new(path, None, "must be there only once").placed(Some(*place)).hinted(first)
    };
    spans.duplicates.iter().map(fault).collect()
}

/// Gives a fault its place, unless its value comes from the command line. What is missing is placed at its parent.
fn place(fault: Fault, spans: &Spans, flagged: &[String]) -> Fault {
    let path = fault.path.clone();
    let below = |flag: &String| {
        path.strip_prefix(flag.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    if flagged.iter().any(below) {
        return fault;
    }
    let parent = path.rfind(['.', '[']).and_then(|at| path.get(..at)).unwrap_or("");
    let about_key = fault.rule == UNKNOWN || fault.rule.starts_with(BAD_KEY);
    let own = if about_key { spans.key(&path) } else { spans.value(&path) };
    fault.placed(own.or_else(|| spans.value(parent)))
}

const UNKNOWN: &str = "is not a key of the policy";
const BAD_KEY: &str = "the key must be";

/// Writes shorthands out and drops `null` where a key may be absent, so that layers merge alike.
fn prepare(node: &Node, value: &mut Value) {
    if let (Some(Field { kind: Kind::Shorthand(key), .. }), Value::String(_)) = (node.field, &*value) {
        *value = at_path(key, value);
    }
    match value {
        Value::Object(map) => {
            let absent = |node: Option<&Node>| node.and_then(|n| n.field).is_some_and(|f| f.preset == Preset::Absent);
            map.retain(|key, value| {
                !(value.is_null() && absent(node.child(key).filter(|_| node.child("*").is_none())))
            });
            for (key, value) in map.iter_mut() {
                if let Some(child) = node.child(key).or_else(|| node.child("*")) {
                    prepare(child, value);
                }
            }
        }
        Value::Array(list) => {
            if let Some(child) = node.child("[]") {
                list.iter_mut().for_each(|element| prepare(child, element));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Splits commands written as strings, so that everything after this sees argument lists.
fn words(node: &Node, value: &mut Value) {
    let split = |value: &mut Value| {
        if let (true, Ok(words)) = (value.is_string(), argv(value)) {
            *value = Value::from(words);
        }
    };
    match (node.field.map(|field| field.kind), value) {
        (Some(Kind::Argv(_)), value) => split(value),
        (Some(Kind::Argvs), Value::Array(list)) => list.iter_mut().for_each(split),
        (_, Value::Object(map)) => {
            for (key, value) in map.iter_mut() {
                if let Some(child) = node.child(key).or_else(|| node.child("*")) {
                    words(child, value);
                }
            }
        }
        (_, Value::Array(list)) => {
            if let Some(child) = node.child("[]") {
                list.iter_mut().for_each(|element| words(child, element));
            }
        }
        (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {}
    }
}

/// Collects faults and warnings.
pub(super) struct Checker {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
}

impl Checker {
    fn visit(&mut self, node: &Node, value: &Value, path: &str) {
        match node.field {
            None => self.section(node, value, path),
            Some(field) => self.field(field, node, value, path),
        }
    }

    fn section(&mut self, node: &Node, value: &Value, path: &str) {
        let Value::Object(map) = value else {
            self.faults.push(Fault::new(path, Some(value.clone()), "must be an object"));
            return;
        };
        for (key, value) in map {
            let inner = join_key(path, key);
            match node.child(key).filter(|_| key != "*" && key != "[]") {
                Some(child) => self.visit(child, value, &inner),
                None => self.faults.push(Fault::new(inner, None, UNKNOWN).hinted(similar_key(node, key))),
            }
        }
        for (key, child) in &node.children {
            if child.field.is_some_and(|field| field.preset == Preset::Required) && !map.contains_key(*key) {
                self.faults.push(Fault::new(join_key(path, key), None, "must be there"));
            }
        }
    }

    fn field(&mut self, field: &Field, node: &Node, value: &Value, path: &str) {
        match (field.kind, value) {
            (Kind::Texts(rule), Value::Array(list)) => self.elements(Kind::Text(rule), list, path),
            (Kind::Argvs, Value::Array(list)) => self.elements(Kind::Argv(1), list, path),
            (Kind::Choices(words), Value::Array(list)) => {
                self.elements(Kind::Choice(words), list, path);
                for (index, one) in list.iter().enumerate().filter(|(i, one)| list.iter().take(*i).any(|o| o == *one)) {
                    let again = Fault::new(join_index(path, index), Some(one.clone()), "must be there only once");
                    self.faults.push(again);
                }
            }
            (Kind::Map(rule), Value::Object(map)) => self.map(rule, node, map, path),
            (Kind::Shorthand(_), Value::Object(_)) => self.section(node, value, path),
            (kind, value) => {
                if let Some(rule) = kind.broken(value) {
                    let hint = value.as_str().and_then(|word| did_you_mean(word, kind.words().iter().copied()));
                    let shown = (!matches!(kind, Kind::Env)).then(|| value.clone());
                    self.faults.push(Fault::new(path, shown, rule).hinted(hint));
                }
                self.unusual(field, value, path);
                if let (Some(child), Value::Array(list)) = (node.child("[]"), value) {
                    list.iter().enumerate().for_each(|(i, v)| self.visit(child, v, &join_index(path, i)));
                }
            }
        }
    }

    fn elements(&mut self, kind: Kind, list: &[Value], path: &str) {
        for (index, value) in list.iter().enumerate() {
            if let Some(rule) = kind.broken(value) {
                let hint = value.as_str().and_then(|word| did_you_mean(word, kind.words().iter().copied()));
                self.faults.push(Fault::new(join_index(path, index), Some(value.clone()), rule).hinted(hint));
            }
        }
    }

    fn map(&mut self, rule: Text, node: &Node, map: &Map<String, Value>, path: &str) {
        for (key, value) in map {
            let inner = join_key(path, key);
            if !rule.holds(key) {
                let intents = if rule == Text::Intent { super::rules::INTENTS } else { &[] };
                let hint = did_you_mean(key, intents.iter().copied());
                self.faults.push(Fault::new(&inner, None, format!("{BAD_KEY} {}", rule.rule())).hinted(hint));
            }
            if let Some(child) = node.child("*") {
                self.visit(child, value, &inner);
            }
        }
    }

    fn unusual(&mut self, field: &Field, value: &Value, path: &str) {
        if let (Some((low, high)), Some(n)) = (field.usual, value.as_i64())
            && n != 0
            && !(low..=high).contains(&n)
        {
            self.warnings.push(format!("{path}: {n} {} is outside the usual {low} to {high}", field.unit));
        }
    }
}

/// "did you mean": a key of the same section, else the same key in another section.
fn similar_key(node: &Node, key: &str) -> Option<String> {
    did_you_mean(key, node.keys()).or_else(|| {
        let elsewhere = fields::FIELDS.iter().find(|field| field.path.rsplit('.').next() == Some(key))?;
        Some(format!("did you mean `{}`?", elsewhere.path))
    })
}

/// The hint that names the nearest of the words, if one is near.
pub fn did_you_mean<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<String> {
    let lower = word.to_lowercase();
    let score = |candidate: &str| {
        let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
        let near = distance <= (candidate.chars().count() / 3).max(1);
        let alike = strsim::jaro_winkler(&lower, &candidate.to_lowercase()) >= 0.88;
        // A distance as long as the word means that nothing of it is left.
        ((near || alike) && distance < lower.chars().count()).then_some(distance)
    };
    let (_, best) = words.filter_map(|w| score(w).map(|s| (s, w))).min_by_key(|(score, _)| *score)?;
    Some(format!("did you mean `{best}`?"))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
