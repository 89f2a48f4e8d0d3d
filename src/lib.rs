//! metawsm: one person runs many coding agents.
//!
//! ```text
//!   a ticket → a run → worktrees → agents in tmux → questions in the forum → done, merged, closed
//!
//!    metawsm · acme     3 runs  7 agents  ? 2 waiting for you  ✖ 1 dead  ● 5 healthy
//!   ╭ 1 Runs ──────────╮╭ 2 Agents · run-… ────────────╮╭ 3 Escalations ───────╮
//!   ╰──────────────────╯╰──────────────────────────────╯╰──────────────────────╯
//!   ╭ 4 Forum · needs me 2 · unseen 3 … ───╮╭ 5 Live · planner · screen ──────╮
//!   ╰──────────────────────────────────────╯╰─────────────────────────────────╯
//!    ↵ open   w next waiting   r reply   R restart   S stop   a attach   ? help
//!
//!   FLOOR 4  faces     console/   the screen: msg → update → effects, draw; one loop in `mod.rs`, one table in `keymap.rs`
//!                      cli/       one subcommand a file; `headless` and `follow` are the streams
//!   FLOOR 3  world     services/  engine, executor, supervisor, operator; adapters for git, tmux, processes, ticket docs
//!   FLOOR 2  store     store/     the one SQLite file: journal, projections, reading
//!   FLOOR 1  pure      domain/    types, transitions, `decide`, the fold `scene`, `settle`, the operator's rules, policy
//! ```
//!
//! Arrows point down only. What is deliberately absent:
//! * There is no second way to change something: every change is a [`domain::command::Command`] carried out by
//!   [`store::ledger::Ledger::execute`]; decide → events → projections in one transaction.
//! * The domain has no clock, no randomness and no I/O; `now` and ids are arguments.
//! * Loops keep nothing: executor, supervisor and operator compare the journal with the world and may run twice.
//! * The console waits for nothing: snapshots come from [`services::snapshot`], wishes go to [`services::handle`], and
//!   what an agent's screen shows is interpreted by an emulator, never passed on. It never imports `store`.
//! * Reading changes nothing and makes nothing: [`store::read::Reader`] opens the file read-only.
//! * No text of an agent reaches a shell, a terminal or a path unescaped; argv in, bytes out.
//!
//! Where to look: a rule about runs in `domain/decide/run.rs`, what follows by itself in `domain/decide/settle.rs`, who
//! has an agent in hand in `domain/decide/hold.rs`,
//! what an event changes in `domain/scene/`, what a step does in `services/workspaces.rs`, how an agent is started
//! and ended in `services/agents.rs`, which conversation it goes on with in `services/conversation.rs`, the close gates in `services/gates.rs`, what a key does in `console/app/act.rs`,
//! what it does to marked rows in `console/app/marks.rs`,
//! when it makes sense in `console/app/sense.rs`, how a pane looks in `console/screens/`, what is drawn alike on every
//! terminal in `console/widgets/certain.rs`, how an event is told in `services/words.rs`. What the operator concludes is in
//! `domain/operator/rules.rs`, of what waits for a human, in a run or in none, in `waits.rs` beside it; what comes of it
//! in `domain/decide/operator.rs`, when an escalation's cause is gone in `domain/decide/escalation.rs`, and who asks the
//! rules in `services/operator.rs`; the console's page of it is read by `services/snapshot/operator.rs`, and who has a run
//! and keeps them from acting is told in `services/operator/busy.rs`. What the adviser is asked, how its answer is found and what it may want is in
//! `domain/adviser/`, what comes of that in `domain/decide/adviser.rs`; `services/adviser.rs` asks. What is kept counted and who has
//! seen what stands in `store/kept.rs`, the search index in `store/search.rs`, pages and hits in `store/read/forum/`;
//! the one loop over the journal is in `services/feed.rs`: streams, watched plans and headless differ in what they do
//! with an event.
//! What agents left uncommitted is committed by `services/committing.rs`, its checks in `committing/checks.rs`, and handed
//! on by `services/pull_requests.rs`, which asks `services/gh.rs`; what reviewers say to it is `domain/feedback.rs`, fetched
//! by `services/reviews.rs` (by itself, when `services/review_watch.rs` says so), and a run begins anew with feedback in
//! `services/iterate.rs` and `domain/decide/feedback.rs`. What the
//! rules make of it is in `domain/operator/work.rs`, who looks into worktrees in `services/worktrees.rs`, and who does
//! what the rules want there in `services/operator/work.rs`, in `deeds.rs` beside it what is done; by key all that is wished
//! through `services/handle/work.rs`, which looks ahead for the console as it does for merge and close.
//! The supervisor's look is in `services/supervisor/`: what should be in `standing`, one agent in `observe`, its screen in
//! `screens`, whether it was stopped in `stops`, its end in `farewell`, unfinished work in `carry`, what a clock that is
//! set changes in `steady`; who ended is told by `services/process/ends.rs`, who moves on by `services/progress.rs`. What is made of an agent's signals is in `domain/health.rs`, of its screen in
//! `domain/screen.rs`; why something stands as it does is told by `services/explain.rs`, for every face.
//! The supervisor that a console leaves behind, and when it ends, is in `services/behind.rs`.
//! What `doctor --runners` starts for a try is in `services/trial.rs`.
//! Whether the tmux server answers, and who went with it, is watched in `services/server_watch.rs`.
//! What is to be done outside once something has happened is named in `domain/outbox.rs`, kept in `store/outbox.rs` and
//! carried out by `services/outbox.rs`; the entry in a ticket's changelog is `services/docs_sync.rs`, the user's program that
//! calls them `services/notifier.rs`. What happened while nobody looked is `domain/report.rs` and `services/report.rs`, in
//! words `services/report_words.rs`.
//! Text for agents: its states and when it may be typed are in `domain/delivery.rs`, what their screens say about that in
//! `domain/delivery/screen.rs`, where a text stands on them in `domain/delivery/place.rs`, what follows by itself in
//! `domain/decide/delivery.rs`; `services/delivery/` types, its keys are in `keys.rs` there, and `services/tmux/typing.rs`
//! is how.

pub mod cli;
pub mod console;
pub mod domain;
pub mod services;
pub mod store;
