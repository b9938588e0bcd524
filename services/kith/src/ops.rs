//! What operators call: `kith.ops.v1`, on a listener of its own.

#[allow(dead_code, reason = "served by the operators' listener")]
pub mod events;
