"""A fair hyperparameter search for large-batch training.

Importing this package imports nothing heavy: `python -m tune_lb --help` answers before torch or Ray are loaded.
"""

__version__ = "0.1.0"
