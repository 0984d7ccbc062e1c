"""A model or a pipeline as a thread-safe function of this process, with batching behind it."""
