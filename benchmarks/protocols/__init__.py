"""The prediction path over different HTTP bases, one process each: see ``benchmarks/protocol.py``."""
