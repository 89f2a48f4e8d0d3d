//! The one integration test program.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test is what a broken expectation should be")]

mod core_world;
mod domain_control;
mod domain_events;
mod domain_forum;
mod domain_run;
mod domain_settle;
mod git;
mod git_merge;
mod git_world;
mod harness;
mod launcher;
mod operator_drive;
mod operator_rules;
mod operator_waiting;
mod process;
mod store_crash;
mod store_files;
mod store_keys;
mod store_properties;
mod store_queues;
mod tickets;
mod tmux;
