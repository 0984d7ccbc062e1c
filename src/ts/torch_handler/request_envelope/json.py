from flambeau.runtime.envelopes.json import JSONEnvelope

__all__ = ["JSONEnvelope"]
