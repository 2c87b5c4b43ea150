"""What lesson 3 measures: tutorials/03_where_the_gradient_goes.py."""
