//! Lists that hold on to an item, not to a place, and draw only what is visible.

use std::cell::Cell;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::console::theme::Theme;

/// Which rows of a list are shown, and which one is selected.
#[derive(Debug, Clone)]
pub struct List<K> {
    /// The selected item.
    id: Option<K>,
    /// Where it stands among the visible.
    at: usize,
    /// Places in the whole list of those that are visible.
    visible: Vec<usize>,
    /// The first row on the screen: only drawing knows how many there is room for.
    top: Cell<usize>,
    room: Cell<usize>,
}

impl<K> Default for List<K> {
    fn default() -> Self {
        Self { id: None, at: 0, visible: Vec::new(), top: Cell::default(), room: Cell::default() }
    }
}

impl<K: Clone + PartialEq> List<K> {
    /// The list has changed, or what is wanted of it: the selection stays on its item. Where that is gone it
    /// stays at its place.
    pub fn refresh(&mut self, count: usize, id_of: impl Fn(usize) -> K, shown: impl Fn(usize) -> bool) {
        self.visible.clear();
        self.visible.extend((0..count).filter(|place| shown(*place)));
        let same = |at: usize| self.visible.get(at).is_some_and(|place| Some(id_of(*place)) == self.id);
        let found = if same(self.at) {
            Some(self.at)
        } else {
            (0..self.visible.len()).find(|at| self.id.is_some() && same(*at))
        };
        self.at = found.unwrap_or(self.at).min(self.visible.len().saturating_sub(1));
        self.id = self.visible.get(self.at).map(|place| id_of(*place));
    }

    /// The selected item.
    pub fn id(&self) -> Option<&K> {
        self.id.as_ref()
    }

    /// The selected item's place in the whole list.
    pub fn place(&self) -> Option<usize> {
        self.visible.get(self.at).copied()
    }

    /// How many of these places in the whole list are visible.
    pub fn among(&self, places: std::ops::Range<usize>) -> usize {
        let before = |end: usize| self.visible.partition_point(|place| *place < end);
        before(places.end) - before(places.start)
    }

    /// How many are visible.
    pub fn len(&self) -> usize {
        self.visible.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.visible.is_empty()
    }

    /// Whether the selection is near the end.
    pub fn near_end(&self) -> bool {
        self.at + 20 >= self.visible.len()
    }

    /// Selects the row `by` further.
    pub fn step(&mut self, by: isize, id_of: impl Fn(usize) -> K) {
        self.go(self.at.saturating_add_signed(by), id_of);
    }

    /// Selects the row a page further.
    pub fn page(&mut self, forward: bool, id_of: impl Fn(usize) -> K) {
        let by = isize::try_from(self.room.get().saturating_sub(1).max(1)).unwrap_or(1);
        self.step(if forward { by } else { -by }, id_of);
    }

    /// Selects a row, the last one if there are fewer.
    pub fn go(&mut self, at: usize, id_of: impl Fn(usize) -> K) {
        self.at = at.min(self.visible.len().saturating_sub(1));
        self.id = self.place().map(id_of);
    }

    /// Selects an item; one that is not there yet is selected when it comes.
    pub fn select(&mut self, id: K, id_of: impl Fn(usize) -> K) {
        if let Some(at) = self.visible.iter().position(|place| id_of(*place) == id) {
            self.at = at;
        }
        self.id = Some(id);
    }

    /// The places of the visible rows in the whole list, in their order.
    pub fn places(&self) -> &[usize] {
        &self.visible
    }

    /// Draws the rows there is room for.
    pub fn draw(
        &self,
        area: Rect,
        buffer: &mut Buffer,
        theme: Theme,
        focused: bool,
        marked: impl Fn(usize) -> bool,
        row: impl Fn(usize) -> Line<'static>,
    ) {
        let room = usize::from(area.height);
        self.room.set(room);
        if room == 0 || area.width == 0 {
            return;
        }
        let most = self.visible.len().saturating_sub(room);
        let top = self.top.get().min(most).min(self.at).max((self.at + 1).saturating_sub(room));
        self.top.set(top);
        for (line, place) in (area.y..).zip(self.visible.iter().skip(top).take(room)) {
            let at = top + usize::from(line - area.y);
            draw_row(row(*place), at == self.at, focused, Rect { y: line, height: 1, ..area }, buffer, theme);
            if area.width > 1 && marked(*place) {
                buffer.set_string(area.x + 1, line, theme.marker(), theme.accent());
            }
        }
    }

