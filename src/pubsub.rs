//! Topics with a deadline.
