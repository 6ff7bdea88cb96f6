//! Suite `cli`: the command line's contract (DESIGN §6) against the real daemon.
