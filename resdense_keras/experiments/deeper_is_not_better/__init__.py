"""What lesson 2 measures: tutorials/02_deeper_is_not_better.py."""
