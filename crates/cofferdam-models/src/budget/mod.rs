//! Rules and budgets for requests to models: what is asked of the ledger ([`ask`]), the ledger itself ([`ledger`]), what a
//! request can use at most (`bound`), what must not be sent ([`never_send`]), what nobody can read (`unread`), and the judge
//! over all of it ([`judge`]).

pub mod ask;
pub mod judge;
pub mod ledger;
pub mod never_send;

mod bound;
mod unread;
