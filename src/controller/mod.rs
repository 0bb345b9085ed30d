//! Objects in, status out, repair always.
