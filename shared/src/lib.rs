//! What both processes must agree on, and nothing else.
