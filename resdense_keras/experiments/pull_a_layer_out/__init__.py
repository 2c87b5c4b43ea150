"""What lesson 4 measures: tutorials/04_pull_a_layer_out.py."""
