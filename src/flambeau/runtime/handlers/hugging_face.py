"""Models from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

CHECKPOINT_FILES = ("*.json", "*.pt", "*.pth", "*.bin", "*.safetensors", "*.txt", "*.model", "original/*")
"""What PyTorch needs of a repository; weights for other frameworks are left."""


def download_model(
    model_id: str = "meta-llama/Meta-Llama-3.1-8B-Instruct",
    revision: str = "main",
    model_path: str | Path = ".cache",
    use_auth_token: bool | str = True,
) -> str:
    """Download a model's files, those that are not there yet.

    Args:
        model_path: folder of the cache.
        use_auth_token: a token; True for the one that is logged in with, if any.

    Returns:
        The folder of this revision.
    """
    from huggingface_hub import snapshot_download

    folder: str = snapshot_download(
        repo_id=model_id,
        revision=revision,
        allow_patterns=list(CHECKPOINT_FILES),
        cache_dir=model_path,
        token=None if use_auth_token is True else use_auth_token,
    )
    return folder
