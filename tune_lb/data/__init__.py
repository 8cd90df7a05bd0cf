"""Data sets, resident in memory; one family per file. A space names one; `load(split_seed)` gives its three parts."""
