//! A value that must not leave memory. Not encryption: only the absence of every way to print it by accident.

/// Holds a credential. It has no `Debug`, `Display` or `Serialize`, so a struct that holds one cannot derive them.
#[derive(Clone)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one call that needs it. Never pass it to a formatter.
    pub fn expose(&self) -> &T {
        &self.0
    }
}
