//! Floor 3: the parts that touch the world, and the engine that joins them.

pub mod agents;
pub mod cleanup;
pub mod closing;
pub mod duty;
pub mod engine;
pub mod error;
pub mod executor;
pub mod gates;
pub mod git;
pub mod home;
pub mod launcher;
pub mod log;
pub mod merging;
pub mod own_work;
pub mod planning;
pub mod process;
pub mod skills;
pub mod stopping;
pub mod supervisor;
pub mod tickets;
pub mod tmux;
pub mod view;
pub mod wake;
pub mod workspaces;
