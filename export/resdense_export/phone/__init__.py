"""`resdense phone`: a page on this computer that a phone opens, and that measures in the phone's own browser.

`site` says what is served, `app` who gets it, `serving` how long one may take; `results` takes what a phone sends into
report.json. Every byte that comes over the network is a stranger's: no path is ever built from one.
"""
