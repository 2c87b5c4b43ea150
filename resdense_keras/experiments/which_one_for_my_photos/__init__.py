"""What lesson 9 measures: tutorials/09_which_one_for_my_photos.py."""
