"""`python -m noprop_ode.data`: prepare data sets, and list those that are prepared."""

import sys

from .prepare import main as main


if __name__ == "__main__":
    sys.exit(main())
