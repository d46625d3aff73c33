"""`python -m trialrun_operator`."""

import sys

from trialrun_operator.main import main

sys.exit(main())
