from flambeau.runtime.envelopes.body import BodyEnvelope

__all__ = ["BodyEnvelope"]
