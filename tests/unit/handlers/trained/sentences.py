"""Sentences to unit vectors, by all-MiniLM-L6-v2."""

import torch
from transformers import AutoModel, AutoTokenizer

from ts.torch_handler.base_handler import BaseHandler


class Sentences(BaseHandler):
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        self.context = context
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval()

    def preprocess(self, data):
        texts = [row.get("data") or row.get("body") for row in data]
        return self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")

    def inference(self, data):
        with torch.inference_mode():
            states = self.model(**data).last_hidden_state
        mask = data["attention_mask"].unsqueeze(-1)
        means = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(means, dim=1)
