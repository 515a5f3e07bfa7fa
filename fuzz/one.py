"""One target under atheris, with libFuzzer's own arguments: `python -m fuzz.one TARGET -runs=1000 -seed=1`.

Run by `python -m fuzz`; a saved input is repeated by naming its file.
"""

import sys

import atheris

with atheris.instrument_imports(include=["bollard.replica", "bollard.wire", "bollard.controller.store"]):
    from fuzz.targets import TARGETS


def main() -> None:
    name, *arguments = sys.argv[1:]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
