"""The pure planner of a search: which members to train next."""
