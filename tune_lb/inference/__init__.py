"""Pure statistics of a comparison, on plain arrays: what is decided, what an arm's effect is, how sure it is, when it is known.

Errors and differences are shares (0.01 is one point). See docs/inference.md.
"""
