//! What sync decides without a network: how a range is cut, what a piece must be, what comes next, when to try again.

pub mod book;
pub mod progress;
pub mod range;
pub mod state;
pub mod worker;

pub use book::{Cut, Millis, Piece};
pub use progress::Progress;
pub use range::{RangeFault, Tip, check, check_piece};
pub use state::{Effect, ImportFault, Input, Phase, Settings, State};
pub use worker::{Learned, Rests, Task, Worker};
