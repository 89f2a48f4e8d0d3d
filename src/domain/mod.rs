//! Floor 1: types, transitions and decisions. No I/O, no clock, no randomness.

pub mod actor;
pub mod adviser;
pub mod agent;
pub mod command;
pub mod conversation;
pub mod decide;
pub mod delivery;
pub mod escalation;
pub mod event;
pub mod health;
pub mod name;
pub mod operator;
pub mod outbox;
pub mod plan;
pub mod policy;
pub mod prompt;
pub mod pull_request;
pub mod refusal;
pub mod report;
pub mod run;
pub mod runner;
pub mod scene;
pub mod screen;
pub mod signal;
pub mod thread;
pub mod time;
