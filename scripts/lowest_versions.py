"""The lowest versions that pyproject.toml allows, as constraints for pip.

    python scripts/lowest_versions.py > lowest.txt

Of what we need, and of all extras but those of documentation and development.
"""

import re
import tomllib
from pathlib import Path

# Tools, of which any version will do.
LATEST = {"dev", "docs"}
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)>=([0-9][0-9.]*)")


def lowest(requirements):
    """`name==version` of each requirement with a lower bound."""
    pins = []
    for requirement in requirements:
        match = REQUIREMENT.match(requirement)
        if match is not None:
            pins.append(f"{match[1]}=={match[2]}")
    return pins


def main():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    pins = set(lowest(project["dependencies"]))
    for extra, requirements in project["optional-dependencies"].items():
        if extra not in LATEST:
            pins |= set(lowest(requirements))
    print("\n".join(sorted(pins)))


if __name__ == "__main__":
    main()
