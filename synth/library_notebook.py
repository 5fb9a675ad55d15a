"""What a library and its programs look like in a notebook; all that comes out of it is escaped."""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from grammar.canonical import verified
from grammar.english import sentence
from grammar.tree import Node
from interpreter.statistics import bootstrap_ci95
from synth.heads import head_name
from synth.library_rows import TITLES, Choice, ChosenModel, Score


@dataclass(frozen=True)
class BestProgram:
    """The choice for a head, with its score on test documents where one is stored."""

    choice: Choice
    score: Score | None

    @property
    def text(self) -> str:
        """The program, as it is written."""
        return self.choice.text

    @property
    def tree(self) -> Node:
        """The program, to be run by `interpreter.evaluate.Evaluator`.

        Raises InputError where the stored text is no canonical program.
        """
        return verified(self.choice.text)

    @property
    def sentence(self) -> str:
        """The program in English."""
        return sentence(self.tree)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        name = head_name(self.choice.layer, self.choice.head)
        title = Markup("<b>{}</b> of {}").format(name, self.choice.model)
        program = Markup("<pre>{}</pre>").format(self.text.replace("; ", ";\n"))
        told = Markup("<p>{}</p>").format(self.sentence)
        rows = [("IoU on select documents", f"{self.choice.select_iou:.3f}")]
        if self.score:
            rows += _scores(self.score)
        return Markup("<div>{}{}{}{}</div>").format(title, program, told, _table(rows))


def _scores(score: Score) -> list[tuple[str, str]]:
    """The scores that are known, with their 95% intervals."""
    per_document = score.per_document()
    rows = []
    for name, title in TITLES.items():
        value = getattr(score, name)
        if value is not None:
            told = f"{value:.3f}"
            if name in per_document:
                low, high = bootstrap_ci95(per_document[name])
                told += f" ({low:.3f}–{high:.3f})"
            rows.append((title, told))
    if score.damage is not None:
        rows.append(("damage, nats a token", f"{score.damage:.4f}"))
    return rows


def library_html(path: str, models: Iterable[ChosenModel]) -> str:
    """A library as a table of the models that it explains."""
    rows = [(m.model, f"revision {m.model_revision[:12]}, {m.heads} heads") for m in models]
    return Markup("<div><b>{}</b>{}</div>").format(path, _table(rows))


def _table(rows: Iterable[tuple[str, str]]) -> Markup:
    lines = (Markup("<tr><th>{}</th><td>{}</td></tr>").format(*row) for row in rows)
    return Markup("<table>{}</table>").format(Markup("").join(lines))
