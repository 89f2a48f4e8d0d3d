//! The policy file as JSON Schema (draft 2020-12), from the table of fields.

use super::fields::{Field, Node, Preset, tree};
use super::rules::{Kind, Text};
use serde_json::{Map, Value, json};

const NAME: &str = r"^(?!.*\.\.)(?!.*\.lock$)(?!.*\.$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";
const ENV_NAME: &str = "^(?!METAWSM_)[A-Za-z_][A-Za-z0-9_]*$";

/// JSON Schema of the policy file, with description, unit (`x-unit`), default, range and usual range (`x-usual`).
pub fn schema() -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "metawsm policy",
    });
    extend(&mut schema, node_schema(tree()));
    schema
}

fn extend(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

fn node_schema(node: &Node) -> Value {
    let Some(field) = node.field else { return object(node) };
    let mut schema = json!({ "description": field.doc });
    extend(&mut schema, kind_schema(field.kind, node));
    extend(&mut schema, annotations(field));
    schema
}

fn annotations(field: &Field) -> Value {
    let mut notes = Map::new();
    if let Some(default) = field.preset.value() {
        notes.insert("default".into(), default);
    }
    if !field.unit.is_empty() {
        notes.insert("x-unit".into(), field.unit.into());
    }
    if let Some((low, high)) = field.usual {
        notes.insert("x-usual".into(), json!([low, high]));
    }
    Value::Object(notes)
}

/// A section, or an element of a list of objects.
fn object(node: &Node) -> Value {
    let named = || node.children.iter().filter(|(name, _)| *name != "*" && *name != "[]");
    let properties: Map<String, Value> = named().map(|(name, child)| (name.to_string(), node_schema(child))).collect();
    let required: Vec<&str> =
        named().filter(|(_, c)| c.field.is_some_and(|f| f.preset == Preset::Required)).map(|(n, _)| *n).collect();
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        extend(&mut schema, json!({ "required": required }));
    }
    schema
}

fn kind_schema(kind: Kind, node: &Node) -> Value {
    let below = |name: &str| node.child(name).map_or(json!({}), node_schema);
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Only(value) => json!({ "const": value }),
        Kind::Int(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Number(min, max) => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Choices(words) => json!({"type": "array", "uniqueItems": true, "items": {"enum": words}}),
        Kind::Text(rule) => text(rule),
        Kind::Texts(rule) => json!({"type": "array", "items": text(rule)}),
        Kind::Argv(min) => command(min),
        Kind::Argvs => json!({"type": "array", "items": command(1)}),
        Kind::Template(names) => {
            json!({"type": "array", "items": {"type": "string"}, "x-placeholders": names})
        }
        Kind::Objects(min) => json!({"type": "array", "minItems": min, "items": below("[]")}),
        Kind::Map(rule) => json!({"type": "object", "propertyNames": text(rule), "additionalProperties": below("*")}),
        Kind::Shorthand(key) => json!({"anyOf": [object(node), {"type": "string", "x-stands-for": key}]}),
        Kind::Env => json!({"anyOf": [
            {"type": "string"},
            {"type": "object", "additionalProperties": false, "required": ["from"], "properties": {"from": {"type": "string"}}},
        ]}),
    }
}

fn command(min: usize) -> Value {
    json!({"anyOf": [
        {"type": "array", "items": {"type": "string"}, "minItems": min},
        {"type": "string", "x-rule": "plain words; a shell line is [\"sh\", \"-c\", \"…\"]"},
    ]})
}

fn text(rule: Text) -> Value {
    match rule {
        Text::Any => json!({"type": "string"}),
        Text::NonBlank => json!({"type": "string", "pattern": r"\S"}),
        Text::Name => json!({"type": "string", "pattern": NAME}),
        Text::EnvName => json!({"type": "string", "pattern": ENV_NAME}),
        Text::Intent => json!({"enum": super::rules::INTENTS}),
        Text::RefName
        | Text::SessionPattern
        | Text::BranchTemplate
        | Text::HttpUrl
        | Text::HttpUrlOrEmpty
        | Text::RedisUrl
        | Text::Socket
        | Text::Glob => json!({"type": "string", "x-rule": rule.rule()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::fields::{FIELDS, segments};

    /// Follows a table path through the schema.
    fn place(schema: &Value, path: &'static str) -> Value {
        segments(path).iter().fold(schema.clone(), |at, segment| {
            let at = if at["anyOf"].is_array() { at["anyOf"][0].clone() } else { at };
            match *segment {
                "[]" => at["items"].clone(),
                "*" => at["additionalProperties"].clone(),
                name => at["properties"][name].clone(),
            }
        })
    }

    #[test]
    fn every_key_is_described_with_default_range_and_unit() {
        let schema = schema();
        for field in FIELDS {
            let at = place(&schema, field.path);
            assert_eq!(at["description"], field.doc, "{}", field.path);
            assert_eq!(at.get("default").cloned(), field.preset.value(), "{}", field.path);
            if let Kind::Int(min, max) = field.kind {
                assert_eq!((&at["minimum"], &at["maximum"]), (&json!(min), &json!(max)), "{}", field.path);
            }
            assert_eq!(at.get("x-unit").is_some(), !field.unit.is_empty(), "{}", field.path);
        }
    }

    #[test]
    fn objects_are_closed() {
        assert_eq!(schema()["additionalProperties"], false);
        assert_eq!(place(&schema(), "agents[]")["required"], json!(["name", "profile"]));
    }
}
