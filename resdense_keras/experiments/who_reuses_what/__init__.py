"""What lesson 5 measures: tutorials/05_who_reuses_what.py."""
