"""Every bound of the language in one place; each has a clear error where it is exceeded.

The bounds on repetition and nesting are written into the grammar itself, so that generation
under the grammar always ends.  The other bounds are checked by the parser and the evaluator.
"""

MAX_GUARDS = 4
"""Guarded rules (`when CLASS: ...`) before the last, unguarded one."""

MAX_PARTS = 8
"""Weighted parts of one mixture."""

MAX_LOGITS = 8
"""Terms inside one `score(...)`."""

MAX_OPERANDS = 3
"""Operands of one `and` or one `or`."""

MAX_NESTING = 1
"""Parentheses, `after(...)`, `before(...)` and `query(...)` inside each other."""

MAX_WORD_CHARACTERS = 24
"""Characters of a word in `word("...")`."""

MAX_NUMBER = 99
"""Weights, distances, ranks and half-lives are whole numbers from 1 to this."""

MAX_LOGIT = 9.9
"""Largest absolute logit in a score, in steps of 0.1."""

MAX_PROGRAM_CHARACTERS = 2_000
"""Characters of one program."""

MAX_PROGRAM_NODES = 300
"""Nodes in the tree of one program."""

MAX_SEQUENCE_TOKENS = 2_048
"""Tokens of one text in an evaluation."""

MAX_EVALUATION_COST = 500_000_000
"""Element operations that one program may cost on one text (see `interpreter.cost`)."""
