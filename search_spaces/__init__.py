"""Search spaces, one module per question: imports and one `SPACE = Space(...)`."""
