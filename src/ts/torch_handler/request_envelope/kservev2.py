from flambeau.runtime.envelopes.kserve_v2 import KServev2Envelope

__all__ = ["KServev2Envelope"]
