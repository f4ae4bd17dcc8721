//! Live keyed state: memory first, the store behind (DESIGN: state).
//!
//! A [`KeyedTable`] maps keys to *slots*. What a slot holds is the operator's business: it owns
//! its memory in a form made for its access pattern ([`Slots`]). The table knows which keys are
//! in memory, which are dirty, which shards are *complete* (a miss is a miss) or *partial* (a miss
//! is looked up in the store, a batch of keys at a time), and writes and evicts entries.
//!
//! Two layouts: [`Layout::Value`] stores one value per key, rewritten when dirty. [`Layout::Deltas`]
//! stores a collection per key as a sequence of chunks, one per checkpoint that changed it, so
//! that a large collection isn't rewritten for a small change; chunks are merged when they get
//! many. An entry that is born and dies between two checkpoints is never written.
