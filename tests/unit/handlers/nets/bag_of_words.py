"""The text classifier of torchtext's tutorials, in small."""

import torch


class Net(torch.nn.Module):
    def __init__(self, mode: str = "mean"):
        super().__init__()
        self.embedding = torch.nn.EmbeddingBag(14, 8, mode=mode)
        self.fc = torch.nn.Linear(8, 2)

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))
