"""Patterns of heads and programs on texts that the reader of a page names."""

from dataclasses import replace

from grammar.errors import InputError
from interpreter.capture import capture
from interpreter.models import load_model
from interpreter.progress import progress_bar
from interpreter.texts import load_texts
from synth.report_entries import Example, ReportData
from synth.scorer import SHOWN_TEXTS, SHOWN_TOKENS, Scorer


def with_examples(data: ReportData, source: str) -> ReportData:
    """The data with patterns on the first texts of `source`; the model is run on them.

    InputError where the model that is here has other weights than the one that is explained.
    """
    texts = load_texts(source, SHOWN_TEXTS)
    loaded = load_model(data.model)
    if loaded.revision != data.revision:
        raise InputError(
            f"the library explains revision {data.revision[:12]} of {data.model}, "
            f"this is {loaded.revision[:12]}: leave out --texts"
        )
    heads = [(entry.layer, entry.head) for entry in data.entries]
    scorer = Scorer(capture(loaded, texts, heads, SHOWN_TOKENS))
    about = {"model": data.model, "model_revision": data.revision}
    entries = []
    with progress_bar() as bar:
        for entry, head in zip(bar.track(data.entries, description="Patterns"), heads, strict=True):
            found = scorer.examples(entry.program, head, about, texts.name)
            examples = [Example(e.document, e.tokens, e.real, e.predicted) for e in found]
            entries.append(replace(entry, examples=examples))
    return replace(data, entries=entries)
