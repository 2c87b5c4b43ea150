"""Makes a trained net with fewer channels: finds which channels go together and what each is worth, chooses those to
remove, and repairs the rest.

Whole channels and whole blocks are removed, so that kernels get smaller. A reader of a removed channel loses that
input; no gather is added.
"""
