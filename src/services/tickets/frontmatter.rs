//! Text from strangers in YAML and Markdown: it stays one value, one line.

/// Characters that reorder or hide text: bidi controls, zero-width ones, and line ends of Unicode.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A YAML scalar: plain where that is certainly safe, else double-quoted with everything doubtful escaped.
pub fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Above the basic plane nothing needs an escape; below, four digits are enough.
            c if c.is_control() || is_deceptive(c) => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || " _./()-".contains(c));
    first && rest && !text.ends_with(' ') && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// One line for a Markdown heading: control and deceptive characters become spaces, runs of spaces one.
pub fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() || is_deceptive(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    words.join(" ").chars().take(300).collect::<String>().trim_end().to_owned()
}

/// Text for a document: without control characters other than line ends and tabs, without deceptive ones, and
/// without the beginning of an HTML comment, which would let it pass for one of our marks.
pub fn body(text: &str) -> String {
    let unix = text.replace("\r\n", "\n");
    let clean = unix.chars().filter(|c| matches!(c, '\n' | '\t') || !(c.is_control() || is_deceptive(*c)));
    clean.collect::<String>().replace("<!--", "&lt;!--")
}

/// The document with `Status:` of its frontmatter set; `None` without a frontmatter. Line ends stay as they are.
pub fn with_status(document: &str, status: &str) -> Option<String> {
    let mut lines: Vec<&str> = document.split_inclusive('\n').collect();
    if lines.first()?.trim_end() != "---" {
        return None;
    }
    let end = 1 + lines.iter().skip(1).position(|line| line.trim_end() == "---")?;
    let line_end = if lines[0].ends_with("\r\n") { "\r\n" } else { "\n" };
    let line = format!("Status: {status}{line_end}");
    match lines[1..end].iter().position(|line| line.starts_with("Status:")) {
        Some(at) => lines[1 + at] = &line,
        None => lines.insert(end, &line),
    }
    Some(lines.concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scalars_stay_one_value() {
        assert_eq!(scalar("Bootstrap metawsm (v1)"), "Bootstrap metawsm (v1)");
        assert_eq!(scalar("a: b"), "\"a: b\"");
        assert_eq!(scalar("x\n---\n\"y\" \u{1b}[0m\u{202e}"), "\"x\\n---\\n\\\"y\\\" \\u001b[0m\\u202e\"");
        assert_eq!((scalar("yes").as_str(), scalar("").as_str(), scalar("12").as_str()), ("\"yes\"", "\"\"", "\"12\""));
    }

    #[test]
    fn status_is_set_only_in_the_frontmatter() {
        let text = "---\nTitle: x\nStatus: active\n---\nStatus: mine\n";
        assert_eq!(with_status(text, "complete").unwrap(), "---\nTitle: x\nStatus: complete\n---\nStatus: mine\n");
        assert_eq!(
            with_status("---\r\nA: b\r\n---\r\n", "complete").unwrap(),
            "---\r\nA: b\r\nStatus: complete\r\n---\r\n"
        );
        assert_eq!(with_status("# no\n---\nStatus: x\n---\n", "complete"), None);
        assert_eq!(with_status("---\nStatus: open ended\n", "complete"), None);
    }

    proptest! {
        #[test]
        fn nothing_breaks_out(text in any::<String>()) {
            let value = scalar(&text);
            prop_assert!(!value.contains('\n') && !value.chars().any(char::is_control));
            prop_assert!(!one_line(&text).contains('\n'));
            prop_assert!(!body(&text).contains("<!--"));
            let _ = with_status(&text, "complete");
        }
    }
}
