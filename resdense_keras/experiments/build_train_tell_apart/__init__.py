"""What lesson 7 measures: tutorials/07_build_train_tell_apart.py."""
