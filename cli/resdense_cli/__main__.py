"""`python -m resdense_cli` is `resdense`."""

from .main import main

main()