    /// Draws it as one text with lines between its rows: each part stands before the visible row of its number, what
    /// stands before the row after the last one comes at the end. They scroll with the rows.
    pub fn draw_parted(
        &self,
        parts: &[(usize, Vec<Line<'static>>)],
        area: Rect,
        buffer: &mut Buffer,
        theme: Theme,
        row: impl Fn(usize) -> Line<'static>,
    ) {
        let (room, count) = (usize::from(area.height), self.visible.len());
        self.room.set(room);
        let before =
            |at: usize| parts.iter().filter(|(row, _)| *row <= at).map(|(_, lines)| lines.len()).sum::<usize>();
        let total = count + before(count);
        let here = self.at + before(self.at);
        // What stands above the first row of a part belongs to it, what stands below the last row to that.
        let own = parts.iter().filter(|(row, _)| *row == self.at).map(|(_, lines)| lines.len()).sum::<usize>();
        let end = if self.at + 1 >= count { total } else { here + 1 };
        let top = self.top.get().min(here - own).max(end.saturating_sub(room)).max((here + 1).saturating_sub(room));
        let top = top.min(here).min(total.saturating_sub(room));
        self.top.set(top);
        let texts = |at: usize| parts.iter().filter(move |(row, _)| *row == at).flat_map(|(_, lines)| lines);
        let mut number = 0;
        for at in 0..=count {
            for text in texts(at) {
                if (top..top + room).contains(&number) {
                    let y = area.y + u16::try_from(number - top).unwrap_or(u16::MAX);
                    buffer.set_line(area.x, y, text, area.width);
                }
                number += 1;
            }
            if let Some(place) = self.visible.get(at).filter(|_| (top..top + room).contains(&number)) {
                let y = area.y + u16::try_from(number - top).unwrap_or(u16::MAX);
                draw_row(row(*place), at == self.at, true, Rect { y, height: 1, ..area }, buffer, theme);
            }
            number += 1;
            if number >= top + room {
                break;
            }
        }
    }
}

fn draw_row(row: Line<'_>, selected: bool, focused: bool, area: Rect, buffer: &mut Buffer, theme: Theme) {
    if selected {
        let pointer = if focused { theme.accent() } else { theme.faint() };
        buffer.set_stringn(area.x, area.y, theme.pointer(), usize::from(area.width), pointer);
    }
    if area.width > 2 {
        buffer.set_line(area.x + 2, area.y, &row, area.width - 2);
    }
    if selected {
        buffer.set_style(area, theme.selected(focused));
    }
}

/// A place in text that is scrolled.
#[derive(Debug, Clone, Default)]
pub struct Scroll {
    /// Lines above the screen, from the top or from the end.
    offset: Cell<usize>,
    room: Cell<usize>,
    /// Whether it is counted from the end, which then stays in view.
    pub from_end: bool,
}

impl Scroll {
    /// Text that begins at its top.
    pub fn top() -> Self {
        Self::default()
    }

    /// Text whose end is looked at.
    pub fn end() -> Self {
        Self { from_end: true, ..Self::default() }
    }

    /// Moves by lines, down for positive numbers.
    pub fn by(&self, lines: isize) {
        let lines = if self.from_end { -lines } else { lines };
        self.offset.set(self.offset.get().saturating_add_signed(lines));
    }

    /// Moves by a page.
    pub fn page(&self, forward: bool) {
        let by = isize::try_from(self.room.get().saturating_sub(1).max(1)).unwrap_or(1);
        self.by(if forward { by } else { -by });
    }

    /// To the beginning or the end.
    pub fn edge(&self, end: bool) {
        self.offset.set(if end == self.from_end { 0 } else { usize::MAX / 2 });
    }

    /// The first line to draw of `count` where there is room for `room`.
    pub fn first(&self, count: usize, room: usize) -> usize {
        let most = count.saturating_sub(room);
        let offset = self.offset.get().min(most);
        self.offset.set(offset);
        self.room.set(room);
        if self.from_end { most - offset } else { offset }
    }
}
