"""The figures of the papers, drawn for any run: choice -> table -> figure, one module for each kind of question."""
