//! What comes in, and what follows from it.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::digest::Digest;
use super::lists::Step;
use super::{AGES_EVERY, App, Overlay, Page, Pane, READ_FOR, SILENT_FOR, TWICE_WITHIN};
use crate::console::action::Action;
use crate::console::keymap::{Place, find};
use crate::console::msg::{Effect, Msg, Time};
use crate::console::widgets::composer::Purpose;
use crate::console::widgets::dialog::{Ahead, Answer, Consequence};
use crate::console::widgets::list::List;
use crate::console::widgets::terminal::Emulated;
use crate::domain::delivery::DeliveryState;
use crate::services::explain::Explanation;
use crate::services::handle::{Trouble, Wish};
use crate::services::live::Target;
use crate::services::snapshot::{Look, Snapshot, Want};

/// A list is read no deeper: who looks for something further down narrows it.
const MOST_PAGES: usize = 50;

impl App {
    pub(super) fn take(&mut self, msg: Msg, time: Time, effects: &mut Vec<Effect>) {
        self.time.up = time.up;
        // Ages move together, in steps, so that a second's news does not repaint every row.
        if !self.loaded || time.up.saturating_sub(self.aged) >= AGES_EVERY {
            self.time.now = time.now;
            self.aged = time.up;
            self.digest = Digest::of(&self.snapshot, self.time.now);
        }
        if matches!(msg, Msg::Key(_) | Msg::Paste(_) | Msg::Focus) {
            self.is_there(time.now, effects);
        }
        match msg {
            Msg::Focus => {}
            Msg::Since(told) => self.told_since(told),
            Msg::Key(key) => self.key(key, effects),
            Msg::Paste(text) => self.paste(&text),
            Msg::Resize(width, height) => self.size = (width, height),
            Msg::Look(look) => self.looked(look, effects),
            Msg::Screen(screen) => {
                self.screen = Some((screen.key, Emulated::new(&screen.bytes), screen.kept));
            }
            Msg::Done(token, done) => self.done(token, done, effects),
            Msg::Previewed(token, done) => {
                if let Some(Overlay::Dialog(dialog)) = &mut self.overlay
                    && dialog.ahead == Ahead::Looking(token)
                {
                    dialog.found(done);
                    self.questioned = self.time.up;
                }
            }
            Msg::Explained(token, done) => self.explanation_came(token, done),
            Msg::Paged(Ok(page)) => {
                self.paging = None;
                self.run_page = Some(page);
            }
            Msg::Paged(Err(trouble)) => {
                self.paging = Some(i64::MAX);
                self.complain(words(&trouble));
            }
            Msg::Draft(token, text) => self.drafted(token, text),
            Msg::Edited(name, done) => {
                self.edited(&name, done);
                effects.push(Effect::Redraw);
            }
            Msg::LeftBehind(done) => self.left_behind(done, effects),
            Msg::Tick => self.tick(effects),
            Msg::Back(trouble) => {
                if let Some(trouble) = trouble {
                    self.complain(trouble);
                }
                effects.push(Effect::Redraw);
            }
            Msg::Defect(words) => self.complain(words),
            Msg::End => self.leave(effects),
        }
    }

