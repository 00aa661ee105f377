"""Other task queues, each doing the worker's effects; they run from .venv-bench and know nothing of Notify's code but
what an event is and how the floor stores a batch."""
