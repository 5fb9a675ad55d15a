"""Errors that the person who caused them can act on."""


class InputError(Exception):
    """The input was at fault: a file, an option, a program, a model name.

    The message is one line that says what is wrong, where, and what to do.  The command
    line prints it on stderr and exits with status 1.
    """
