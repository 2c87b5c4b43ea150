"""A trained net with fewer channels: which go together, what each is worth, which leave, and the repair after it.

Whole channels and whole blocks leave, so that every kernel gets smaller. What reads a removed channel loses that input;
no gather is ever put in.
"""
