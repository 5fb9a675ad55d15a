"""What many tests need: the tagger, or a reason to skip."""

import pytest

from grammar.errors import InputError
from interpreter.models import load_spacy


@pytest.fixture(scope="session")
def tagger():
    """spaCy's English tagger, fetched once from its package and cached."""
    try:
        return load_spacy()
    except InputError as error:
        pytest.skip(f"no tagger: {error}")