    fn key(&mut self, key: KeyEvent, effects: &mut Vec<Effect>) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.interrupt(effects);
        }
        let place = self.place();
        self.key_at(place, key, effects);
        if place != Place::Dialog && self.place() == Place::Dialog {
            self.questioned = self.time.up;
        }
    }

    fn key_at(&mut self, place: Place, key: KeyEvent, effects: &mut Vec<Effect>) {
        match (&mut self.overlay, self.filtering) {
            (Some(Overlay::Help(..) | Overlay::Messages(_) | Overlay::Explained(..)), _) => self.text_key(place, &key),
            (Some(Overlay::Dialog(_)), _) => self.dialog_key(&key, effects),
            (Some(Overlay::Picker(_)), _) => self.picker_key(&key, effects),
            (Some(Overlay::Since(_)), _) => self.since_key(&key),
            (None, true) => self.filter_key(&key),
            (None, false) => match (place, find(place, &key)) {
                // A line ends with Enter.
                (Place::Text, None) if key.code == KeyCode::Enter && self.writes_line() => self.send(effects),
                (Place::Text, None) => {
                    if let Some(composer) = &mut self.composer {
                        composer.key(key, self.time.up);
                    }
                }
                (_, Some(row)) => self.act(row.action, effects),
                (_, None) => {}
            },
        }
    }

    fn writes_line(&self) -> bool {
        self.composer.as_ref().is_some_and(|composer| matches!(composer.purpose, Purpose::Type(_)))
    }

    fn interrupt(&mut self, effects: &mut Vec<Effect>) {
        if self.interrupted.is_some_and(|at| self.time.up.saturating_sub(at) < TWICE_WITHIN) {
            return self.leave(effects);
        }
        self.interrupted = Some(self.time.up);
        self.say("ctrl-c once more leaves at once");
    }

    /// What is being written stays as a draft.
    pub(super) fn leave(&mut self, effects: &mut Vec<Effect>) {
        self.keep_draft(effects);
        effects.push(Effect::Quit);
    }

    /// Whoever has closed it meanwhile does not want it any more.
    fn explanation_came(&mut self, token: u64, done: Result<Box<Explanation>, Trouble>) {
        let Some(Overlay::Explained(wanted, told, _)) = &mut self.overlay else { return };
        if *wanted != token {
            return;
        }
        match done {
            Ok(explanation) => *told = Some(explanation),
            Err(trouble) => {
                self.overlay = None;
                self.complain(words(&trouble));
            }
        }
    }

    fn text_key(&mut self, place: Place, key: &KeyEvent) {
        let step = find(place, key).and_then(|row| step_of(row.action));
        match (&self.overlay, step) {
            (
                Some(Overlay::Help(_, scroll) | Overlay::Messages(scroll) | Overlay::Explained(_, _, scroll)),
                Some(step),
            ) => step.scroll(scroll),
            (_, _) => self.overlay = None,
        }
    }

    fn dialog_key(&mut self, key: &KeyEvent, effects: &mut Vec<Effect>) {
        let Some(Overlay::Dialog(dialog)) = &mut self.overlay else { return };
        // Whoever types a sentence into a question has not read it: neither a `y` that comes at once is the answer, nor
        // one further on, after letters that mean nothing here. Leaving can be undone: there nobody is kept waiting.
        let unread = dialog.then != Consequence::Quit && self.time.up.saturating_sub(self.questioned) < READ_FOR;
        match find(Place::Dialog, key).map(|row| row.action) {
            Some(Action::OtherAnswer) => dialog.step(!matches!(key.code, KeyCode::Left | KeyCode::BackTab)),
            Some(Action::LeaveBehind) if dialog.also.is_some() => self.leave_behind(effects),
            Some(Action::Take) if dialog.on == Answer::Also => self.leave_behind(effects),
            Some(Action::Merge) if dialog.merge_helps => self.merge_too(effects),
            Some(Action::Yes) if unread => self.overlay = None,
            Some(Action::Yes) if dialog.may() => self.agreed(effects),
            Some(Action::Yes) => {}
            Some(Action::Take) if dialog.may() && dialog.on == Answer::Yes => self.agreed(effects),
            Some(Action::Take | Action::No) => self.overlay = None,
            _ if matches!(key.code, KeyCode::Char(_)) => self.overlay = None,
            _ => {}
        }
    }

    fn merge_too(&mut self, effects: &mut Vec<Effect>) {
        let token = self.token();
        let Some(Overlay::Dialog(dialog)) = &mut self.overlay else { return };
        if let Consequence::Wish(Wish::Close { merge, .. }) = &mut dialog.then {
            *merge = true;
        }
        dialog.merge_helps = false;
        dialog.yes = "merge and close";
        dialog.ahead = Ahead::Looking(token);
        if let Consequence::Wish(wish) = &dialog.then {
            effects.push(Effect::Preview(token, wish.clone()));
        }
    }

    fn agreed(&mut self, effects: &mut Vec<Effect>) {
        let Some(Overlay::Dialog(dialog)) = self.overlay.take() else { return };
        match dialog.then {
            Consequence::Wish(wish) => self.wish(wish, effects),
            Consequence::Marked(wish) => {
                self.unmark();
                if self.composer.is_some() {
                    return self.send_off(wish, effects);
                }
                self.wish(wish, effects);
            }
            Consequence::Written(wish) => self.send_off(wish, effects),
            Consequence::Quit => self.leave(effects),
        }
    }

    fn filter_key(&mut self, key: &KeyEvent) {
        let filter = self.narrowing();
        match key.code {
            KeyCode::Esc => {
                filter.clear();
                self.filtering = false;
            }
            KeyCode::Enter => self.filtering = false,
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => filter.clear(),
            KeyCode::Backspace => {
                filter.pop();
            }
            KeyCode::Char(letter) if !key.modifiers.contains(KeyModifiers::CONTROL) => filter.push(letter),
            KeyCode::Up => self.navigate(Step::By(-1)),
            KeyCode::Down => self.navigate(Step::By(1)),
            _ => {}
        }
        self.refresh();
    }

    fn paste(&mut self, text: &str) {
        match (&mut self.composer, self.filtering, &self.overlay) {
            (Some(composer), _, None) => {
                if let Err(why) = composer.paste(text, self.time.up) {
                    self.complain(why);
                }
            }
            (None, true, None) => {
                let line = crate::services::text::one_line(text);
                self.narrowing().extend(line.chars().take(200));
                self.refresh();
            }
            // Text pasted into a list would be a row of keys; it is none.
            (_, _, _) => self.say("there is no text field here: r replies, A asks"),
        }
    }

    fn looked(&mut self, look: Look, effects: &mut Vec<Effect>) {
        self.heard = self.time.up;
        match look {
            Look::Same => self.store_trouble = None,
            Look::Failed(reason) => self.store_trouble = Some(reason),
            Look::Changed(snapshot) => {
                self.store_trouble = None;
                self.ring(&snapshot, effects);
                let before = std::mem::replace(&mut self.snapshot, snapshot);
                if self.loaded {
                    self.tell_delivered(before.seq);
                } else {
                    effects.push(Effect::ComeBack);
                }
                self.loaded = true;
                self.digest = Digest::of(&self.snapshot, self.time.now);
                self.refresh();
                self.keep_marks();
                self.follow_thread();
                self.stir(&before, effects);
            }
        }
    }

    /// What came of our own texts since this place in the journal.
    fn tell_delivered(&mut self, since: i64) {
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let news = snapshot.deliveries.iter().filter(|row| row.ours && row.last_seq > since);
        for row in news {
            let name = &row.key.name;
            match row.state {
                DeliveryState::Submitted => self.report(format!("{name} has it")),
                DeliveryState::Failed => {
                    let why = row.reason.as_deref().unwrap_or("it is not known why");
                    self.complain(format!("what you wrote did not reach {name}: {why}"));
                }
                DeliveryState::Queued | DeliveryState::Typed => {}
            }
        }
    }

    /// Once for each escalation, and not for those that are looked at.
    fn ring(&mut self, snapshot: &Snapshot, effects: &mut Vec<Effect>) {
        let calls = snapshot.escalations.iter().map(|row| ((row.id.clone(), row.notified), &row.reason));
        let looking = self.page == Page::Home && self.focus == Pane::Attention;
        let known = self.known.as_ref();
        let news: Vec<&String> = calls
            .clone()
            .filter(|(call, _)| known.is_some_and(|known| !known.contains(call)))
            .map(|(_, reason)| reason)
            .collect();
        if let Some(first) = news.first().filter(|_| !looking) {
            effects.extend(snapshot.facts.bell.then_some(Effect::Bell));
            let more = if news.len() > 1 { format!(" (and {} more)", news.len() - 1) } else { String::new() };
            effects.extend(snapshot.facts.desktop.then(|| Effect::Desktop(format!("metawsm: {first}{more}"))));
        }
        let calls: Vec<(String, u32)> = calls.map(|(call, _)| call).collect();
        self.known.get_or_insert_default().extend(calls);
    }

    /// The agent in view is looked at again when it has written something or turned into something else.
    fn stir(&mut self, before: &Snapshot, effects: &mut Vec<Effect>) {
        let Some(target) = &self.watched else { return };
        let (old, new) = (before.agent(&target.key), self.snapshot.agent(&target.key));
        let output = new.and_then(|agent| agent.last_output_at);
        let turned = old.map(|agent| agent.status) != new.map(|agent| agent.status);
        if output != self.stirred || turned {
            self.stirred = output;
            effects.push(Effect::Stirred);
        }
    }

    fn done(&mut self, token: u64, done: Result<String, Trouble>, effects: &mut Vec<Effect>) {
        self.pending.remove(&token);
        let ours = self.composer.as_ref().is_some_and(|composer| composer.sending == Some(token));
        match done {
            Ok(text) => {
                if ours && let Some(composer) = self.composer.take() {
                    // Only now the text is given up.
                    effects.push(Effect::KeepDraft(composer.purpose.draft(), String::new()));
                    if matches!(self.page, Page::Thread(_)) {
                        self.scroll.edge(true);
                    }
                }
                if !text.is_empty() {
                    self.report(text);
                }
            }
            Err(trouble) => {
                if ours && let Some(composer) = &mut self.composer {
                    composer.sending = None;
                    // Who has it already does not get it twice.
                    let purpose = composer.purpose.only(&trouble.undone);
                    if composer.purpose != purpose {
                        let (before, text) = (composer.purpose.draft(), composer.draft());
                        composer.purpose = purpose;
                        effects.push(Effect::KeepDraft(before, String::new()));
                        effects.push(Effect::KeepDraft(composer.purpose.draft(), text));
                    }
                }
                self.complain(words(&trouble));
            }
        }
    }

    fn tick(&mut self, effects: &mut Vec<Effect>) {
        let up = self.time.up;
        self.toasts.retain(|toast| toast.until.is_none_or(|until| until > up));
        if self.composer.as_ref().and_then(|composer| composer.draft_due()).is_some_and(|due| due <= up) {
            self.keep_draft(effects);
        }
        if up.saturating_sub(self.heard) > SILENT_FOR {
            self.store_trouble = Some("the database does not answer: another process may hold it".to_owned());
        }
    }

    /// What the world has to be asked so that the screen can show what it now shows.
    pub(super) fn settle(&mut self, effects: &mut Vec<Effect>) {
        let thread = match &self.page {
            Page::Thread(thread_id) => Some(thread_id.clone()),
            Page::Home | Page::Run(_) | Page::Operator => None,
        };
        let deep = self.thread_list().is_some_and(List::near_end)
            && self.answered()
            && self.focus == Pane::Forum
            && self.more_threads();
        let asked = self.asked.clone().map(|asked| (self.tab, asked));
        // As deep as one has scrolled in this list; another one begins at its top.
        let same = asked == self.want.asked && self.tab == self.deep_in;
        self.deep_in = self.tab;
        let had = if same { self.want.deeper } else { 0 };
        let deeper = if deep && same && self.snapshot.deeper == had && had < MOST_PAGES { had + 1 } else { had };
        let want = Want { thread, deeper, asked, operator: self.page == Page::Operator };
        if want != self.want {
            self.want = want.clone();
            effects.push(Effect::Want(want));
        }
        self.settle_live(effects);
        self.settle_page(effects);
        self.settle_seen(effects);
        self.settle_title(effects);
    }

    fn more_threads(&self) -> bool {
        match (&self.snapshot.found, &self.asked) {
            (Some(found), Some(_)) => found.queue.more,
            (None, Some(_)) => false,
            (_, None) => self.snapshot.queues.of(self.tab).more,
        }
    }

    fn settle_live(&mut self, effects: &mut Vec<Effect>) {
        let agent = self.agent().filter(|_| self.shows_live());
        let target = agent.map(|agent| Target {
            key: agent.key.clone(),
            session: agent.session.clone(),
            launch: agent.launch,
            lives: agent.may_live,
        });
        if target != self.watched {
            let same = target.as_ref().map(|target| &target.key) == self.screen.as_ref().map(|(key, ..)| key);
            if !same {
                self.screen = None;
                self.live_scroll.edge(true);
            }
            self.watched = target.clone();
            effects.push(Effect::Watch(target));
        }
    }

    /// The run's page is made anew when something of the run has changed.
    fn settle_page(&mut self, effects: &mut Vec<Effect>) {
        let Page::Run(run_id) = &self.page else {
            self.paging = None;
            return;
        };
        let newest = self.snapshot.run(run_id).map(|run| run.last_seq);
        let have = self.run_page.as_ref().filter(|page| page.run_id == *run_id).map(|page| page.seq);
        let Some(newest) = newest.filter(|newest| have.is_none_or(|have| have < *newest) && self.paging.is_none())
        else {
            return;
        };
        self.paging = Some(newest);
        effects.push(Effect::Page(run_id.clone()));
    }

    /// Opening a thread marks it as seen.
    fn settle_seen(&mut self, effects: &mut Vec<Effect>) {
        let Some(page) = self.thread_page() else { return };
        let Some(last) = page.posts.last().map(|post| post.seq) else { return };
        let thread_id = page.thread.thread_id.clone();
        if last > page.seen_to && self.seen.get(&thread_id).is_none_or(|seen| *seen < last) {
            self.seen.insert(thread_id.clone(), last);
            effects.push(Effect::Do(0, Wish::Seen(thread_id)));
        }
    }

    fn settle_title(&mut self, effects: &mut Vec<Effect>) {
        let waiting = self.waiting();
        let title = if waiting > 0 { format!("({waiting}) metawsm") } else { "metawsm".to_owned() };
        if title != self.title {
            self.title.clone_from(&title);
            effects.push(Effect::Title(title));
        }
    }

    /// How much waits for a human: escalations, and questions that are none yet.
    pub fn waiting(&self) -> usize {
        self.digest.waiting
    }
}

/// What went wrong and what to do next, on one line.
pub(super) fn words(trouble: &Trouble) -> String {
    let message = crate::services::text::one_line(&trouble.message);
    match &trouble.hint {
        Some(hint) => format!("{message} — {hint}"),
        None => message,
    }
}

/// The step that an action is, if it is one.
pub(super) fn step_of(action: Action) -> Option<Step> {
    match action {
        Action::Up => Some(Step::By(-1)),
        Action::Down => Some(Step::By(1)),
        Action::PageUp => Some(Step::Page(false)),
        Action::PageDown => Some(Step::Page(true)),
        Action::First => Some(Step::Edge(false)),
        Action::Last => Some(Step::Edge(true)),
        _ => None,
    }
}
