"""`python -m resdense_export.report DIR` draws report.html anew: the child process of `resdense phone`."""

import sys

from resdense_keras.errors import ResdenseError

from . import rebuild

try:
    rebuild(sys.argv[1])
except ResdenseError as error:
    sys.exit(f"error: {error.message}\nhint: {error.hint}" if error.hint else f"error: {error.message}")
