"""`python -m kuploy_saas_kit`: the same as the command `kuploy-saas-kit`."""

import sys

from kuploy_saas_kit.cli import main

if __name__ == "__main__":
    sys.exit(main())
