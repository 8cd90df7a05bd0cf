"""One search on Ray: preparation, jobs, progress."""
