//! A program that takes text as real agents do: a composer, bracketed paste, turns, dialogs. Tests run it in a pane and
//! tell it by a file how to behave; each message it was given stands in a file of its own, byte for byte.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, wait_for};

/// Without it the test that is the program does nothing.
const MARK: &str = "E2E_TUI";
/// A longer text is shown folded.
const SHOWN: usize = 600;

/// The policy of a world whose agent `coder` runs this program.
pub fn policy() -> Value {
    let program = std::env::current_exe().unwrap().display().to_string();
    json!({
        "runners": { "tui": {
            "start": [program, "tui::the_program_in_the_pane", "--exact", "--nocapture"],
            "waiting_patterns": ["Do you want to proceed?"],
            "ready_patterns": ["^❯(\u{a0}.*)?$"],
            "home_column": 2,
            "working_patterns": ["esc to interrupt"],
            "submit_delay_ms": 50,
        }},
        "agent_profiles": [{
            "name": "of-coder", "runner": "tui", "deliver": "paste", "env": { (MARK): "1" },
            "health": { "idle_seconds": 0, "activity_stalled_seconds": 0, "progress_stalled_seconds": 0 },
        }],
        "agents": [{ "name": "coder", "profile": "of-coder" }],
    })
}

/// A world with such an agent, which begins in this mode; and its run.
pub fn world(mode: &str) -> (World, String) {
    let world = World::with(&[], policy());
    set(&world, mode);
    let run = world.run(&[]);
    (world, run)
}

/// How the program is to behave: `ready`, `busy`, `dialog`, `blank`, `deaf` (Enter does nothing), `drowsy` (the next
/// Enter is a line break), `hung` (it reads nothing). `late` opens a dialog half a second after a text was put in,
/// before it reads on. `stalls MS` stops for so long when it is given a text and then opens a dialog; `takes MS` reads
/// on meanwhile, and deals with it afterwards; `asks MS` shows what it was told above its dialog, the others do not.
/// `mute` takes a text and shows nothing of it.
pub fn set(world: &World, mode: &str) {
    let file = world.home().join("mode");
    std::fs::write(file.with_extension("tmp"), mode).unwrap();
    std::fs::rename(file.with_extension("tmp"), file).unwrap();
}

/// Sets a mode, and waits until the screen shows it.
#[track_caller]
pub fn turn(world: &World, mode: &str) {
    set(world, mode);
    wait_for(&format!("mode {mode}"), PATIENCE, || (shown(world) == mode).then_some(()));
}

fn shown(world: &World) -> String {
    std::fs::read_to_string(world.home().join("shown")).unwrap_or_default()
}

/// The messages it was given.
pub fn sent(world: &World) -> Vec<String> {
    (1..).map_while(|n| std::fs::read_to_string(world.home().join(format!("sent-{n}"))).ok()).collect()
}

/// How often Enter was pressed while no dialog was open.
pub fn enters(world: &World) -> usize {
    std::fs::read(world.home().join("enters")).unwrap_or_default().len()
}

/// What was typed into a dialog, which nobody ever may.
pub fn answered(world: &World) -> bool {
    world.home().join("answered").exists()
}

struct Program {
    home: PathBuf,
    mode: String,
    composer: Vec<u8>,
    history: Vec<String>,
    given: usize,
    pasting: bool,
    pending: Vec<u8>,
    woken: bool,
    /// It has opened a dialog by itself.
    asks: bool,
}

/// Not a test of its own: the program.
#[test]
fn the_program_in_the_pane() {
    if std::env::var_os(MARK).is_none() {
        return;
    }
    let home = PathBuf::from(std::env::var_os("METAWSM_HOME").unwrap());
    let stdin = std::io::stdin();
    let mut modes = tcgetattr(&stdin).unwrap();
    modes.make_raw();
    modes.special_codes[SpecialCodeIndex::VMIN] = 0;
    modes.special_codes[SpecialCodeIndex::VTIME] = 1;
    tcsetattr(&stdin, OptionalActions::Now, &modes).unwrap();
    let mut program = Program {
        home,
        mode: String::new(),
        composer: Vec::new(),
        history: Vec::new(),
        given: 0,
        pasting: false,
        pending: Vec::new(),
        woken: false,
        asks: false,
    };
    let mut input = stdin.lock();
    let mut chunk = [0_u8; 4096];
    loop {
        program.look();
        if program.mode == "hung" {
            std::thread::sleep(std::time::Duration::from_millis(20));
            continue;
        }
        let count = input.read(&mut chunk).unwrap();
        if count > 0 {
            program.take(&chunk[..count], &mut input);
            program.draw();
        }
    }
}

impl Program {
    fn look(&mut self) {
        let mode = std::fs::read_to_string(self.home.join("mode")).unwrap_or_else(|_| "ready".to_owned());
        if mode != self.mode {
            self.mode = mode;
            (self.woken, self.asks) = (false, false);
            self.draw();
            std::fs::write(self.home.join("shown"), &self.mode).unwrap();
        }
    }

