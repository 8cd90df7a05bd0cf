"""A package of a user's: its modules import each other by dots."""
