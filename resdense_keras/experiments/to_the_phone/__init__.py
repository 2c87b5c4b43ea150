"""What lesson 8 measures: tutorials/08_to_the_phone.py."""
