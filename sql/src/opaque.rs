//! Values whose inside the compiler need not look into.
//!
//! A logical plan and a syntax tree are some hundred types that contain each other. Whoever holds
//! one across an `await` makes the compiler prove of all of them, again for each function, that
//! they may move to another thread: most of a minute for the server. Behind [`Opaque`] the proof
//! is made once, where the value is put in.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// A shared `T` that is `Send` and `Sync` at sight. Cheap to clone.
pub struct Opaque<T>(Arc<dyn Any + Send + Sync>, PhantomData<fn() -> T>);

impl<T: Send + Sync + 'static> From<T> for Opaque<T> {
    fn from(value: T) -> Self {
        Opaque(Arc::new(value), PhantomData)
    }
}

impl<T: 'static> Deref for Opaque<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.downcast_ref().expect("made from a T")
    }
}

impl<T> Clone for Opaque<T> {
    fn clone(&self) -> Self {
        Opaque(self.0.clone(), PhantomData)
    }
}

impl<T: fmt::Debug + 'static> fmt::Debug for Opaque<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
