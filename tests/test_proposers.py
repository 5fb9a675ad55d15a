"""Proposers without a language model: all that they write is a program, new, and seeded."""

from random import Random

import pytest
from click.testing import CliRunner

from grammar.canonical import canonical_text, content_hash
from grammar.errors import InputError
from grammar.parser import parse_or_raise
from grammar.primitives import PRIMITIVES
from interpreter.command_line import main
from synth.enumeration import EnumerationProposer, terms
from synth.learned import LearnedProposer
from synth.mutation import MutationProposer
from synth.probabilistic_grammar import Sampler, choices, learned, prior
from synth.prompt import EXAMPLES, Attempt, Prompt
from synth.proposers import KINDS, Draft, Proposer, make_proposer, most_dollars, parse_proposer
from synth.sampling import SamplingProposer
from tests.random_programs import random_program

WORDS = ("the", "she", "café")


def about(*tried: str, proposer: str = "", causal: bool = True) -> Prompt:
    """A prompt in which these programs were tried, each worse than the one before."""
    attempts = tuple(Attempt(text, 1 / (i + 2), proposer) for i, text in enumerate(tried))
    return Prompt((("user", "?"),), tried=attempts, words=WORDS, causal=causal)


def texts(drafts: list[Draft]) -> list[str]:
    return [draft.text for draft in drafts]


class Teacher:
    """Writes what it was given."""

    name = "teacher:model@1"

    def __init__(self, *answers: str) -> None:
        self._answers = answers
        self.asked = 0

    def propose(self, prompt: Prompt, count: int, seed: int) -> list[Draft]:
        self.asked += 1
        return [Draft(answer, True, 9, 0.1) for answer in self._answers[:count]]


STUDENT = LearnedProposer(Teacher())
ANSWERS = about(*EXAMPLES[:6], proposer=Teacher.name)

PROPOSERS: list[tuple[Proposer, Prompt]] = [
    (SamplingProposer(), about("first")),
    (SamplingProposer(), Prompt((("user", "?"),))),
    (EnumerationProposer(), about("first", "5 back(1) + 3 noun", "self")),
    (MutationProposer(), about(*EXAMPLES)),
    (MutationProposer(), about("self")),
    (STUDENT, ANSWERS),
]


@pytest.mark.parametrize(("proposer", "prompt"), PROPOSERS)
def test_drafts_are_new_canonical_programs(proposer: Proposer, prompt: Prompt) -> None:
    drafts = [*proposer.propose(prompt, 300, 1), *proposer.propose(prompt, 300, 2)]
    known = {attempt.text for attempt in prompt.tried}
    for draft in drafts:
        assert canonical_text(draft.text) == draft.text
        assert draft.finished
        assert draft.text not in known
        assert not {node.op for node in parse_or_raise(draft.text).walk()} & {"ahead", "next"}
    assert len(set(texts(drafts[:300]))) == 300


@pytest.mark.parametrize(("proposer", "prompt"), PROPOSERS)
def test_the_same_seed_gives_the_same(proposer: Proposer, prompt: Prompt) -> None:
    first = texts(proposer.propose(prompt, 40, 7))
    assert texts(proposer.propose(prompt, 40, 7)) == first
    if proposer.name != "enumeration":
        assert texts(proposer.propose(prompt, 40, 8)) != first


def test_a_bidirectional_model_may_look_ahead() -> None:
    drafts = SamplingProposer().propose(about(causal=False), 600, 0)
    assert any("ahead(" in draft.text for draft in drafts)


def test_sampling_reaches_every_primitive() -> None:
    sampler = Sampler(prior(causal=False, words=WORDS), Random(0))
    seen = {node.op for _ in range(4000) for node in sampler.program().walk()}
    assert seen >= {*PRIMITIVES, "and", "or", "not", "after", "before", "query", "score", "when"}


def test_every_choice_of_any_program_can_be_learned() -> None:
    random = Random(3)
    for _ in range(300):
        program = random_program(random)
        weights = learned(prior(causal=False, words=()), [program], 1e9)
        assert all(weights[context][choice] > 0 for context, choice in choices(program))


def test_a_grammar_learned_from_one_program_writes_that_program() -> None:
    (taught,) = [parse_or_raise("5 near(newline, 7) + 5 near(newline, 7)")]
    weights = learned(prior(causal=True, words=WORDS), [taught], 1e9)
    sampler = Sampler(weights, Random(0))
    assert all(sampler.program() is taught for _ in range(20))


