"""A small model in a folder and a library with programs for its heads, for the tests."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM

from grammar.canonical import canonical_text
from interpreter.capture import Head
from interpreter.models import load_model
from synth.library import Choice, Library, Proposal, run_key
from tests.tiny_models import SIZES, tiny, tokenizer

PROGRAMS = {
    (0, 0): "50 first + 50 self",
    (0, 1): "60 first(noun) + 30 back(1) + 10 near(content, 4)",
    (0, 2): "when punctuation: self; 70 last(stop) + 30 score(2.0 verb - 0.5 distance(any))",
    (1, 0): "50 recent(after(same_token)) + 50 same_word",
    (1, 3): "40 governor + 30 sentence_end + 30 first",
}


def model_folder(path: Path, family: str = "llama") -> Path:
    """A tiny model, saved as a checkpoint; "masked" is a BERT that predicts hidden tokens."""
    tokens = copy.deepcopy(tokenizer())
    if family == "masked":
        # A letter that the stories do not use, so that the vocabulary does not grow.
        tokens.add_special_tokens({"mask_token": "þ"})
        torch.manual_seed(0)
        model = BertForMaskedLM(BertConfig(**SIZES)).eval().requires_grad_(False)
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
    else:
        model = tiny(family).model
    model.save_pretrained(path)
    tokens.save_pretrained(path)
    return path


def library_for(
    path: Path,
    model: Path,
    programs: Mapping[Head, str],
    choice: str = "iou",
    texts_sha256: str = "t1",
) -> Path:
    """A library with these programs for the model, made from the texts with that checksum."""
    revision = load_model(str(model)).revision
    with Library.open(path, create=True) as library:
        run = library.start_run(
            key=run_key(choice=choice, texts_sha256=texts_sha256),
            model=str(model),
            model_revision=revision,
            texts_sha256=texts_sha256,
            settings={},
        )
        for number, ((layer, head), program) in enumerate(programs.items()):
            text = str(canonical_text(program))
            proposal = Proposal(raw=text, text=text, proposer="hand", seed=0)
            library.record_batch(run, layer, head, "fit", 0, [proposal])
            library.set_choice(
                Choice(
                    model=str(model),
                    model_revision=revision,
                    layer=layer,
                    head=head,
                    choice=choice,
                    text=text,
                    run_id=run.id,
                    select_iou=0.9 - 0.1 * number,
                )
            )
    return path
