"""What can be said: primitives, grammar, parser, tree, canonical form, errors."""
