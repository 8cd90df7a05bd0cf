"""One file per remedy; nothing is listed here: a space imports what it searches."""
