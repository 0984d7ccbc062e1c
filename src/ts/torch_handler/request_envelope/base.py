from flambeau.runtime.envelopes.base import BaseEnvelope

__all__ = ["BaseEnvelope"]
