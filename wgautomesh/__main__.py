"""`python -m wgautomesh` is the same as `wgautomesh`."""

import sys

from .cli import main

sys.exit(main())
