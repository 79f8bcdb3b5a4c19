"""Which ways the program takes through its functions under load, as a profile for the compiler. Run by layout.sh."""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tests/bench"))

import bench  # noqa: E402
import instructions  # noqa: E402

SECONDS = 3


def measured(binary, raw):
    """Has the loads of instructions.sh write profiles to `raw`."""
    options = argparse.Namespace(binary=str(Path(binary).resolve()), rounds=1)
    os.environ["LLVM_PROFILE_FILE"] = f"{raw}/%m.profraw"
    for loads in [instructions.fixed, instructions.echoed]:
        with tempfile.TemporaryDirectory(prefix="sidecloak-layout-") as directory, contextlib.ExitStack() as stack:
            for name, proxies, (path, document, connections), cpus in loads(options, stack, directory, ["sidecloak"]):
                run, _ = bench.load(proxies["sidecloak"], path, document, connections, SECONDS, cpus)
                print(f"{binary}: {name}, {run['requests']:.0f} requests")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="built with SIDECLOAK_PROFILE=generate")
    parser.add_argument("--llvm-profdata", default="llvm-profdata-19")
    parser.add_argument("--out", default=str(HERE / "requests.profdata"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sidecloak-layout-") as raw:
        measured(options.binary, raw)
        written = [str(path) for path in Path(raw).iterdir()]
        if not written:
            sys.exit("profile: no program wrote one; was it built with SIDECLOAK_PROFILE=generate?")
        # Without the functions that did not run: they are compiled as ever, and not as if they never would.
        subprocess.run([options.llvm_profdata, "merge", "--sparse", "-o", options.out, *written], check=True)
    print(f"{options.out}: {Path(options.out).stat().st_size} bytes")


if __name__ == "__main__":
    main()
