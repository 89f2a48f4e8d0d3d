//! What tmux prints, read strictly. Nothing here panics on any text.

use super::{Ended, Pane, Panes, Screen};

/// Fields of one pane. The session's name stands last: on the user's server it may hold any character.
pub(super) const PANE_FORMAT: &str = "#{pane_id}|#{pane_pid}|#{pane_dead}|#{window_activity}|#{session_name}";

/// What changes about panes from look to look: each field of each pane costs the server about a microsecond.
pub(super) const NEWS_FORMAT: &str = "#{pane_pid}|#{pane_dead}|#{window_activity}";

/// What is asked about a dead pane.
pub(super) const END_FORMAT: &str = "#{pane_pid}|#{pane_dead}|#{pane_dead_status}|#{pane_dead_signal}";

/// Reads [`END_FORMAT`]; `None` where it is another process, or one that lives.
pub(super) fn parse_end(text: &str, pane_pid: u32) -> Option<Ended> {
    let mut fields = text.trim_end_matches('\n').split('|');
    let (pid, dead) = (number::<u32>(fields.next()?)?, fields.next()?);
    let (status, signal) = (fields.next()?, fields.next()?);
    if pid != pane_pid || dead != "1" {
        return None;
    }
    Some(match number(status) {
        Some(status) => Ended::Status(status),
        None if signal.is_empty() => Ended::NotSaid,
        None => Ended::Signal,
    })
}

/// What is asked beside the text of a screen. The title stands last: programs set it.
pub(super) const SCREEN_FORMAT: &str = "#{history_size}|#{pane_title}";

/// A screen, with what was answered to [`SCREEN_FORMAT`].
pub(super) fn screen(text: String, rest: &str) -> Screen {
    let (history, title) = rest.split_once('|').unwrap_or((rest, ""));
    Screen { text, title: title.to_owned(), history: number(history).unwrap_or_default() }
}

/// Reads the server's pid on the first line and one pane on each other line.
///
/// # Errors
/// The line that is not as it must be.
pub fn parse_panes(text: &str) -> Result<Panes, String> {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let server_pid = number(first).ok_or_else(|| first.to_owned())?;
    let panes = lines.map(|line| parse_pane(line).ok_or_else(|| line.to_owned())).collect::<Result<_, _>>()?;
    Ok(Panes { server_pid, panes })
}

fn parse_pane(line: &str) -> Option<Pane> {
    let mut fields = line.splitn(5, '|');
    let pane_id = pane_id(fields.next()?)?;
    let pane_pid = number(fields.next()?)?;
    let dead = flag(fields.next()?)?;
    let activity = number(fields.next()?)?;
    let session = fields.next().filter(|name| !name.is_empty())?.to_owned();
    Some(Pane { session, pane_id, pane_pid, dead, activity })
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// Reads what was answered to [`NEWS_FORMAT`] into the panes as they were listed before. `false`: these are other
/// panes, or one of them died, and all is to be asked again.
///
/// # Errors
/// The line that is not as it must be.
pub(super) fn take_news(panes: &mut Panes, lines: &[String]) -> Result<bool, String> {
    if lines.len() != panes.panes.len() {
        return Ok(false);
    }
    for (pane, line) in panes.panes.iter_mut().zip(lines) {
        let (pid, dead, activity) = parse_news(line).ok_or_else(|| line.clone())?;
        if (pid, dead) != (pane.pane_pid, pane.dead) {
            return Ok(false);
        }
        pane.activity = activity;
    }
    Ok(true)
}

fn parse_news(line: &str) -> Option<(u32, bool, i64)> {
    let mut fields = line.split('|');
    let news = (number(fields.next()?)?, flag(fields.next()?)?, number(fields.next()?)?);
    fields.next().is_none().then_some(news)
}

/// Reads `%7 4321`, a pane's id and its process.
pub(super) fn parse_created(text: &str) -> Option<(String, u32)> {
    let (id, pid) = text.trim_end_matches('\n').split_once(' ')?;
    Some((pane_id(id)?, number(pid)?))
}

fn pane_id(text: &str) -> Option<String> {
    text.strip_prefix('%').and_then(number::<u32>)?;
    Some(text.to_owned())
}

/// A number without sign, spaces or anything else around it.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether tmux said that there is no server on the socket, as against that it could not be asked.
pub(super) fn says_no_server(complaint: &str) -> bool {
    complaint.contains("no server running on ")
        || complaint.contains("error connecting to ")
            && (complaint.contains("(No such file or directory)") || complaint.contains("(Connection refused)"))
}

/// Whether tmux said that the server went away while it was asked.
pub(super) fn says_lost_server(complaint: &str) -> bool {
    complaint.contains("server exited unexpectedly") || complaint.contains("lost server")
}

/// One argument for tmux: a `;` at its end would begin another command.
pub(super) fn quoted(arg: &std::ffi::OsStr) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = arg.as_bytes().to_vec();
    if bytes.last() == Some(&b';') {
        bytes.insert(bytes.len() - 1, b'\\');
    }
    std::ffi::OsString::from_vec(bytes)
}

