"""Questions with answers to choose from, put to replaced models by lm-evaluation-harness.

The harness makes the requests and says which answers are right; the likelihoods are ours.  So
tasks of the hub go by their names, and files of questions are tasks of the same form.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from experiments.continuations import Continuation, Likelihood, ReplacedModels
from grammar.errors import InputError
from interpreter.texts import Texts, json_lines, read_text

PROMPTS = {"siqa": "Q: {{question}}\nA:"}
"""How the harness asks the questions of a data set, by what their ids begin with."""
PROMPT = "Question: {{question}}\nAnswer:"
"""As it asks those of ARC and PIQA, and here all others."""

METRICS = ("acc", "acc_norm")
"""Whether the likeliest answer is right, and the likeliest by character."""


@dataclass(frozen=True)
class Answered:
    """The questions of one task, and which of them each model answers right."""

    task: str
    chance: float
    """Accuracy of a guess."""
    right: Mapping[str, list[list[float]]]
    """By metric [model][question]: 1 or 0."""


class HarnessModels(TemplateLM):  # type: ignore[misc, unused-ignore]
    """Replaced models as the harness sees one: which of them answers is `number`.

    All of them are asked at once, since the facts about a text are theirs in common.
    """

    def __init__(self, models: ReplacedModels) -> None:
        super().__init__()
        self._models = models
        self._known: dict[Continuation, list[Likelihood]] = {}
        self.number = 0

    @property
    def eot_token_id(self) -> int:
        """What stands before an answer without a question."""
        tokenizer = self._models.loaded.tokenizer
        found = tokenizer.bos_token_id, tokenizer.eos_token_id
        return next((token for token in found if token is not None), 0)

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_options: Any
    ) -> list[int]:
        ids = self._models.loaded.tokenizer(string, add_special_tokens=bool(add_special_tokens))
        return list(ids["input_ids"])

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_options: Any
    ) -> list[Likelihood]:
        asked = [Continuation(tuple(before), tuple(after)) for _, before, after in requests]
        new = [one for one in dict.fromkeys(asked) if one not in self._known]
        if new:
            by_model = self._models.likelihoods(new)
            self._known |= dict(zip(new, map(list, zip(*by_model, strict=True)), strict=True))
        return [self._known[one][self.number] for one in asked]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        raise InputError("only tasks whose answers are chosen from are asked, no perplexity")

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        raise InputError("only tasks whose answers are chosen from are asked, no generation")


def local_task(path: Path) -> tuple[ConfigurableTask, Texts]:
    """A file of questions as a task, named as the file; and its questions.

    InputError where a line is no question.
    """
    items = read_items(path)
    prompts = {PROMPTS.get(str(item.get("id")).partition("-")[0], PROMPT) for item in items}
    if len(prompts) > 1:
        raise InputError(f"{path}: ids of data sets that are asked in different ways; split it")
    task = ConfigurableTask(
        config={
            "task": path.stem,
            "custom_dataset": lambda **_: {"test": _data_set(items)},
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": prompts.pop(),
            "doc_to_choice": "choices",
            "doc_to_target": "gold",
            "metric_list": [{"metric": metric} for metric in METRICS],
        }
    )
    return task, Texts(path.name, tuple(json.dumps(item, sort_keys=True) for item in items))


def _data_set(items: Sequence[Mapping[str, Any]]) -> Any:
    from datasets import Dataset  # type: ignore[import-not-found,unused-ignore]

    return Dataset.from_list([{k: i[k] for k in ("question", "choices", "gold")} for i in items])


def read_items(path: Path) -> list[dict[str, Any]]:
    """Lines with "question", "choices" (two at least) and "gold", the place of the right one."""
    items = []
    for place, item in json_lines(read_text(path), path):
        if not _is_item(item):
            raise InputError(
                f'{place}: not a question: {{"question": TEXT, "choices": '
                '[TEXT, ...], "gold": the place of the right one, from 0}'
            )
        items.append(item)
    if not items:
        raise InputError(f"{path}: no question in it")
    return items


def _is_item(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("question"), str):
        return False
    choices, gold = item.get("choices"), item.get("gold")
    if not isinstance(choices, list) or len(choices) < 2:
        return False
    texts = all(isinstance(choice, str) and choice.strip() for choice in choices)
    return texts and type(gold) is int and 0 <= gold < len(choices)


def hub_tasks(names: Sequence[str]) -> list[ConfigurableTask]:
    """Tasks of the harness by their names.

    InputError for a name that it does not know, and where a task's questions cannot be had.
    """
    manager = TaskManager()
    unknown = [name for name in names if name not in manager.all_tasks]
    if unknown:
        raise InputError(f"lm-evaluation-harness has no task {unknown[0]}")
    try:
        return list(manager.load(list(names))["tasks"].values())
    # What the hub and the data sets' library raise are kinds of OSError.
    except OSError as error:
        raise InputError(
            f"the questions of {', '.join(names)} cannot be had from the hub: "
            f"{str(error).partition(chr(10))[0] or type(error).__name__}; give a file by --items"
        ) from error


def answered(
    tasks: Sequence[ConfigurableTask], models: ReplacedModels, count: int, limit: int | None
) -> list[Answered]:
    """What `count` models answer to the first `limit` questions of each task."""
    harness = HarnessModels(models)
    for task in tasks:
        task.set_config("num_fewshot", 0)
    by_model = []
    for harness.number in range(count):
        # Zero resamples: the intervals are made elsewhere, paired.
        found = evaluate(
            harness,
            {task.config.task: task for task in tasks},
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
        )
        by_model.append(found["samples"])
    return [_answered(name, [samples[name] for samples in by_model]) for name in by_model[0]]


def _answered(task: str, by_model: Sequence[Sequence[Mapping[str, Any]]]) -> Answered:
    asked = by_model[0]
    metrics = [metric for metric in METRICS if metric in asked[0]]
    return Answered(
        task=task,
        chance=sum(1 / len(sample["arguments"]) for sample in asked) / len(asked),
        right={m: [[float(s[m]) for s in samples] for samples in by_model] for m in metrics},
    )
