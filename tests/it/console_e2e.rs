//! The real console in a real terminal, which is a tmux of our own: text is waited for, keys are typed.

use std::process::Command;

use serde_json::json;

use super::console_seat::{Seat, agents, bin, home};
use super::harness::{Server, signal, wait_for};

#[test]
fn the_demo_is_played_by_a_human() {
    let tmp = tempfile::tempdir().unwrap();
    let line = |_: &Server| format!("TMPDIR={} {} demo", tmp.path().display(), bin());
    let seat = Seat::new((160, 45), line);
    seat.sees("The planner asks soon");
    seat.sees("asks you");
    seat.types(&["w"]);
    seat.types(&["r"]);
    seat.sees("Answers planner's question");
    seat.types(&["-l", "two tables, please"]);
    seat.sees("two tables, please");
    seat.types(&["C-s"]);
    seat.sees("answered");
    seat.types(&["Escape"]);
    // The coder crashed meanwhile, and rule 3 has started it again: one restart of three is used.
    seat.sees("1/3");
    seat.sees("✓ SHOP-7");
    seat.types(&["1"]);
    seat.types(&["C"]);
    seat.sees("m merges first");
    seat.types(&["m"]);
    seat.sees("merge and close");
    seat.agrees();
    seat.sees("is closed");
    seat.types(&["q"]);
    seat.sees("Everything of the demo is removed");
    seat.agrees();
    seat.is_restored("0");
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0, "the demo leaves nothing behind");
}

#[test]
fn a_run_is_stopped_and_restarted_and_outlives_the_console() {
    let seat = Seat::new((80, 24), |server| {
        let home = home(server);
        format!("cd {} && {} run --ticket API-1 --repos api", home.display(), bin())
    });
    seat.sees("● worker");
    seat.types(&["2"]);
    seat.types(&["S"]);
    seat.sees("Stop worker?");
    seat.types(&["Enter"]);
    seat.types(&["S"]);
    seat.sees("Stop worker?");
    seat.agrees();
    seat.sees("stopped");
    seat.types(&["R"]);
    seat.sees("Restart worker?");
    seat.agrees();
    seat.sees("● worker");
    seat.types(&["5"]);
    seat.sees("hello from the worker");
    for (width, height) in (0..30).map(|turn| (20 + turn * 37 % 180, 5 + turn * 17 % 50)) {
        seat.server.raw(&["resize-window", "-t", "=seat:", "-x", &width.to_string(), "-y", &height.to_string()]);
    }
    seat.server.raw(&["resize-window", "-t", "=seat:", "-x", "160", "-y", "45"]);
    seat.sees("3 Escalations");
    seat.types(&["q"]);
    seat.sees("Nobody watches them then");
    seat.agrees();
    seat.is_restored("0");
    assert!(agents(&seat).contains("worker"), "the agent goes on");
}

#[test]
fn terminated_it_gives_the_terminal_back_and_keeps_the_draft() {
    let seat = Seat::new((100, 30), |server| format!("cd {} && {}", home(server).display(), bin()));
    seat.sees("No run yet");
    assert_eq!(seat.alternate(), "1");
    seat.types(&["A"]);
    seat.sees("New thread");
    seat.types(&["-l", "API-2"]);
    seat.types(&["Tab"]);
    seat.types(&["-l", "half a thought"]);
    seat.sees("half a thought");
    let draft = seat.server.path().join("home/.metawsm/drafts/new-thread.md");
    wait_for("the draft", || std::fs::read_to_string(&draft).ok().filter(|text| text.contains("half a thought")));
    let shell = seat.server.pane("seat").unwrap().pane_pid.to_string();
    let child = Command::new("pgrep").args(["-P", &shell]).output().unwrap();
    let pid: u32 = String::from_utf8_lossy(&child.stdout).trim().parse().unwrap();
    signal(pid, "TERM");
    seat.is_restored("0");
    assert!(draft.exists());
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let seat = Seat::new((80, 24), |server| format!("cd {} && TERM=dumb {}", home(server).display(), bin()));
    seat.sees("TERM is dumb");
    seat.sees("metawsm --headless");
}

