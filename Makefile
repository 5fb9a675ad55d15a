# Every target does its own set-up, in .venv.  `make demo` runs the pipeline on a real model;
# `make test` runs everything that CI runs.

PYTHON = python3
BIN = .venv/bin
PIP = $(BIN)/pip --disable-pip-version-check

# PyPI's torch for Linux brings gigabytes of CUDA packages, so there it is the CPU build: from the
# index that pip is configured with where that has it, else from PyTorch's own.
# `make TORCH=torch==VERSION` takes what pip finds.
TORCH = $(shell grep ^torch== constraints.txt)$(if $(filter Linux,$(shell uname)),+cpu)
TORCH_INDEX = https://download.pytorch.org/whl/cpu

HEADS = L18H8,L16H0,L4H4,L17H3,L11H6,L0H0
DEMO = --model smollm2-135m --texts stories --library demo/headscript.sqlite
CLAIMS = fit grids three_heads coverage travel short_texts residual ceiling ablation stages
REPLACING = replacement_curve replacement_travel head_damage richness stories question_answering

.PHONY: demo libraries experiments experiments-quick $(CLAIMS) $(REPLACING) proposers_compared safety_and_speed \
	speed test fuzz vllm lint format clean

demo: .venv/installed
	mkdir -p demo
	$(BIN)/headscript synth $(DEMO) --heads $(HEADS) --seed 0
	$(BIN)/headscript score $(DEMO)
	$(BIN)/headscript report --library demo/headscript.sqlite -o demo/report.html

# The libraries that are shipped: `make libraries TEXTS=FILE` with the documents that the programs are to be
# found on, or one of them, `make library-minilm-l6`.  On two cores they take one hour (SmolLM2), a
# quarter (MiniLM) and two (Qwen).
TEXTS = stories
LIBRARIES = smollm2-135m minilm-l6 qwen2.5-coder-1.5b
TUNING = --documents 50 --rounds 10

libraries: $(LIBRARIES:%=library-%)
	$(BIN)/python -m experiments.sameness $(LIBRARIES:%=--library demo/%.sqlite)

# A step of tuning reads a model forwards and backwards, and the damage of every head is as many readings.
library-qwen2.5-coder-1.5b: TUNING = --documents 24 --rounds 3
library-smollm2-135m: DAMAGE = --damage

.PHONY: $(LIBRARIES:%=library-%)

# Every core searches programs for heads of its own.
$(LIBRARIES:%=library-%): library-%: .venv/installed
	$(PIP) install -c constraints.txt -e ".[ray]"
	mkdir -p demo
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/headscript synth --model $* --texts $(TEXTS) \
		--library demo/$*.sqlite --budget 0 --engine ray
	$(BIN)/headscript tune --model $* --texts $(TEXTS) --library demo/$*.sqlite $(TUNING)
	$(BIN)/headscript score --model $* --texts $(TEXTS) --library demo/$*.sqlite --keep $(DAMAGE)
	$(BIN)/headscript library export --chosen --library demo/$*.sqlite -o experiments/libraries/$*.jsonl

# Every claim again, for the libraries of the two small models: `make experiments TEXTS=FILE QUESTIONS="FILES"`,
# or one of them by its name, `make fit`.  The numbers of README.md and docs follow from them.
# For the large one: `make fit grids three_heads travel MODELS=qwen2.5-coder-1.5b LENGTHS="--tokens 96"`.
MODELS = smollm2-135m minilm-l6
# Those that predict the next token: what replaced heads cost is measured in these.
CAUSAL = smollm2-135m
# Files of questions, or names of tasks of lm-evaluation-harness, which come from the hub.
QUESTIONS =
TASKS =
SIZE =
LENGTHS =
SHARES =

ALL = $(CLAIMS) $(filter-out $(if $(QUESTIONS)$(TASKS),,question_answering),$(REPLACING))

experiments: $(ALL) safety_and_speed
	$(BIN)/python -m experiments.render

# All of them small, in under a quarter of an hour on two cores; the numbers go to demo/quick and say little.
experiments-quick:
	$(MAKE) $(ALL) SIZE="--every 10 --limit 8 --output demo/quick" LENGTHS="--tokens 96" SHARES="--fractions 0.25,1"
	$(MAKE) proposers_compared SIZE="--every 135 --limit 8 --evaluations 2 --refine 1 --output demo/quick"
	$(MAKE) safety_and_speed SIZE="--quick --tokens 256 --output demo/quick"

