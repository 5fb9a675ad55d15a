"""A library holds scores of one length of a text: its keys do not tell two lengths apart."""

from collections.abc import Iterable

from grammar.errors import InputError
from synth.library_rows import Run


def check_length(runs: Iterable[Run], texts: str, texts_sha256: str, max_tokens: int) -> None:
    """InputError where these runs read these texts up to another length."""
    lengths = {run.settings.get("max_tokens") for run in runs if run.texts_sha256 == texts_sha256}
    lengths -= {None, max_tokens}
    if lengths:
        raise InputError(
            f"--max-tokens {max_tokens}: the library's scores on {texts} are of documents of "
            f"{', '.join(map(str, lengths))} tokens; give that, or another --library"
        )
