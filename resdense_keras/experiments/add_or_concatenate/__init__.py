"""What lesson 1 measures: tutorials/01_add_or_concatenate.py."""
