"""The lab: what is said of diffusion, as experiments that one runs, changes and checks.

import scorefield as sf; outcome = sf.lab.walk(steps=50); outcome.held, outcome.numbers, outcome.figure
"""

from scorefield.lab.experiment import Experiment, LabError, Outcome
from scorefield.lab.names import EXPERIMENTS, find
from scorefield.lab.plane.walk import walk
from scorefield.lab.record import save

__all__ = ["EXPERIMENTS", "Experiment", "LabError", "Outcome", "find", "save", "walk"]
