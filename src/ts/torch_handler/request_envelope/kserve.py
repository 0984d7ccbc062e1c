from flambeau.runtime.envelopes.kserve import KServeEnvelope

__all__ = ["KServeEnvelope"]
