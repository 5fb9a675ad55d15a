"""What `headscript library` shows: choices with their scores, programs with their origin."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from grammar.canonical import verified
from grammar.english import sentence
from grammar.errors import InputError
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.progress import progress_bar
from synth.categories import category
from synth.heads import head_name, parse_head
from synth.library import Choice, Library
from synth.library_rows import BEST_TRIVIAL, Program, Score

ORIGIN = (
    *("run_id", "layer", "head", "stage", "batch", "proposer", "seed", "prompt_sha256"),
    *("parents", "tokens", "seconds", "dollars", "raw"),
)
"""What is shown of the proposal that brought a program in."""

CHOSEN_BY = ("model", "model_revision", "layer", "head", "choice", "select_iou", "run_id")
"""What is shown of a choice."""


@dataclass(frozen=True)
class ListedHead:
    """A choice.  `iou` is the mean on the `split` "test", or "select" where no test was scored.

    The other scores are of that test.  `proposer` is who first brought the program in, None where
    the library does not know.
    """

    model: str
    model_revision: str
    layer: int
    head: int
    choice: str
    iou: float
    split: str
    documents: int | None
    iou_no_sink: float | None
    jsd: float | None
    output_error: float | None
    damage: float | None
    terms: int
    category: str
    proposer: str | None
    program_hash: str
    program: str
    tree: Node

    def told(self) -> dict[str, Any]:
        """The fields but the tree, and the program in English, which takes a while to find."""
        known = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "tree"}
        return known | {"sentence": sentence(self.tree)}


@dataclass(frozen=True)
class ShownProgram:
    """A program with all that the library knows about it.

    `scores` are its `Score`s, each with the IoU `best_trivial` of the best trivial program;
    `origins` the proposals that brought it in (`ORIGIN`), `repeats` how often it was proposed
    again; `chosen_by` the choices that it stands for (`CHOSEN_BY` and the head's `name`).
    """

    program_hash: str
    program: str
    sentence: str
    rules: list[str]
    terms: int
    first_seen: str
    scores: list[dict[str, Any]]
    origins: list[dict[str, Any]]
    repeats: int
    chosen_by: list[dict[str, Any]]


def terms(tree: Node) -> int:
    """The size of a program as a reader counts it: its weighted selections and its logits."""
    sums = sum(node.op == "part" and node.children[0].op != "score" for node in tree.walk())
    return sums + sum(node.op == "logit" for node in tree.walk())


def program_tree(library: Library, stored: Program | Choice) -> Node:
    """The tree of a stored program; InputError where it is not a canonical program."""
    try:
        return verified(stored.text)
    except InputError as error:
        raise InputError(f"{library.path} holds program {stored.program_hash}: {error}") from error


def program_trees(library: Library, stored: Iterable[Program | Choice]) -> dict[str, Node]:
    """The trees of stored programs by their texts; errors are those of `program_tree`."""
    by_text = {one.text: one for one in stored}
    with progress_bar() as bar:
        return {
            text: program_tree(library, one)
            for text, one in bar.track(by_text.items(), description="Reading programs")
        }


def listed_heads(
    library: Library,
    model: str | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> list[ListedHead]:
    """The choices that match, ordered by model, layer, head and choice.

    Raises InputError if the library has nothing for `model`.
    """
    known = {chosen.model for chosen in library.models()}
    if model is not None and model not in known:
        raise InputError(f"{library.path} holds nothing for {model}, only for {_names(known)}")
    texts = {run.id: run.texts_sha256 for run in library.runs()}
    # Ordered by metric version last, so that the newest one stays.
    tests = {
        (s.program_hash, s.model, s.model_revision, s.layer, s.head, s.texts_sha256): s
        for s in library.scores(split="test", model=model, layer=layer, head=head)
    }
    listed = []
    choices = library.choices(model, None, layer, head)
    trees = program_trees(library, choices)
    for c in choices:
        texts_sha256 = texts.get(c.run_id, "")
        test = tests.get((c.program_hash, c.model, c.model_revision, c.layer, c.head, texts_sha256))
        tree = trees[c.text]
        listed.append(
            ListedHead(
                model=c.model,
                model_revision=c.model_revision,
                layer=c.layer,
                head=c.head,
                choice=c.choice,
                iou=test.iou if test else c.select_iou,
                split="test" if test else "select",
                documents=test.documents if test else None,
                iou_no_sink=test.iou_no_sink if test else None,
                jsd=test.jsd if test else None,
                output_error=test.output_error if test else None,
                damage=test.damage if test else None,
                terms=terms(tree),
                category=category(tree),
                proposer=_proposer(library, c.program_hash),
                program_hash=c.program_hash,
                program=c.text,
                tree=tree,
            )
        )
    return listed


def _proposer(library: Library, program_hash: str) -> str | None:
    """Who first proposed a program."""
    proposals = library.proposals(program_hash=program_hash)
    return proposals[0].proposer if proposals else None


def shown_programs(library: Library, name: str, model: str | None) -> list[ShownProgram]:
    """The programs chosen for a head (L5H4), with their scores there, or the one with a hash.

    Raises InputError if there is none, or if `name` is a head of several models.
    """
    place = parse_head(name)
    if place is None:
        programs = library.programs(name)
        if not programs:
            raise InputError(
                f"{library.path} has no program {name!r:.40}: "
                "name a head, as in L5H4, or a program by the 16 digits of its hash"
            )
        return [_shown(library, programs[0], library.scores(program_hash=name, model=model))]
    choices = library.choices(model, None, *place)
    if not choices:
        raise InputError(f"{library.path} has no program for {name} of {model or 'any model'}")
    models = {choice.model for choice in choices}
    if len(models) > 1:
        raise InputError(f"{name} is a head of {_names(models)}: choose one with --model")
    shown = []
    for program_hash in dict.fromkeys(choice.program_hash for choice in choices):
        (program,) = library.programs(program_hash)
        scores = library.scores(
            program_hash=program_hash, model=choices[0].model, layer=place[0], head=place[1]
        )
        shown.append(_shown(library, program, scores))
    return shown


def _shown(library: Library, program: Program, scores: Iterable[Score]) -> ShownProgram:
    tree = program_tree(library, program)
    runs = {run.id: run for run in library.runs()}
    trivial = {
        (run.model, run.model_revision, run.texts_sha256, b.layer, b.head, b.split): b.iou
        for b in library.baselines()
        if b.name == BEST_TRIVIAL and (run := runs.get(b.run_id))
    }
    proposals = library.proposals(program_hash=program.program_hash)
    origins = [proposal for proposal in proposals if proposal.status == "accepted"]
    return ShownProgram(
        program_hash=program.program_hash,
        program=program.text,
        sentence=sentence(tree),
        rules=[to_text(rule) for rule in tree.children],
        terms=terms(tree),
        first_seen=program.first_seen,
        scores=[
            asdict(s)
            | {
                "best_trivial": trivial.get(
                    (s.model, s.model_revision, s.texts_sha256, s.layer, s.head, s.split)
                )
            }
            for s in scores
        ],
        origins=[{key: getattr(origin, key) for key in ORIGIN} for origin in origins],
        repeats=len(proposals) - len(origins),
        chosen_by=[
            {"name": head_name(choice.layer, choice.head)}
            | {key: getattr(choice, key) for key in CHOSEN_BY}
            for choice in library.choices(None, None, program_hash=program.program_hash)
        ],
    )


def _names(models: Iterable[str]) -> str:
    return ", ".join(sorted(models)) or "no model at all"
