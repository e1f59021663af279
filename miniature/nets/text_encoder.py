"""A text encoder for the miniature: prompts to the token context and the pooled vector of the UNet."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

PADDING = 0


def word_ids(prompt: str, rows: int, length: int) -> list[int]:
    """Return `length` table rows for the lower-cased words of a prompt: cut off, or filled up with PADDING.

    A word's row is a checksum of it (1..rows - 1), so there is no vocabulary to keep beside the
    weights; rarely two words share a row.
    """
    words = re.findall(r"\w+", prompt.lower())[:length]
    ids = [1 + zlib.crc32(word.encode()) % (rows - 1) for word in words]
    return ids + [PADDING] * (length - len(ids))


class TextEncoder(nn.Module):
    """Hashed word embeddings, learned positions and one transformer layer."""

    def __init__(self, width: int = 64, rows: int = 4096, length: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.rows = rows
        self.length = length
        self.token_embedding = nn.Embedding(rows, width)
        self.position_embedding = nn.Embedding(length, width)
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.final_norm = nn.LayerNorm(width)
        self.text_projection = nn.Linear(width, width)

    def forward(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the context [B, 16, 64] and the vector [B, 64], the same for the same words anywhere."""
        device = self.token_embedding.weight.device
        rows = [word_ids(prompt, self.rows, self.length) for prompt in prompts]
        ids = torch.tensor(rows, dtype=torch.long, device=device).reshape(-1, self.length)
        hidden = self.token_embedding(ids) + self.position_embedding.weight
        normed = self.norm1(hidden)
        hidden = hidden + self.attention(normed, normed, normed, need_weights=False)[0]
        context: Tensor = self.final_norm(hidden + self.mlp(self.norm2(hidden)))
        # The mean over the words alone, or over the padding where a prompt has no word.
        kept = (ids != PADDING) | (ids == PADDING).all(dim=1, keepdim=True)
        mean = (context * kept[..., None]).sum(dim=1) / kept.sum(dim=1, keepdim=True)
        vector: Tensor = self.text_projection(mean)
        return context, vector
