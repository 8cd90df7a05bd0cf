"""What a worker imports when it starts."""

from tune_lb.lazy import collector_paused

with collector_paused():
    import tune_lb.tuning.job_trainable  # noqa: F401
