"""Search spaces: a question as data, and what makes arms of it."""
