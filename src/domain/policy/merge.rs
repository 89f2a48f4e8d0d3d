//! One resolution rule: defaults ← file ← flags. Objects merge key by key, everything else replaces.

use super::span::{join_index, join_key};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The policy file.
    File,
    /// The command line.
    Flag,
}

/// One step of a path through a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Key of an object.
    Key(String),
    /// Element of a list.
    Index(usize),
}

/// Lays `over` on `base`.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(key) {
                    Some(old) => merge(old, value),
                    None => {
                        base.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// A document with one value, at a dotted path; flags name keys, never elements.
pub fn at_path(path: &str, value: &Value) -> Value {
    path.rsplit('.').fold(value.clone(), |inner, key| {
        let mut map = Map::new();
        map.insert(key.to_string(), inner);
        Value::Object(map)
    })
}

/// Calls `seen` with every leaf: scalars, empty objects, lists that hold no object.
pub fn leaves(value: &Value, seen: &mut impl FnMut(&str, &[Step], &Value)) {
    walk(value, "", &mut Vec::new(), seen);
}

fn walk(value: &Value, path: &str, steps: &mut Vec<Step>, seen: &mut impl FnMut(&str, &[Step], &Value)) {
    let children: Vec<(Step, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect(),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().enumerate().map(|(index, value)| (Step::Index(index), value)).collect()
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    if children.is_empty() {
        return seen(path, steps, value);
    }
    for (step, child) in children {
        let inner = match &step {
            Step::Key(key) => join_key(path, key),
            Step::Index(index) => join_index(path, *index),
        };
        steps.push(step);
        walk(child, &inner, steps, seen);
        steps.pop();
    }
}

enum Found {
    Yes,
    No,
    /// Not here, but inside a list that is here: lists replace, so no lower layer counts.
    InOwnList,
}

fn look(document: &Value, steps: &[Step]) -> Found {
    let mut value = document;
    let mut in_list = false;
    for step in steps {
        let next = match (value, step) {
            (Value::Object(map), Step::Key(key)) => map.get(key),
            (Value::Array(list), Step::Index(index)) => {
                in_list = true;
                list.get(*index)
            }
            // A shorthand (a repo as a string) stands for what is below it.
            (_, Step::Key(_) | Step::Index(_)) => return Found::Yes,
        };
        match next {
            Some(next) => value = next,
            None if in_list => return Found::InOwnList,
            None => return Found::No,
        }
    }
    Found::Yes
}

/// Which layer a leaf comes from.
pub fn origin(steps: &[Step], file: &Value, flags: &Value) -> Origin {
    match look(flags, steps) {
        Found::Yes => Origin::Flag,
        Found::InOwnList => Origin::Default,
        Found::No => match look(file, steps) {
            Found::Yes => Origin::File,
            Found::InOwnList | Found::No => Origin::Default,
        },
    }
}

/// The origin of every leaf of the merged document. An empty container has leaves in no layer, so it is a default
/// unless a layer writes it.
pub fn origins(document: &Value, file: &Value, flags: &Value) -> BTreeMap<String, Origin> {
    let mut origins = BTreeMap::new();
    leaves(document, &mut |path, steps, _| {
        origins.insert(path.to_string(), origin(steps, file, flags));
    });
    origins
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_merge_and_lists_replace() {
        let mut base = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        merge(&mut base, &json!({"a": {"c": [3]}, "e": {"f": 2}}));
        assert_eq!(base, json!({"a": {"b": 1, "c": [3]}, "d": 1, "e": {"f": 2}}));
        assert_eq!(at_path("a.b", &json!(1)), json!({"a": {"b": 1}}));
    }

    #[test]
    fn a_list_of_a_flag_hides_the_list_of_the_file() {
        let file = json!({"l": [{"a": 1, "b": 1}], "r": {"x": "p"}});
        let flags = json!({"l": [{"a": 2}]});
        let document = json!({"l": [{"a": 2, "b": 0}], "r": {"x": {"path": "p"}}, "e": {}});
        let origins = origins(&document, &file, &flags);
        assert_eq!(origins["l[0].a"], Origin::Flag);
        assert_eq!(origins["l[0].b"], Origin::Default);
        assert_eq!(origins["r.x.path"], Origin::File);
        assert_eq!(origins["e"], Origin::Default);
    }
}
