//! What a control-mode client prints, cut into answers. Strict: what does not fit the protocol ends the client.
//!
//! `%begin time number flags`, the answer's lines, then `%end` or `%error` with the same three. Between answers come
//! notifications, which are lines with `%` at their beginning.

/// The most bytes one answer may have: past this the other end is no tmux.
const LARGEST: usize = 32 * 1024 * 1024;

/// The answer to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Whether tmux did what it was asked.
    pub ok: bool,
    /// Whether it answers a command of this client; attaching itself is answered as well, and is none.
    pub ours: bool,
    /// Its lines.
    pub lines: Vec<String>,
}

/// What came of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// It belongs to an answer that is not complete.
    Inside,
    /// An answer is complete.
    Answer(Block),
    /// A notification: its first word.
    Notice(String),
}

/// Why a line ends the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("control mode broke off at {0:?}")]
pub struct Broken(pub String);

/// Cuts lines into answers.
#[derive(Debug, Default)]
pub struct Cutter {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// `time number flags`, as its end has to repeat them.
    tag: String,
    lines: Vec<String>,
    size: usize,
}

impl Cutter {
    /// Takes one line, without its end.
    ///
    /// # Errors
    /// [`Broken`], with the line.
    pub fn line(&mut self, line: &str) -> Result<Cut, Broken> {
        match &mut self.open {
            Some(open) => {
                if let Some(ok) = ends(line, &open.tag) {
                    let ours = open.tag.rsplit(' ').next().is_some_and(|flags| flags == "1");
                    let lines = std::mem::take(&mut open.lines);
                    self.open = None;
                    return Ok(Cut::Answer(Block { ok, ours, lines }));
                }
                open.size += line.len() + 1;
                if open.size > LARGEST {
                    return Err(Broken("an answer without an end".to_owned()));
                }
                open.lines.push(line.to_owned());
                Ok(Cut::Inside)
            }
            None => match line.strip_prefix("%begin ") {
                Some(tag) if is_tag(tag) => {
                    self.open = Some(Open { tag: tag.to_owned(), lines: Vec::new(), size: 0 });
                    Ok(Cut::Inside)
                }
                None if line.starts_with('%') && !line.starts_with("%end ") && !line.starts_with("%error ") => {
                    Ok(Cut::Notice(line.split(' ').next().unwrap_or_default().to_owned()))
                }
                Some(_) | None => Err(Broken(line.chars().take(200).collect())),
            },
        }
    }
}

/// Whether the line ends the answer of this tag, and how.
fn ends(line: &str, tag: &str) -> Option<bool> {
    [("%end ", true), ("%error ", false)]
        .into_iter()
        .find_map(|(word, ok)| (line.strip_prefix(word)? == tag).then_some(ok))
}

fn is_tag(tag: &str) -> bool {
    let mut parts = tag.split(' ');
    let number = |part: Option<&str>| part.is_some_and(|part| super::super::parse::number::<u64>(part).is_some());
    number(parts.next()) && number(parts.next()) && number(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str) -> Result<Vec<Cut>, Broken> {
        let mut cutter = Cutter::default();
        let cuts: Result<Vec<Cut>, Broken> = text.lines().map(|line| cutter.line(line)).collect();
        Ok(cuts?.into_iter().filter(|cut| *cut != Cut::Inside).collect())
    }

    fn block(ok: bool, ours: bool, lines: &[&str]) -> Cut {
        Cut::Answer(Block { ok, ours, lines: lines.iter().map(|line| (*line).to_owned()).collect() })
    }

    #[test]
    fn answers_and_notices_come_in_turn() {
        let text = "%begin 1 2 0\n%end 1 2 0\n%session-changed $0 _metawsm\n%begin 1 3 1\n%0|12\n\n%end 1 4 1\n%end 1 3 1\n%error 9\n";
        let (all, last) = text.trim_end().rsplit_once('\n').unwrap();
        let cuts = cut(all).unwrap();
        // A line of the answer that looks like another one's end is a line.
        let wanted = [
            block(true, false, &[]),
            Cut::Notice("%session-changed".to_owned()),
            block(true, true, &["%0|12", "", "%end 1 4 1"]),
        ];
        assert_eq!(cuts, wanted);
        assert_eq!(cut(&format!("{all}\n{last}")), Err(Broken("%error 9".to_owned())));
    }

    #[test]
    fn a_refusal_is_an_answer() {
        assert_eq!(
            cut("%begin 7 8 1\nno such thing\n%error 7 8 1\n"),
            Ok(vec![block(false, true, &["no such thing"])])
        );
    }

    #[test]
    fn what_no_tmux_says_breaks_it_off() {
        for line in ["hello", "", "%begin", "%begin 1 2", "%begin 1 2 x", "%begin 1 2 3 4", "%end 1 2 1"] {
            let broken = cut(&format!("{line}\nrest\n"));
            if line == "%begin" {
                // A notice we do not know; the next line belongs to nothing.
                assert_eq!(broken, Err(Broken("rest".to_owned())));
            } else {
                assert_eq!(broken, Err(Broken(line.to_owned())), "{line}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            blocks in proptest::collection::vec((any::<bool>(), proptest::collection::vec("[^\n\r]{0,20}", 0..5)), 0..6),
            noise in "%[a-z-]{1,12}( [a-z]{0,5})?",
        ) {
            prop_assume!(!noise.starts_with("%begin ") && !noise.starts_with("%end ") && !noise.starts_with("%error "));
            let mut text = String::new();
            let mut wanted = Vec::new();
            for (at, (ok, lines)) in blocks.iter().enumerate() {
                let end = if *ok { "%end" } else { "%error" };
                let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
                text += &format!("{noise}\n%begin 5 {at} 1\n{body}{end} 5 {at} 1\n");
                let notice = noise.split(' ').next().unwrap_or_default().to_owned();
                wanted.push(Cut::Notice(notice));
                wanted.push(Cut::Answer(Block { ok: *ok, ours: true, lines: lines.clone() }));
            }
            let mut cutter = Cutter::default();
            let cuts: Vec<Cut> = text.split_terminator('\n').map(|line| cutter.line(line).unwrap()).collect();
            prop_assert_eq!(cuts.into_iter().filter(|cut| *cut != Cut::Inside).collect::<Vec<_>>(), wanted);
        }

        #[test]
        fn no_line_makes_it_panic(lines in proptest::collection::vec("(%begin |%end |%error )?[%0-9a-z ]{0,12}", 0..12)) {
            let mut cutter = Cutter::default();
            for line in &lines {
                let _ = cutter.line(line);
            }
        }
    }
}
