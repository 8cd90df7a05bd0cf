"""The members of a run for other programs: one module for each of them, used while a search runs and afterwards."""
