"""Labels as vectors, and vectors read as labels."""
