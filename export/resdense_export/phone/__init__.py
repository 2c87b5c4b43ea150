"""`resdense phone`: a page on this computer that a phone opens, and that measures in the phone's own browser.

`site` lists what is served, `app` decides who gets it, `serving` limits how long a request may take, and `results` adds
what a phone sends to report.json. Every byte that comes over the network is a stranger's: no path is ever built from
one.
"""
