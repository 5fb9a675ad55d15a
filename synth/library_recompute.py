"""Scores computed again from the model, and held against what a library says."""

from dataclasses import dataclass
from pathlib import Path

from grammar.errors import InputError
from interpreter.capture import capture
from interpreter.models import load_model
from interpreter.texts import load_texts
from synth.heads import head_name
from synth.library import Library, Run
from synth.library_rows import Score
from synth.results import required
from synth.scorer import Scorer

TOLERANCE = 1e-3
"""An IoU of one document may differ by this: machines round differently."""


@dataclass(frozen=True)
class Recomputed:
    """The mean IoU of a program, as stored and as computed again."""

    program_hash: str
    layer: int
    head: int
    split: str
    stored: float
    computed: float


def recompute(path: str | Path, model: str, source: str, sample: int) -> list[Recomputed]:
    """Computes up to `sample` of the scores again, evenly spread over splits and heads.

    Raises InputError where the library holds none for this model, revision and these texts, or
    where one differs by more than `TOLERANCE` on some document.
    """
    texts = load_texts(source)
    loaded = load_model(model)
    with Library.open(path) as library:
        stored = library.scores(
            model=model, model_revision=loaded.revision, texts_sha256=texts.sha256
        )
        runs = [
            run
            for run in library.runs()
            if (run.model_revision, run.texts_sha256) == (loaded.revision, texts.sha256)
        ]
        hashes = {program.program_hash: program.text for program in library.programs()}
        run = required(library, runs[-1] if runs else None, f"run of {model} on {source}")
    stored.sort(key=lambda score: (score.split, score.layer, score.head))
    scores = stored[:: max(1, -(-len(stored) // sample))]
    if not scores:
        raise InputError(f"{library.path} has no score of {model} on {source}: name others")
    heads = sorted({(score.layer, score.head) for score in scores})
    found = []
    for split in sorted({score.split for score in scores}):
        scorer = Scorer(capture(loaded, texts.split()[split], heads, _max_tokens(library, run)))
        for score in (s for s in scores if s.split == split):
            about = {"model": model, "model_revision": loaded.revision, "texts_sha256": ""}
            text = hashes[score.program_hash]
            again = scorer.score(text, (score.layer, score.head), about, score.split)
            _compare(library, score, again)
            found.append(
                Recomputed(
                    program_hash=score.program_hash,
                    layer=score.layer,
                    head=score.head,
                    split=score.split,
                    stored=score.iou,
                    computed=again.iou,
                )
            )
    return found


def _max_tokens(library: Library, run: Run) -> int:
    tokens = run.settings.get("max_tokens")
    return required(library, tokens if isinstance(tokens, int) else None, "run with max_tokens")


def _compare(library: Library, stored: Score, again: Score) -> None:
    same_documents = stored.documents == again.documents
    pairs = zip(stored.iou_per_document, again.iou_per_document, strict=same_documents)
    if not same_documents or any(abs(a - b) > TOLERANCE for a, b in pairs):
        raise InputError(
            f"{library.path}: program {stored.program_hash} has an IoU of {stored.iou:.4f} on "
            f"{head_name(stored.layer, stored.head)} ({stored.split}), and again computed "
            f"{again.iou:.4f}: it was made with another HeadScript, or changed"
        )
