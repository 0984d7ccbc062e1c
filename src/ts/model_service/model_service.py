from flambeau.runtime.offline.model_service import ModelService, SingleNodeService

__all__ = ["ModelService", "SingleNodeService"]
