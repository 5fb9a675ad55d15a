"""What `headscript bench` measures is there, and belongs together."""

from experiments.bench_command import evaluation, library_programs, scoring
from grammar.canonical import canonical
from interpreter.texts import load_texts
from interpreter.tokens import read_tokens
from tests.tiny_models import tokenizer


def test_measures(tagger) -> None:
    tokens = read_tokens(load_texts("stories").documents[:2], tokenizer(), tagger, 24)
    programs = library_programs(6, tokens)
    assert len(set(programs)) == 6
    assert [canonical(program) for program in programs] == programs
    assert library_programs(6, tokens) == programs
    speed = evaluation(programs, tokens)
    assert speed["evaluate_speedup"] > 1
    rates = scoring(programs[:2], tokens)
    assert rates["scores_per_second"] > 0
    assert 0 < rates["scoring_share_of_limit"] < 2
