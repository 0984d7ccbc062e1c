"""TextIteratorStreamerBatch on a real, tiny language model."""

from __future__ import annotations

import threading

import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers: pip install transformers")

import transformers

from ts.handler_utils.hf_batch_streamer import TextIteratorStreamerBatch

WORDS = ["[UNK]", "a", "b", "c", "d", "e", "f", "g"]


@pytest.fixture(scope="session")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def test_what_is_generated_comes_piece_by_piece_for_all_sequences(tokenizer):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(WORDS), n_positions=32, n_embd=8, n_layer=1, n_head=1, bos_token_id=None, eos_token_id=None
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    prompts = torch.tensor([[1, 2], [3, 4]])
    arguments = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(prompts), "pad_token_id": 0}
    expected = tokenizer.batch_decode(model.generate(prompts, **arguments)[:, 2:])
    streamer = TextIteratorStreamerBatch(tokenizer, 2, skip_prompt=True, timeout=30)
    generating = threading.Thread(target=model.generate, args=(prompts,), kwargs={**arguments, "streamer": streamer})
    generating.start()
    steps = list(streamer)
    generating.join()
    assert len(steps) > 1
    assert ["".join(step[number]["text"] for step in steps).strip() for number in range(2)] == expected


def test_another_number_of_sequences_is_refused(tokenizer):
    with pytest.raises(ValueError, match="3 sequences were generated, not 2"):
        TextIteratorStreamerBatch(tokenizer, 2).put(torch.zeros(3, 1))
