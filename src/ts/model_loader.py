from flambeau.runtime.offline.model_loader import ModelLoader, ModelLoaderFactory, TsModelLoader

__all__ = ["ModelLoader", "ModelLoaderFactory", "TsModelLoader"]
