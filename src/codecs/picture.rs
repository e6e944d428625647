//! Pictures for the eye: resized, and encoded as JPEG or PNG.