def test_the_learned_grammar_follows_its_teacher() -> None:
    teacher = Teacher("3 recent(quote) + 2 first", "recent(quote, 2)", "not a program")
    student = LearnedProposer(teacher)
    asked = student.propose(about("first"), 3, 0)
    assert texts(asked) == ["3 recent(quote) + 2 first", "recent(quote, 2)", "not a program"]
    assert {draft.author for draft in asked} == {teacher.name}
    drawn = student.propose(about(*texts(asked[:2]), proposer=teacher.name), 200, 1)
    assert teacher.asked == 1
    plain = SamplingProposer().propose(about(), 200, 1)
    count = sum("recent(quote" in text for text in texts(drawn))
    assert count > 5 * sum("recent(quote" in text for text in texts(plain)) + 20


def test_a_learned_grammar_costs_what_its_teacher_does() -> None:
    class Paid(Teacher):
        def most_dollars(self, prompt: Prompt, count: int) -> float:
            return count / 10

    student = LearnedProposer(Paid())
    assert most_dollars(student, about("first"), 5) == 0.5
    assert most_dollars(LearnedProposer(student), about("first"), 5) == 0.5
    assert most_dollars(student, ANSWERS, 5) == 0
    assert most_dollars(STUDENT, about("first"), 5) == 0


def test_mutation_names_its_parents_and_keeps_most_of_them() -> None:
    prompt = about("5 first + 3 near(noun, 8)", "2 back(1) + 1 stop")
    drafts = MutationProposer().propose(prompt, 200, 0)
    hashes = {content_hash(attempt.text) for attempt in prompt.tried}
    assert all(draft.parents and set(draft.parents) <= hashes for draft in drafts)
    crossings = [draft.text for draft in drafts if len(draft.parents) == 2]
    assert any("near(noun, 8)" in text and "stop" in text for text in crossings)
    near = sum("near(noun," in draft.text for draft in drafts)
    assert near > 80


def test_enumeration_goes_through_all_that_is_small() -> None:
    prompt = about()
    seen: list[str] = []
    while len(seen) < 700:
        drafts = EnumerationProposer().propose(about(*seen), 100, 0)
        seen += texts(drafts)
        if len(drafts) < 100:
            break
    assert len(seen) == len(set(seen))
    singles = terms(causal=prompt.causal, words=())
    assert {"first", "self", "noun", "back(1)"} <= set(seen[:300])
    assert len(singles) > 500


def test_enumeration_is_greedy() -> None:
    prompt = about("self", "stop", "2 comma + 1 quote")
    drafts = EnumerationProposer().propose(prompt, 6, 0)
    # By turns the next of one part, and the best so far with the next best part.
    assert texts(drafts) == ["any", "2 self + 1 stop", "noun", "2 stop + 1 self", "name", "pronoun"]


def test_names() -> None:
    for name in ("sampling", "enumeration", "mutation"):
        assert make_proposer(name).name == name
    assert make_proposer("learned:mutation").name == "learned:mutation"
    assert parse_proposer("smollm2-135m") == ("outlines", "smollm2-135m")
    assert parse_proposer("some/folder") == ("outlines", "some/folder")
    assert parse_proposer("outlines:a/b") == ("outlines", "a/b")
    assert parse_proposer("vllm:http://h:1") == ("vllm", "http://h:1")
    assert parse_proposer("api:org/m:tag@https://h/v1") == ("api", "org/m:tag@https://h/v1")
    for wrong in (
        *("sampling:3", "learned:", "learned", "outlines:", "mutation:x", "nonsense:x", ""),
        *("learned:nonsense:x", "api:model", "api:@http://h", "vllm", "api:model@"),
    ):
        with pytest.raises(InputError, match="no proposer") as caught:
            make_proposer(wrong)
        assert all(kind in str(caught.value) for kind in KINDS)
    with pytest.raises(InputError, match="did you mean `sampling`"):
        make_proposer("samplign")


def test_every_kind_is_told_in_the_help() -> None:
    told = CliRunner().invoke(main, ["synth", "--help"]).output
    for kind in KINDS:
        assert f"\n  {kind} " in told


def test_vllm_where_there_is_none() -> None:
    with pytest.raises(InputError, match="make vllm"):
        make_proposer("vllm:smollm2-135m")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--proposer", "api:m@http://h/v1"], "give --dollar-limit or --token-limit"),
        (["--proposer", "learned:api:m@http://h/v1"], "give --dollar-limit or --token-limit"),
        (["--proposer", "api:m@http://h/v1", "--dollar-limit", "1"], "needs --prices"),
    ],
)
def test_money_is_spent_within_a_limit_alone(options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["synth", *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_name_of_no_proposer_is_refused_first() -> None:
    result = CliRunner().invoke(main, ["synth", "--proposer", "nonsense:x"])
    assert result.exit_code == 1
    assert "no proposer 'nonsense:x'" in result.stderr
