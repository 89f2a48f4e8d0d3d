//! The one integration test program.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test is what a broken expectation should be")]

mod console_e2e;
mod console_fuzz;
mod console_keys;
mod console_screens;
mod console_world;
mod core_world;
mod crash;
mod defects;
mod domain_control;
mod domain_events;
mod domain_forum;
mod domain_run;
mod domain_settle;
mod dry_runs;
mod faces;
mod faces_forum;
mod gates;
mod git;
mod git_merge;
mod git_world;
mod harness;
mod launcher;
mod mends;
mod process;
mod processes;
mod store_crash;
mod store_files;
mod store_keys;
mod store_properties;
mod store_queues;
mod story;
mod tickets;
mod tmux;
mod world;
