"""python -m tests.hostile: hostile cases for every door, and a line for each fault.

python -m tests.hostile --count 300 --seed 7              # 2,100 cases
python -m tests.hostile --door pickles --case 113 --say   # one again, with what it said
"""

import argparse
import importlib
import json
import os
import pkgutil
import sys
from collections import Counter

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}

import click
from tests.hostile.harness import DOORS, Outcome, cases

import scorefield


def _imported() -> None:
    for module in pkgutil.walk_packages(scorefield.__path__, "scorefield."):
        if not module.name.startswith(("scorefield.bench", "scorefield.__main__", "scorefield.lab.")):
            importlib.import_module(module.name)


def _shown(outcome: Outcome) -> str:
    words = " ".join(ascii(one)[1:-1][:60] or "''" for one in outcome.args)
    last = outcome.said.strip().replace("\r\n", "\n").splitlines()[-1:] or [""]
    ended = f"{outcome.code}, {outcome.seconds:.1f} s, {outcome.memory >> 20} MB"
    return f"{outcome.door} {outcome.index}: {words}\n    {ended}: {last[0]!r:.400}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300, help="of each door")
    parser.add_argument("--door", choices=[*DOORS], action="append")
    parser.add_argument("--case", type=int, action="append")
    parser.add_argument("--say", action="store_true", help="show every case, not only those with a fault")
    asked = parser.parse_args()
    _imported()
    faults = 0
    with cases(asked.seed) as made:
        for door in asked.door or DOORS:
            ends: Counter[str] = Counter()
            slowest, largest = 0.0, 0
            for index in asked.case or range(asked.count):
                outcome = made.run(door, index)
                ends["fault" if outcome.faults else f"code {outcome.code}"] += 1
                slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.memory)
                faults += bool(outcome.faults)
                if asked.say or outcome.faults:
                    click.echo("\n".join([_shown(outcome), *(f"    FAULT {fault}" for fault in outcome.faults)]))
                if asked.case:
                    click.echo(outcome.said)
            told = {"door": door, **ends, "slowest_s": round(slowest, 1), "most_mb": largest >> 20}
            click.echo(json.dumps(told))
    return faults and 1


if __name__ == "__main__":
    sys.exit(main())
