from flambeau.runtime.offline.messages import (
    create_load_model_response,
    create_predict_response,
    encode_response_headers,
    retrieve_msg,
)

__all__ = ["create_load_model_response", "create_predict_response", "encode_response_headers", "retrieve_msg"]
