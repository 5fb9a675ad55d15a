"""Runs of small models on batches of texts, for the tests."""

from collections.abc import Sequence

import torch
from torch import Tensor

from interpreter.attention import handled
from interpreter.capture import Head
from interpreter.models import LoadedModel
from tests.tiny_models import HEADS


def batch_of(loaded: LoadedModel, texts: Sequence[str], most: int, side: str = "right") -> tuple:
    """Ids and mask [batch, tokens] of texts cut to different lengths."""
    rows = [loaded.tokenizer(t)["input_ids"][: most - 3 * i] for i, t in enumerate(texts)]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), 7)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, place] = torch.tensor(row)
        mask[i, place] = 1
    return ids, mask


def run(loaded: LoadedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """[token, logit] of all real tokens, text after text."""
    ids, mask = ids.to(loaded.model.device), mask.to(loaded.model.device)
    with torch.no_grad():
        # Positions count real tokens, as `generate` has them.
        position_ids = (mask.cumsum(-1) - 1).clamp_min(0)
        output = loaded.model(input_ids=ids, attention_mask=mask, position_ids=position_ids)[0]
    return output[mask.bool()]


def seen_weights(loaded: LoadedModel, ids: Tensor, mask: Tensor) -> dict[Head, Tensor]:
    found = {}

    def keep(module, layer, weights, value, visible):
        found.update({(layer, head): weights[:, head].clone() for head in range(HEADS)})
        return weights

    with handled(loaded.model, keep):
        run(loaded, ids, mask)
    return found
