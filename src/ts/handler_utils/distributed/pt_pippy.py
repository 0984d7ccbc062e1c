from flambeau.runtime.handlers.pippy_pipeline import get_pipeline_driver, initialize_rpc_workers

__all__ = ["get_pipeline_driver", "initialize_rpc_workers"]
