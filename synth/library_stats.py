"""How much a library holds, how much of it is the same, and what kinds of heads it describes."""

from collections import Counter
from dataclasses import dataclass

from synth.categories import category
from synth.library import Library
from synth.library_view import program_trees
from synth.probe import groups_of_equals


@dataclass(frozen=True)
class LayerKinds:
    """How many heads of a layer have a program of each category, by their choice for IoU."""

    model: str
    layer: int
    categories: dict[str, int]


@dataclass(frozen=True)
class Stats:
    """Numbers about a library.

    `text_duplicates` are proposals whose canonical text the library held before;
    `behaviour_groups` the sets of different texts that do the same on the probe batch, each with
    its shortest program, the representative, first; `behaviour_duplicates` the programs that are
    not the first of their group.  `rejects` are counted by code; `layers` say for each model and
    layer how many heads are in each category.
    """

    programs: int
    runs: int
    proposals: int
    scores: int
    choices: int
    chosen_programs: int
    text_duplicates: int
    behaviour_duplicates: int
    behaviour_groups: list[list[str]]
    rejects: dict[str, int]
    layers: list[LayerKinds]


def stats(library: Library) -> Stats:
    """Counts everything; every program is run on the probe batch, some milliseconds each."""
    programs = sorted(library.programs(), key=lambda program: (len(program.text), program.text))
    trees = program_trees(library, programs)
    groups = groups_of_equals(list(trees.values()))
    runs = library.runs()
    totals = [library.counts(run).total for run in runs]
    choices = library.choices(choice=None)
    kinds: dict[tuple[str, int], Counter[str]] = {}
    for choice in choices:
        if choice.choice == "iou":
            found = kinds.setdefault((choice.model, choice.layer), Counter())
            found[category(trees[choice.text])] += 1
    rejects: Counter[str] = Counter()
    for total in totals:
        rejects.update(total.codes)
    return Stats(
        programs=len(programs),
        runs=len(runs),
        proposals=sum(total.proposed for total in totals),
        scores=len(library.scores()),
        choices=len(choices),
        chosen_programs=len({choice.text for choice in choices}),
        text_duplicates=sum(total.duplicates for total in totals),
        behaviour_duplicates=len(programs) - len(groups),
        behaviour_groups=[[programs[i].text for i in group] for group in groups if len(group) > 1],
        rejects=dict(rejects.most_common()),
        layers=[
            LayerKinds(model, layer, dict(found.most_common()))
            for (model, layer), found in sorted(kinds.items())
        ],
    )
