//! The pieces that screens are made of. All text is made harmless here, on its way to the screen.

pub mod cells;
pub mod composer;
pub mod dialog;
pub mod help;
pub mod list;
pub mod pane;
pub mod terminal;
pub mod verbatim;