/// A captured screen without the line that tmux writes below an ended program's: that the pane is dead is not among
/// the agent's words, and how its program ended is said better elsewhere.
pub fn without_note(bytes: Vec<u8>) -> Vec<u8> {
    let trimmed = bytes.trim_ascii_end();
    let start = trimmed.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut line = &trimmed[start..];
    while let Some(rest) = line.strip_prefix(b"\x1b[") {
        let end = rest.iter().position(|byte| *byte == b'm').map_or(rest.len(), |at| at + 1);
        line = &rest[end..];
    }
    let dead = line.strip_prefix(b"Pane is dead").is_some_and(|rest| rest.is_empty() || rest.starts_with(b" ("));
    if dead { trimmed[..start].trim_ascii_end().to_vec() } else { bytes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn panes_are_read_and_their_news_where_they_are_the_same() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let listed = parse_panes("77\n%0|12|1|1795249085|agent-1\n%1|13|0|0|a|b c\n").unwrap();
        assert_eq!((listed.server_pid, listed.panes[1].session.as_str()), (77, "a|b c"));
        let mut panes = listed.clone();
        assert_eq!(take_news(&mut panes, &lines("12|1|5\n13|0|7")), Ok(true));
        assert_eq!(panes.panes.iter().map(|pane| pane.activity).collect::<Vec<_>>(), [5, 7]);
        for other in ["12|1|5", "12|1|5\n13|1|7", "12|1|5\n14|0|7", "13|0|7\n12|1|5", "12|1|5\n13|0|7\n14|0|0"] {
            assert_eq!(take_news(&mut listed.clone(), &lines(other)), Ok(false), "{other}");
        }
        for wrong in ["12|1|\n13|0|7", "12|1|5|\n13|0|7", "12|2|5\n13|0|7", "-12|1|5\n13|0|7"] {
            assert!(take_news(&mut listed.clone(), &lines(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_as_it_must_be_is_refused_with_its_line() {
        for line in ["", "%0|12|1|5", "0|12|1|5|a", "%0|12|2|5|a", "%0|12|1|x|a", "%0|+12|1|5|a", "%0|12|1|5|"] {
            assert_eq!(parse_panes(&format!("1\n{line}\n")).unwrap_err(), line);
        }
        assert!(parse_panes("").is_err());
    }

    #[test]
    fn how_a_program_ended_is_read_of_that_program_only() {
        assert_eq!(parse_end("12|1|7|\n", 12), Some(Ended::Status(7)));
        assert_eq!(parse_end("12|1||9\n", 12), Some(Ended::Signal));
        assert_eq!(parse_end("12|1||\n", 12), Some(Ended::NotSaid));
        for other in ["13|1|7|", "12|0||", "", "12|1|7", "x|1|7|"] {
            assert_eq!(parse_end(other, 12), None, "{other}");
        }
    }

    #[test]
    fn no_server_and_a_lost_server_are_two_things() {
        assert!(says_no_server("no server running on /tmp/x"));
        assert!(says_no_server("error connecting to /tmp/x (No such file or directory)"));
        assert!(!says_no_server("error connecting to /tmp/x (Permission denied)"));
        assert!(!says_no_server("server exited unexpectedly"));
    }

    prop_compose! {
        fn any_pane()(session in "[^\n\r]{1,12}", id: u32, pane_pid: u32, dead: bool, activity in 0i64..i64::MAX)
            -> Pane
        {
            Pane { session, pane_id: format!("%{id}"), pane_pid, dead, activity }
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(server_pid: u32, panes in proptest::collection::vec(any_pane(), 0..8)) {
            let mut text = format!("{server_pid}\n");
            for pane in &panes {
                let dead = u8::from(pane.dead);
                text += &format!("{}|{}|{dead}|{}|{}\n", pane.pane_id, pane.pane_pid, pane.activity, pane.session);
            }
            prop_assert_eq!(parse_panes(&text), Ok(Panes { server_pid, panes }));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,80}", noise in "[%|0-9\n]{0,80}") {
            let _ = parse_panes(&text);
            let _ = parse_panes(&noise);
            let _ = parse_created(&text);
        }
    }

    #[test]
    fn the_note_of_a_dead_pane_is_not_the_agents() {
        assert_eq!(without_note(b"hello\n\n\n\x1b[0m\x1b[mPane is dead (status 0)\n\n".to_vec()), b"hello");
        assert_eq!(without_note(b"hello\nPane is dead\n".to_vec()), b"hello");
        for whole in [&b"hello\nworld\n"[..], b"he said: Pane is dead", b"Pane is deadly"] {
            assert_eq!(without_note(whole.to_vec()), whole);
        }
    }
}
