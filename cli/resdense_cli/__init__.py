"""`resdense`: the command line. One file a command in `commands/`; nothing imports this package."""
