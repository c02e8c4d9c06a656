//! Rules and budgets for requests to models: what is asked of the ledger ([`ask`]), the ledger itself ([`ledger`]), what a
//! request can cost at most ([`bound`]), and the judge over both ([`judge`]).

pub mod ask;
pub mod ledger;
