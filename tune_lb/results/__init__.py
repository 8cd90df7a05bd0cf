"""The files of a run. No torch."""
