"""Faithful programs for a library: grown by output error, tuned in the model, stored by stages."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from grammar.canonical import content_hash
from grammar.errors import InputError
from grammar.limits import MAX_PROGRAM_CHARACTERS
from grammar.parser import parse_or_raise
from grammar.printer import to_text
from grammar.tree import Node
from interpreter.capture import Captured, Head, capture
from interpreter.evaluate import Evaluator
from interpreter.models import LoadedModel, load_spacy
from interpreter.progress import progress_bar
from interpreter.rows import FactsOf, Rows, rows_for
from interpreter.scores import METRIC_VERSION, iou, output_error
from interpreter.texts import Texts
from interpreter.tokens import encode
from synth.chosen import of_revision, stored_choices
from synth.kept_orders import KeptOrders
from synth.library import Choice, Library, Proposal, Run, run_key
from synth.ordering import Judged, by_damage
from synth.output_growing import OutputGrower, Richness
from synth.tuning import STEPS, Tuner
from synth.vocabulary import predicate_of, said

POOL = 320
"""Selections that programs are grown from: of the predicates that the library uses most."""

ALWAYS = (
    *("first", "self", "any", "near(any, 1)", "near(any, 16)", "near(any, 64)"),
    *(f"back({k})" for k in range(1, 6)),
)
SELECT_DOCUMENTS = 8


@dataclass(frozen=True)
class TuneSettings:
    """What determines the results, beside model, texts and the library's choices."""

    documents: int
    parts: int
    guards: bool
    rounds: int
    max_tokens: int


@dataclass(frozen=True)
class Seen:
    """Some documents: what the heads do on them, and where programs give their rows."""

    texts: Texts
    patterns: Captured
    rows: Rows
    evaluator: Evaluator


def make_faithful(
    loaded: LoadedModel, texts: Texts, library: Library, settings: TuneSettings
) -> dict[str, Any]:
    """The result as `headscript tune --json` prints it; the choices are in the library then."""
    chosen = of_revision(library.path, stored_choices(library, loaded.name, "iou"), loaded)
    by_iou = {(c.layer, c.head): parse_or_raise(c.text) for c in chosen}
    run = _start(loaded, texts, library, settings, by_iou)
    kept_orders = KeptOrders(run.key)
    split = texts.split()
    facts_of = loaded.facts_of
    train = Texts(split["train"].name, split["train"].documents[: settings.documents])
    select = Texts(split["select"].name, split["select"].documents[:SELECT_DOCUMENTS])
    tokens = settings.max_tokens
    grown = _grown(loaded, train, facts_of, library, run, settings, by_iou)
    seen = seen_on(loaded, select, list(by_iou), tokens, facts_of)
    kept, errors = _better(seen, by_iou, grown)
    _store(library, run, seen, kept, "output_error")
    result = {
        "model": loaded.name,
        "run": run.id,
        "heads": len(kept),
        "output_error": sum(min(pair) for pair in errors.values()) / len(errors),
        "iou_output_error": sum(old for old, _ in errors.values()) / len(errors),
        "divergences": [],
        "kept_round": None,
    }
    if loaded.model.get_output_embeddings() is not None and settings.rounds:
        judged = Judged(loaded, kept, dict.fromkeys(kept, 0.0), select, tokens, facts_of)
        order = kept_orders.order("damage", lambda: by_damage(judged))
        judge = Tuner(loaded, select, order, tokens, facts_of)
        worker = Tuner(loaded, train, order, tokens, facts_of)
        found, best, number = _tuned(worker, judge, library, run, settings, kept)
        _store(library, run, seen, best, "tuned")
        result |= {"divergences": found, "kept_round": number}
    library.finish_run(run)
    kept_orders.done()
    return result


def _start(
    loaded: LoadedModel,
    texts: Texts,
    library: Library,
    settings: TuneSettings,
    programs: Mapping[Head, Node],
) -> Run:
    about = asdict(settings) | {"stage": "tune", "texts": texts.name}
    start = [[*head, to_text(tree)] for head, tree in sorted(programs.items(), key=lambda p: p[0])]
    return library.start_run(
        key=run_key(
            model=loaded.revision,
            texts=texts.sha256,
            metric=METRIC_VERSION,
            settings=about,
            programs=start,
        ),
        model=loaded.name,
        model_revision=loaded.revision,
        texts_sha256=texts.sha256,
        settings=about,
    )


def pool_for(programs: Sequence[Node]) -> list[Node]:
    """Selections of the predicates that the programs use most, in all ways, and the plain ones."""
    plain = [parse_or_raise(text) for text in ALWAYS]
    counts: Counter[str] = Counter()
    for program in programs:
        for part in (node for node in program.walk() if node.op == "part"):
            term = part.children[0]
            selections = (
                [logit.children[0] for logit in term.children] if term.op == "score" else [term]
            )
            counts.update(to_text(p) for s in selections if (p := predicate_of(s)) is not None)
    used = sorted(counts, key=lambda text: (-counts[text], text))
    pool = dict.fromkeys(said(plain))
    for text in used:
        more = said([parse_or_raise(text)])
        if len(pool) + len(more) > POOL:
            break
        pool |= dict.fromkeys(more)
    return list(pool)


