"""The commands, one per file; `main` finds them here.

A file has a function `command`, whose arguments are the flags and whose docstring is the help, and `ORDER`, its place
in `resdense --help`. It may have `STOPPED`, the hint after Ctrl-C; the default is in main.
With `UNTIL_STOPPED` a stop is its usual end and not printed as an error.
"""
