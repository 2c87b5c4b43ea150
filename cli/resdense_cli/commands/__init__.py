"""The commands, one a file, which `main` finds here.

A file has a function `command`, whose arguments are the flags and whose docstring is the help, and `ORDER`, its place
in `resdense --help`. `STOPPED` says what is left after Ctrl-C, where that is not main's.
"""
