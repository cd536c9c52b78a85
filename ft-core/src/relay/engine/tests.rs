//! The engine by itself. Whole trees of engines are in `tests/relay`.

mod block_states;
mod checking;
mod fetching;
mod garbage;
mod helping;
mod linking;
mod profile;
mod pushes;
mod racing;
mod rig;
mod serving;
mod session_states;
mod stuck;
