"""`python -m resdense_export` is `resdense`."""

from .cli import main

main()