# These take long for each head.
ablation stages: override SIZE := $(subst --every 10,--every 90,$(SIZE))
# Texts of other kinds, as `OTHERS="stories code HuggingFaceH4/MATH-500:test:solution"` with a hub.
OTHERS = $(filter-out $(TEXTS),stories) code $(QUESTIONS)
travel: MORE = $(addprefix --texts ,$(OTHERS)) $(LENGTHS)
replacement_curve richness: MORE = $(SHARES)
replacement_travel: MORE = $(addprefix --texts ,$(OTHERS)) $(LENGTHS) $(SHARES)
ceiling: MORE = $(addprefix --other-texts ,$(OTHERS))
ablation: MORE = --texts code
question_answering stories: TEXTS_OPTION = --order-texts
question_answering: .venv/installed-qa
question_answering: MORE = $(addprefix --items ,$(QUESTIONS)) $(addprefix --tasks ,$(TASKS)) $(SHARES)
TEXTS_OPTION = --texts

$(CLAIMS): .venv/installed-plots
	for model in $(MODELS); do \
		$(BIN)/python -m experiments.$@ --model $$model --texts $(TEXTS) $(MORE) $(SIZE) || exit 1; \
	done

$(REPLACING): .venv/installed-plots
	for model in $(CAUSAL); do \
		$(BIN)/python -m experiments.$@ --model $$model $(TEXTS_OPTION) $(TEXTS) $(MORE) $(SIZE) || exit 1; \
	done

# Who proposes, compared: long, and it goes on where it was cut off.  PROPOSERS are language models.
PROPOSERS = outlines:smollm2-135m

proposers_compared: .venv/installed-plots
	$(BIN)/python -m experiments.$@ --texts $(TEXTS) --refine 4 \
		$(addprefix --proposer ,$(PROPOSERS)) $(SIZE)

# It measures time: nothing else should run meanwhile.
safety_and_speed: .venv/installed
	$(BIN)/python -m experiments.safety_and_speed $(SIZE)

# As long as it takes, and measured too: growth, memory, a local cluster, what a large run takes.
speed: .venv/installed-plots
	$(PIP) install -c constraints.txt -e ".[ray]"
	for claim in growth streaming cluster pruning large_run; do \
		$(BIN)/python -m experiments.$$claim || exit 1; \
	done
	$(BIN)/python -m experiments.render

test: lint
	$(BIN)/pytest

lint: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Hours: FUZZ texts, a tenth as many programs, a hundredth as many libraries.  lark's strict mode needs interegular,
# which slows every other use of lark down once it is installed, so it stays beside.
FUZZ = 10000000

fuzz: .venv/installed-test
	$(PIP) install -c constraints.txt -e ".[fuzz]"
	$(PIP) install --target .venv/strict interegular
	PYTHONPATH=.venv/strict $(BIN)/pytest tests/test_one_grammar.py -k two_readings
	$(BIN)/python -m tests.fuzz texts --count $(FUZZ)
	$(BIN)/python -m tests.fuzz programs --count $$(($(FUZZ) / 10))
	$(BIN)/python -m tests.fuzz library --count $$(($(FUZZ) / 100))
	$(BIN)/python -m tests.fuzz_coverage parser --count $$(($(FUZZ) / 10))
	$(BIN)/python -m tests.fuzz_coverage library --count $$(($(FUZZ) / 100))

# A vLLM server on the CPU for `--proposer vllm:http://127.0.0.1:$(VLLM_PORT)`, in an environment of
# its own; it runs until it is interrupted.  Without VLLM_CPU_KVCACHE_SPACE (GiB) it may not start.
VLLM_MODEL = smollm2-135m
VLLM_PORT = 8000
VLLM_SETTINGS = VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_NO_USAGE_STATS=1

vllm: .venv/installed .venv-vllm/installed
	$(VLLM_SETTINGS) HF_HUB_OFFLINE=1 .venv-vllm/bin/python \
		-m vllm.entrypoints.openai.api_server --host 127.0.0.1 --port $(VLLM_PORT) \
		--model "$$($(BIN)/headscript models fetch $(VLLM_MODEL))" \
		--served-model-name $(VLLM_MODEL) --max-model-len 4096 --enforce-eager

format: .venv/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .venv-vllm demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "headscript needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(PIP) install --no-deps $(TORCH) 2>/dev/null || \
		$(PIP) install --no-deps --index-url $(TORCH_INDEX) $(TORCH)
	$(PIP) install -c constraints.txt -e .
	touch $@

.venv-vllm/installed: synth/vllm-requirements.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --no-deps $(TORCH) 2>/dev/null || \
		.venv-vllm/bin/pip install --no-deps --index-url $(TORCH_INDEX) $(TORCH)
	.venv-vllm/bin/pip install --no-deps -r synth/vllm-requirements.txt
	touch $@

.venv/installed-plots: .venv/installed
	$(PIP) install -c constraints.txt -e ".[plots]"
	touch $@

.venv/installed-qa: .venv/installed
	$(PIP) install -c constraints.txt -e ".[qa]"
	touch $@

# xgrammar comes without its dependencies: see the extra `test` in pyproject.toml.
.venv/installed-test: .venv/installed-plots
	$(PIP) install -c constraints.txt -e ".[test]"
	$(PIP) install -c constraints.txt --no-deps xgrammar apache-tvm-ffi
	touch $@
