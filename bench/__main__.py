"""All benches, one after the other: `python -m bench [NAME ...]`. Each prints its table."""

import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def main() -> int:
    names = sys.argv[1:] or sorted(path.stem for path in _HERE.glob("[!_]*.py"))
    unknown = [name for name in names if not (_HERE / f"{name}.py").exists()]
    if unknown:
        print(f"no such bench: {', '.join(unknown)}", file=sys.stderr)
        return 2
    codes = []
    for name in names:
        print(f"\n== {name}", flush=True)
        codes.append(subprocess.run([sys.executable, str(_HERE / f"{name}.py")], check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
