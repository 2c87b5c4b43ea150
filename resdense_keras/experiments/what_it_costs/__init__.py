"""What lesson 6 measures: tutorials/06_what_it_costs.py."""
