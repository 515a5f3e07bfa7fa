"""All benches, one after the other: `python -m bench [NAME ...] [OPTION ...]`. Each prints its table.

Options go to every bench named: `python -m bench replica --quick`.
"""

import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def main() -> int:
    words = sys.argv[1:]
    first = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    names, options = words[:first], words[first:]
    names = names or sorted(path.stem for path in _HERE.glob("[!_]*.py"))
    unknown = [name for name in names if not (_HERE / f"{name}.py").exists()]
    if unknown:
        print(f"no such bench: {', '.join(unknown)}", file=sys.stderr)
        return 2
    codes = []
    for name in names:
        print(f"\n== {name}", flush=True)
        codes.append(
            subprocess.run([sys.executable, str(_HERE / f"{name}.py"), *options], check=False).returncode
        )
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
