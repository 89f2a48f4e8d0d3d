//! The one integration test program.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test is what a broken expectation should be")]

mod git;
mod git_merge;
mod git_world;
mod harness;
mod launcher;
mod process;
mod tickets;
mod tmux;
