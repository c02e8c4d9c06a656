//! Test runs, recognised from what a command printed or reported.
