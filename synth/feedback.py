"""What a proposer is told about a program that was tried: its score, and where it is wrong."""

from collections.abc import Sequence

from torch import Tensor

from grammar.token_facts import Token
from interpreter.scores import iou
from synth.summary import Summarizer, classes_text, shown

SHOWN_MISTAKES = 3
LOOKED_AT = 100
"""The largest differences; among so many are some of different words."""

OPENING_TOKENS = 6


def feedback_text(
    summarizer: Summarizer,
    tokens: Sequence[Sequence[Token]],
    real: Tensor,
    predicted: Tensor,
) -> str:
    """The lines of the second round; `real` and `predicted` are [text, query, key]."""
    scores = iou(real, predicted)
    best, worst = int(scores.argmax()), int(scores.argmin())
    missing = (real - predicted).clamp_min(0)
    surplus = (predicted - real).clamp_min(0)
    share = float(missing.sum() / real.sum())
    lines = [
        f"That scores {float(scores.mean()):.2f} of 1; "
        f"best {float(scores[best]):.2f} on {_opening(tokens[best])}, "
        f"worst {float(scores[worst]):.2f} on {_opening(tokens[worst])}",
        f"too little ({share:.0%}): {_where(summarizer, missing)}",
        f"too much ({share:.0%}): {_where(summarizer, surplus)}",
        f"mistakes: {_mistakes(tokens, real, predicted)}",
        "Write a better program.",
    ]
    return "\n".join(lines)


def _opening(tokens: Sequence[Token]) -> str:
    return "`" + " ".join(shown(token) for token in tokens[:OPENING_TOKENS]) + "`"


def _where(summarizer: Summarizer, weight: Tensor) -> str:
    """Where some weight lies: how much of it on the first token, the classes of the rest."""
    first = float(weight[:, :, 0].sum() / weight.sum().clamp_min(1e-9))
    classes = classes_text(summarizer.classes(weight))
    return ", ".join(part for part in (f"first {first:.0%}", classes) if part)


def _mistakes(tokens: Sequence[Sequence[Token]], real: Tensor, predicted: Tensor) -> str:
    """The largest differences at different keys, as `query > key 90% not 10%`."""
    wrong = (real - predicted).abs()
    wrong[:, :, 0] = 0
    width = wrong.shape[-1]
    found: dict[tuple[str, str], str] = {}
    for place in wrong.flatten().topk(min(LOOKED_AT, wrong.numel())).indices.tolist():
        text, query, key = place // width**2, place // width % width, place % width
        if len(found) == SHOWN_MISTAKES or not wrong[text, query, key]:
            break
        pair = (shown(tokens[text][query]), shown(tokens[text][key]))
        is_real, is_predicted = real[text, query, key], predicted[text, query, key]
        found.setdefault(
            pair, f"{pair[0]} > {pair[1]} {float(is_real):.0%} not {float(is_predicted):.0%}"
        )
    return ", ".join(found.values())
