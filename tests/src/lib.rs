//! What needs more than one package: a seeded simulation of a whole fleet, and (as integration
//! tests) the daemons against each other and the lab.

pub mod sim;
