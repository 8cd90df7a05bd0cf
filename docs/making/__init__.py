"""What docs/make.py makes: Markdown from docstrings, cards of remedies and metrics, columns, experiments."""
