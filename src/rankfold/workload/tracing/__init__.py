"""The layers of torch networks, as they run."""

from rankfold.workload.tracing.trace import trace

__all__ = ["trace"]
