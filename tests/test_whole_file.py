"""A disk that fills while a library is exported."""

import gc
import sys
from pathlib import Path
from typing import Any

import pytest

from grammar.errors import InputError
from synth.library import Library
from synth.library_export import export
from tests.report_samples import full_library


def test_nothing_is_left_open_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    full_library(tmp_path / "l.sqlite", 2, 2)
    with Library.open(tmp_path / "l.sqlite") as library:
        export(library, tmp_path / "source.jsonl")
    output = tmp_path / "l.jsonl"
    (tmp_path / "l.jsonl.part").symlink_to("/dev/full")
    # What is read from an export is in memory, and gone when it is closed.
    with Library.open(tmp_path / "source.jsonl") as library, pytest.raises(InputError) as caught:
        export(library, output)
    assert "No space left on device" in str(caught.value)
    del caught
    gc.collect()
    assert complaints == []
    assert [path.name for path in tmp_path.glob("l.jsonl*")] == []
