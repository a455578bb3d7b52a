//! What is known of the cluster: the rows of every watch, and what one may do.
//!
//! A [`Source`] names one watch (kind and scope) and is shared by all views that look at it. Batches come
//! in as events; [`Data::apply`] folds them in and says what changed, so that views keep their order
//! without visiting every row.

mod metrics;
mod row;
mod source;
mod store;

pub use metrics::{Measures, beside, is_measured};
pub use mizzen_api::console::headings::{Heading, headings};
pub use mizzen_api::console::rights::{Rights, Rule};
pub use row::{Row, compact, row_of};
pub use source::Source;
pub use store::{Batch, Change, Data, Store, Trouble};
