"""What docs/make.py makes: Markdown from docstrings, cards of remedies and metrics, and the table of columns."""
