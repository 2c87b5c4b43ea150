"""`resdense`: the command line. There is one file per command in `commands/`; no other package imports this one."""