/// A question is asked, looked for, answered with one's own editor, and closed.
#[test]
fn a_thread_is_found_answered_in_an_editor_and_closed() {
    let editor = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/editor.sh");
    let seat = Seat::new((120, 30), |server| {
        let ask = |title: &str, body: &str| {
            format!("{} forum ask --ticket API-1 --title '{title}' --body '{body}' >ask.log 2>&1", bin())
        };
        let (one, two) = (ask("naming", "lease or lock?"), ask("schema", "one table or two?"));
        format!("cd {} && {one}; {two}; VISUAL='sh {editor}' {}", home(server).display(), bin())
    });
    seat.sees("4 Forum");
    seat.types(&["4", "Right", "Right", "Right"]);
    seat.sees("schema");
    seat.types(&["-l", "/leas"]);
    seat.sees("found 1");
    seat.sees("lease or lock?");
    seat.types(&["Enter"]);
    seat.types(&["Enter"]);
    seat.sees("naming · API-1");
    seat.types(&["r"]);
    seat.types(&["-l", "a lease"]);
    seat.sees("a lease");
    seat.types(&["C-e"]);
    seat.sees("editing");
    assert_eq!(seat.alternate(), "0", "the editor has the terminal");
    seat.types(&["-l", "because it ends"]);
    seat.types(&["Enter"]);
    seat.sees("added: because it ends");
    assert_eq!(seat.alternate(), "1");
    // An editor that fails changes nothing.
    seat.types(&["C-e"]);
    seat.sees("editing");
    seat.types(&["-l", "fail"]);
    seat.types(&["Enter"]);
    seat.sees("the text is as it was");
    seat.types(&["C-s"]);
    seat.sees_no_more("ctrl-s send");
    seat.types(&["Escape"]);
    seat.sees_no_more("the text is as it was");
    seat.types(&["p"]);
    seat.sees("Priority (now normal)");
    seat.types(&["u"]);
    seat.types(&["Enter"]);
    seat.sees("urgent");
    seat.types(&["c"]);
    // It is closed once it can be opened again.
    seat.sees("o reopen");
    seat.types(&["o"]);
    seat.sees("triaged");
}

#[test]
fn the_operators_page_switches_the_mode_and_tries_a_dead_letter_again() {
    let seat = Seat::new((120, 30), |server| {
        let home = home(server);
        change_policy(&home, |policy| {
            let asks =
                "\"$METAWSM_BIN\" forum ask --wait --timeout 600s --title 'one table?' --body 'or two'; sleep 600";
            policy["agent_profiles"][0]["runner_options"]["command"] = json!(["sh", "-c", asks]);
            policy["notify"] = json!({ "command": ["sh", "-c", "echo no pager >&2; exit 3"] });
            policy["outbox"] = json!({ "max_attempts": 1 });
        });
        format!("cd {} && {} run --ticket API-1 --repos api", home.display(), bin())
    });
    let home = seat.server.path().join("home");
    seat.sees("outbox 1, 1 dead");
    seat.types(&["O"]);
    seat.sees("escalate_guidance called you one table?");
    seat.sees("Dead letters 1");
    seat.types(&["M"]);
    seat.sees("Mode (now off)");
    // A letter goes to the next word that begins with it.
    seat.types(&["a", "Enter"]);
    wait_for("the file to say so", || (read_policy(&home)["operator"]["llm"]["mode"] == "auto").then_some(()));
    seat.sees("Operator · auto");
    // The pager answers again; the letter comes through.
    change_policy(&home, |policy| policy["notify"] = json!({ "command": ["true"] }));
    wait_for("the letter to be selected", || {
        let there = seat.text().contains("letter 1: the notify command failed");
        if !there {
            seat.types(&["Down"]);
        }
        there.then_some(())
    });
    seat.types(&["D"]);
    seat.sees("Drop letter 1?");
    seat.types(&["Enter"]);
    seat.types(&["t"]);
    seat.sees_no_more("Dead letters");
    seat.sees("0 dead");
    seat.types(&["Escape"]);
    seat.sees("3 Escalations");
}

fn read_policy(home: &std::path::Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(home.join(".metawsm/policy.json")).unwrap()).unwrap()
}

fn change_policy(home: &std::path::Path, change: impl Fn(&mut serde_json::Value)) {
    let mut policy = read_policy(home);
    change(&mut policy);
    // Whole or not at all: it is being read meanwhile.
    let file = home.join(".metawsm/policy.json");
    std::fs::write(file.with_extension("new"), policy.to_string()).unwrap();
    std::fs::rename(file.with_extension("new"), file).unwrap();
}
