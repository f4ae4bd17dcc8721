//! The server: an instance, its sessions and its protocols. Not there yet.
