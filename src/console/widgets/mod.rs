//! The pieces that screens are made of. All text is made harmless here, on its way to the screen.

pub mod cells;
pub mod certain;
pub mod composer;
pub mod dialog;
pub mod help;
pub mod list;
pub mod pane;
pub mod picker;
pub mod terminal;
pub mod verbatim;
