//! The console's speed and cost: a frame with few and with many rows (P12), the first full frame (P9), what an idle
//! console costs (P10), a key's way to the terminal (P11), and a hundred idle agents (P13).
//!
//! Every figure is printed with its yardstick from the same run. Bare times are reported; ratios judge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs, reason = "a bench prints")]

mod crowd;
mod frame;
#[path = "../home.rs"]
mod home;
mod terminal;

use std::time::Duration;

fn main() {
    // `cargo bench --bench console -- P11` measures one of them.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let parts: [(&str, fn()); 5] = [
        ("P12", frame::measure),
        ("P9", terminal::first_frame),
        ("P10", terminal::idle),
        ("P11", crowd::keys),
        ("P13", crowd::idle_crowds),
    ];
    for (name, measure) in parts {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure();
        }
    }
}

fn median(times: Vec<Duration>) -> Duration {
    share(times, 50)
}

/// The time below which so many of a hundred are.
fn share(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}