    fn take(&mut self, bytes: &[u8], input: &mut impl Read) {
        self.pending.extend_from_slice(bytes);
        while !self.pending.is_empty() {
            let marks: [&[u8]; 2] = [b"\x1b[200~", b"\x1b[201~"];
            if let Some(mark) = marks.iter().find(|mark| self.pending.starts_with(mark)) {
                self.pasting = *mark == marks[0];
                self.pending.drain(..6);
                if !self.pasting && self.mode == "late" {
                    self.draw();
                    std::thread::sleep(Duration::from_millis(500));
                    self.asks = true;
                    self.draw();
                }
            } else if self.pending[0] == 0x1b && self.pending.len() < 6 {
                return;
            } else {
                let byte = self.pending.remove(0);
                self.byte(byte, input);
            }
        }
    }

    fn byte(&mut self, byte: u8, input: &mut impl Read) {
        match (self.mode.as_str(), byte) {
            ("blank", _) => {}
            ("dialog", b'\r') => std::fs::write(self.home.join("answered"), "").unwrap(),
            // Whoever answers it with the text in the composer loses that.
            (_, b'\r') if self.asks => {
                std::fs::write(self.home.join("answered"), "").unwrap();
                self.asks = false;
                self.composer.clear();
            }
            ("dialog", _) => {}
            _ if self.asks => {}
            (_, b'\r') if !self.pasting => {
                self.log_enter();
                self.enter(input);
            }
            (_, byte) => self.composer.push(byte),
        }
    }

    /// How often Enter was read while no dialog was open.
    fn log_enter(&self) {
        let file = self.home.join("enters");
        let before = std::fs::read(&file).unwrap_or_default().len();
        std::fs::write(file, "x".repeat(before + 1)).unwrap();
    }

    fn enter(&mut self, input: &mut impl Read) {
        if self.mode == "deaf" {
            return;
        }
        if self.mode == "drowsy" && !std::mem::replace(&mut self.woken, true) {
            self.composer.push(b'\n');
            return;
        }
        if self.composer.is_empty() {
            return;
        }
        if let Some((how, time)) = self.mode.clone().split_once(' ') {
            let until = Instant::now() + Duration::from_millis(time.parse().unwrap());
            while Instant::now() < until {
                let mut chunk = [0_u8; 4096];
                match how {
                    "takes" => {
                        let count = input.read(&mut chunk).unwrap();
                        self.pending.extend_from_slice(&chunk[..count]);
                    }
                    _ => std::thread::sleep(Duration::from_millis(10)),
                }
            }
            self.asks = true;
            if how != "asks" {
                self.composer.clear();
                return;
            }
        }
        if self.mode == "mute" {
            self.composer.clear();
            return;
        }
        let text = std::mem::take(&mut self.composer);
        self.given += 1;
        let file = self.home.join(format!("sent-{}", self.given));
        std::fs::write(file.with_extension("tmp"), &text).unwrap();
        std::fs::rename(file.with_extension("tmp"), file).unwrap();
        self.history.extend(shown_as(&text));
        self.history.extend(["".to_owned(), "● Understood".to_owned(), "".to_owned()]);
    }

    fn draw(&self) {
        let mut cursor = None;
        let mut lines: Vec<String> = self.history[self.history.len().saturating_sub(20)..].to_vec();
        match self.mode.as_str() {
            "blank" => lines.clear(),
            mode if mode == "dialog" || self.asks => {
                lines.extend(["Do you want to proceed?", "❯ 1. Yes", "  2. No"].map(str::to_owned));
            }
            mode => {
                lines.push("─".repeat(40));
                let text = shown_as(&self.composer);
                lines.push(format!("❯\u{a0}{}", text.first().cloned().unwrap_or_default()));
                lines.extend(text.iter().skip(1).map(|line| format!("  {line}")));
                let broken = self.composer.ends_with(b"\n");
                lines.extend(broken.then(|| "  ".to_owned()));
                let text = if broken { Vec::new() } else { text };
                // Wide enough for these tests, whose texts end in plain letters.
                cursor = Some((lines.len(), 3 + text.last().map_or(0, |line| line.chars().count())));
                lines.push("─".repeat(40));
                lines.push(if mode == "busy" { "  esc to interrupt" } else { "  ? for shortcuts" }.to_owned());
            }
        }
        let mut out = std::io::stdout().lock();
        write!(out, "\x1b[?2004h\x1b[H\x1b[2J{}", lines.join("\r\n")).unwrap();
        if let Some((row, column)) = cursor {
            write!(out, "\x1b[{row};{column}H").unwrap();
        }
        out.flush().unwrap();
    }
}

fn shown_as(text: &[u8]) -> Vec<String> {
    if text.len() > SHOWN {
        return vec![format!("[Pasted text #1 +{} lines]", text.iter().filter(|byte| **byte == b'\n').count())];
    }
    String::from_utf8_lossy(text).lines().map(|line| line.replace('\t', "    ")).collect()
}

/// The file in which a pattern-less receiver writes down what it gets.
pub fn received(world: &World, name: &str) -> Vec<u8> {
    let file: &Path = &world.home().join(format!("received-{name}"));
    std::fs::read(file).unwrap_or_default()
}
