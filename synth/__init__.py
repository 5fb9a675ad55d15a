"""How programs are found: prompts, proposers, fitting, ranking, the library, its commands."""
