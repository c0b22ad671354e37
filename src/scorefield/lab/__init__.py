"""The lab: common claims about diffusion as experiments to run, change and check.

import scorefield as sf; outcome = sf.lab.walk(steps=50); outcome.held, outcome.numbers, outcome.figure
"""

from scorefield.lab.experiment import Experiment, LabError, Outcome
from scorefield.lab.names import EXPERIMENTS, find
from scorefield.lab.pictures.attention import attention
from scorefield.lab.pictures.blue import blue
from scorefield.lab.pictures.guidance import guidance
from scorefield.lab.pictures.hat import hat
from scorefield.lab.pictures.latents import latents
from scorefield.lab.pictures.mix import mix
from scorefield.lab.pictures.no_noise import no_noise
from scorefield.lab.pictures.schedule import schedule
from scorefield.lab.pictures.steps import steps
from scorefield.lab.pictures.tokens import tokens
from scorefield.lab.pictures.word_surgery import surgery
from scorefield.lab.pictures.zero_shot import zero_shot
from scorefield.lab.plane.classes import classes
from scorefield.lab.plane.ddim import ddim
from scorefield.lab.plane.ddpm import ddpm
from scorefield.lab.plane.families import families
from scorefield.lab.plane.field import field
from scorefield.lab.plane.flow import flow
from scorefield.lab.plane.optimisers import optimise
from scorefield.lab.plane.order import order
from scorefield.lab.plane.pixels import pixels
from scorefield.lab.plane.random_walk import walk
from scorefield.lab.plane.spiral import spiral
from scorefield.lab.plane.target import target
from scorefield.lab.plane.turn import turn
from scorefield.lab.record import save

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "LabError",
    "Outcome",
    "attention",
    "blue",
    "classes",
    "ddim",
    "ddpm",
    "families",
    "field",
    "find",
    "flow",
    "guidance",
    "hat",
    "latents",
    "mix",
    "no_noise",
    "optimise",
    "order",
    "pixels",
    "save",
    "schedule",
    "spiral",
    "steps",
    "surgery",
    "target",
    "tokens",
    "turn",
    "walk",
    "zero_shot",
]
