//! Where things stand in a JSON text: a scanner that maps paths to line and column and finds duplicate keys.
//!
//! serde_json gives values without positions and lets the last of two equal keys win in silence, so a fault could
//! name neither its place nor the lost key. This scanner never panics: on text that is not JSON it stops where it
//! stands and returns what it has; the syntax error itself is serde_json's to report.

use std::collections::HashMap;

/// As deep as serde_json goes; deeper text has been refused by it already.
const MAX_DEPTH: usize = 128;

/// A place in the text, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// What the scanner found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    keys: HashMap<String, Place>,
    values: HashMap<String, Place>,
    /// Paths of keys that appear again in the same object, with the place of each repetition.
    pub duplicates: Vec<(String, Place)>,
}

impl Spans {
    /// Where the key at this path stands; the value's place for array elements.
    pub fn key(&self, path: &str) -> Option<Place> {
        self.keys.get(path).or_else(|| self.values.get(path)).copied()
    }

    /// Where the value at this path stands.
    pub fn value(&self, path: &str) -> Option<Place> {
        self.values.get(path).copied()
    }
}

/// The path of `key` inside `base`: `base.key`, or `base["a key"]` when the key would be ambiguous with dots.
pub fn join_key(base: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match (plain, base.is_empty()) {
        (true, true) => key.to_string(),
        (true, false) => format!("{base}.{key}"),
        (false, _) => format!("{base}[{}]", serde_json::Value::from(key)),
    }
}

/// The path of element `index` inside `base`.
pub fn join_index(base: &str, index: usize) -> String {
    format!("{base}[{index}]")
}

/// Scans a whole text.
pub fn scan(text: &str) -> Spans {
    let mut scanner = Scanner { rest: text.chars().peekable(), line: 1, column: 1, spans: Spans::default() };
    let _ = scanner.value("", 0);
    scanner.spans
}

/// Line and column (in characters) of serde_json's line and byte column.
pub fn place_of(text: &str, line: usize, byte_column: usize) -> Place {
    let content = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
    let before = content.char_indices().take_while(|(at, _)| *at < byte_column).count();
    Place { line: to_u32(line.max(1)), column: to_u32(before.max(1)) }
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

struct Scanner<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
    column: u32,
    spans: Spans,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line = self.line.saturating_add(1);
            self.column = 1;
        } else {
            self.column = self.column.saturating_add(1);
        }
        Some(c)
    }

    fn blank(&mut self) -> Option<char> {
        while self.rest.peek().is_some_and(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) {
            self.next();
        }
        self.rest.peek().copied()
    }

    fn here(&self) -> Place {
        Place { line: self.line, column: self.column }
    }

    /// `None` means that the text is no JSON from here on.
    fn value(&mut self, path: &str, depth: usize) -> Option<()> {
        let first = self.blank()?;
        self.spans.values.insert(path.to_string(), self.here());
        match first {
            _ if depth > MAX_DEPTH => None,
            '{' => self.object(path, depth),
            '[' => self.array(path, depth),
            '"' => self.string().map(drop),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, path: &str, depth: usize) -> Option<()> {
        self.next();
        if self.blank()? == '}' {
            self.next();
            return Some(());
        }
        let mut seen = std::collections::HashSet::new();
        loop {
            self.blank()?;
            let at = self.here();
            let key = self.string()?;
            let inner = join_key(path, &key);
            if seen.insert(key) {
                self.spans.keys.insert(inner.clone(), at);
            } else {
                self.spans.duplicates.push((inner.clone(), at));
            }
            if self.blank()? != ':' {
                return None;
            }
            self.next();
            self.value(&inner, depth + 1)?;
            if self.more('}')? {
                continue;
            }
            return Some(());
        }
    }

    fn array(&mut self, path: &str, depth: usize) -> Option<()> {
        self.next();
        if self.blank()? == ']' {
            self.next();
            return Some(());
        }
        for index in 0.. {
            self.value(&join_index(path, index), depth + 1)?;
            if !self.more(']')? {
                break;
            }
        }
        Some(())
    }

    /// After an element: `true` past a comma, `false` past the closing bracket.
    fn more(&mut self, close: char) -> Option<bool> {
        let c = self.blank()?;
        self.next();
        match c {
            ',' => Some(true),
            c if c == close => Some(false),
            _ => None,
        }
    }

    fn string(&mut self) -> Option<String> {
        if self.next()? != '"' {
            return None;
        }
        let mut raw = String::from('"');
        loop {
            let c = self.next()?;
            raw.push(c);
            match c {
                '"' => break,
                '\\' => raw.push(self.next()?),
                _ => {}
            }
        }
        // Escapes are decoded by serde_json, so that a key here is the same text as the key there.
        serde_json::from_str(&raw).ok()
    }

    fn scalar(&mut self) -> Option<()> {
        let mut length = 0;
        while self.rest.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) {
            self.next();
            length += 1;
        }
        (length > 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn at(line: u32, column: u32) -> Option<Place> {
        Some(Place { line, column })
    }

    #[test]
    fn finds_keys_and_values() {
        let spans = scan("{\n  \"a\": {\"b.c\": [1,\n 22]},\n\t\"é\": \"x\"\n}");
        assert_eq!(spans.value(""), at(1, 1));
        assert_eq!(spans.key("a"), at(2, 3));
        assert_eq!(spans.value("a"), at(2, 8));
        assert_eq!(spans.key("a[\"b.c\"]"), at(2, 9));
        assert_eq!(spans.value("a[\"b.c\"][1]"), at(3, 2));
        assert_eq!(spans.key("[\"é\"]"), at(4, 2));
        assert_eq!(spans.value("[\"é\"]"), at(4, 7));
        assert!(spans.duplicates.is_empty());
    }

    #[test]
    fn finds_duplicates_also_when_written_with_escapes() {
        let spans = scan("{\"a\":1,\n\"\\u0061\":2, \"b\":{\"c\":1,\"c\":1}}");
        let found: Vec<_> = spans.duplicates.iter().map(|(p, at)| (p.as_str(), at.line, at.column)).collect();
        assert_eq!(found, [("a", 2, 1), ("b.c", 2, 24)]);
    }

    #[test]
    fn deep_nesting_ends() {
        scan(&"[".repeat(100_000));
        scan(&"{\"a\":".repeat(100_000));
    }

    fn paths(value: &Value, path: &str, out: &mut Vec<String>) {
        out.push(path.to_string());
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| paths(v, &join_key(path, k), out)),
            Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| paths(v, &join_index(path, i), out)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..4).prop_map(|kv| Value::Object(kv.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*|[\\[\\]{}:,\"\\\\ \na1]*") {
            scan(&text);
            place_of(&text, text.len(), 3);
        }

        #[test]
        fn every_path_of_a_document_has_a_place(value in json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let spans = scan(&text);
            let mut all = Vec::new();
            paths(&value, "", &mut all);
            for path in all {
                prop_assert!(spans.value(&path).is_some(), "{path:?} in {text}");
            }
            prop_assert!(spans.duplicates.is_empty());
        }
    }
}
