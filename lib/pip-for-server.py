"""Runs pip as if on another machine.

python3 -IS pip-for-server.py PIP INSTALLED VARIABLES WORD...
  PIP        the folder that has pip's own package
  INSTALLED  a folder: the packages in it, and no others, count as installed there
  VARIABLES  JSON: the variables of PEP 508 (python_version, sys_platform ...) as they are there

pip can be told for which Python and platform it has to choose wheels (--python-version, --platform), but it still asks the machine
that it runs on whether a requirement's marker (`; python_version < "3.12"`) holds. Here the server's variables answer that, too.
"""

import json
import sys

pip, installed, variables, *words = sys.argv[1:]
sys.path[:0] = [pip]
sys.path.append(installed)

from pip._internal.cli.main import main  # noqa: E402
from pip._vendor.packaging import markers  # noqa: E402

own = markers.default_environment()
markers.default_environment = lambda: {**own, **json.loads(variables)}
sys.exit(main(words))
