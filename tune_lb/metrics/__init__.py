"""Metrics: one file per quantity, and the algorithms that they share."""