def seen_on(
    loaded: LoadedModel, texts: Texts, heads: Sequence[Head], tokens: int, facts_of: FactsOf
) -> Seen:
    """What the heads do on the texts, and facts about these, on the CPU."""
    patterns = capture(loaded, texts, heads, tokens)
    read = encode(texts.documents, loaded.tokenizer, tokens)
    rows = rows_for(loaded, load_spacy(), facts_of, read, patterns.attention.device)
    return Seen(texts, patterns, rows, Evaluator(rows.facts))


def _grown(
    loaded: LoadedModel,
    train: Texts,
    facts_of: FactsOf,
    library: Library,
    run: Run,
    settings: TuneSettings,
    programs: Mapping[Head, Node],
) -> dict[Head, Node]:
    """A program for each head by output error; those that were stored before are read back."""
    left = [head for head in programs if not library.batch_done(run, *head, "output error", 0)]
    if left:
        seen = seen_on(loaded, train, left, settings.max_tokens, facts_of)
        grower = OutputGrower(seen.patterns, seen.rows, pool_for(list(programs.values())))
        richness = Richness(settings.parts, settings.guards)
        with progress_bar() as bar:
            for head in bar.track(left, description="Growing by output error"):
                grown = grower.grow(head, richness, terms_of(programs[head]))
                _record(library, run, head, "output error", 0, grown, programs[head])
    return {head: _recorded(library, run, head, "output error", 0) for head in programs}


def terms_of(program: Node) -> list[Node]:
    """The selections and scores of a program, each once."""
    return list(dict.fromkeys(p.children[0] for p in program.walk() if p.op == "part"))


def _better(
    seen: Seen, by_iou: Mapping[Head, Node], grown: Mapping[Head, Node]
) -> tuple[dict[Head, Node], dict[Head, tuple[float, float]]]:
    """Of each head the program with the smaller output error, and both errors."""
    kept, errors = {}, {}
    for index, head in enumerate(seen.patterns.heads):
        real, values = seen.patterns.attention[:, index], seen.patterns.values[:, index]
        pair = [
            float(output_error(real, seen.rows.placed(seen.evaluator.matrices(p)), values).mean())
            for p in (by_iou[head], grown[head])
        ]
        errors[head] = (pair[0], pair[1])
        kept[head] = by_iou[head] if pair[0] <= pair[1] else grown[head]
    return kept, errors


def _tuned(
    worker: Tuner,
    judge: Tuner,
    library: Library,
    run: Run,
    settings: TuneSettings,
    programs: dict[Head, Node],
) -> tuple[list[list[float]], dict[Head, Node], int]:
    """Divergences on the select documents by round, and the programs of the best round."""
    rounds = [programs]
    found = [judge.divergences(programs)]
    with progress_bar() as bar:
        task = bar.add_task("Tuning in the model", total=settings.rounds * STEPS)
        for number in range(settings.rounds):
            stored = [library.batch_done(run, *head, "tune", number) for head in programs]
            if all(stored):
                bar.advance(task, STEPS)
            else:
                tuned = worker.tuned(rounds[-1], number, lambda: bar.advance(task))
                for head, tree in tuned.items():
                    _record(library, run, head, "tune", number, tree, rounds[-1][head])
            rounds.append(
                {head: _recorded(library, run, head, "tune", number) for head in programs}
            )
            found.append(judge.divergences(rounds[-1]))
    # The shares count alike: the mean of logarithms is what tuning follows.
    totals = [sum(math.log(max(d, 1e-9)) for d in row) for row in found]
    best = totals.index(min(totals))
    return found, rounds[best], best


def _record(
    library: Library, run: Run, head: Head, stage: str, batch: int, tree: Node, parent: Node
) -> None:
    text = to_text(tree)
    if len(text) > MAX_PROGRAM_CHARACTERS:
        raise InputError(f"a program of {len(text)} characters was grown: give fewer --parts")
    proposal = Proposal(
        raw=text, text=text, proposer=stage, seed=0, parents=[content_hash(to_text(parent))]
    )
    library.record_batch(run, *head, stage, batch, [proposal])


def _recorded(library: Library, run: Run, head: Head, stage: str, batch: int) -> Node:
    (proposal,) = (p for p in library.proposals(run, *head, stage) if p.batch == batch)
    return parse_or_raise(str(proposal.text))


def _store(
    library: Library, run: Run, seen: Seen, programs: Mapping[Head, Node], name: str
) -> None:
    """Makes the programs choices of that name, with their IoU on the select documents."""
    for head, tree in programs.items():
        matrices = seen.rows.placed(seen.evaluator.matrices(tree))
        library.set_choice(
            Choice(
                model=run.model,
                model_revision=run.model_revision,
                layer=head[0],
                head=head[1],
                choice=name,
                text=to_text(tree),
                run_id=run.id,
                select_iou=float(iou(seen.patterns.head(head), matrices).mean()),
            )
        )
