"""Which functions a process runs when it starts and serves, as a linker script that puts them side by side. Run by layout.sh."""

import argparse
import bisect
import contextlib
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tests/bench"))

import bench  # noqa: E402

# A pattern may bring so many bytes of functions that did not run for each byte that did.
COLD = 0.1
HEAD = """/* The functions that a process runs when it starts and serves requests, side by side, so that less of the program has to be in
   memory (docs/adr/0026-order-of-the-code.md). Written by layout/layout.sh: measure again rather than edit. */
SECTIONS
{
  .text.first :
  {
    *(
      .text.hot.*
"""
TAIL = """      .text.unlikely.*
    )
  }
}
INSERT BEFORE .text;
"""


def ran(binary, directory):
    """The mangled names of all functions that ran, from a start until the end after some requests."""
    profile = Path(directory) / "callgrind.out"
    watched = ["valgrind", "--quiet", "--tool=callgrind", "--demangle=no", "--compress-strings=no", "--compress-pos=no"]

    class Watched(bench.Process):
        def __init__(self, name, argv, *more):
            super().__init__(name, [*watched, f"--callgrind-out-file={profile}", *argv] if name == "sidecloak" else argv, *more)

    with contextlib.ExitStack() as stack:
        b = bench.Bench(argparse.Namespace(binary=binary), directory, stack)
        b.keys()
        b.upstream()
        plain, bench.Process = bench.Process, Watched
        try:
            process = b.start("sidecloak", "off")
        finally:
            bench.Process = plain
        stack.callback(process.stop)
        process.first_answer(limit=300)
        for path, posts in [("/plain", False), ("/sealed", True)]:
            bench.get(process, path, b.document.read_bytes() if posts else None)
            b.load(process, path, posts, 2)
        for path in ["/readyz", "/metrics"]:
            bench.get(process, path, port=process.probe)
        time.sleep(2)  # what runs by the clock
        process.stop()
    # Whatever object they are said to be of: of a program with two sections of code callgrind does not know it.
    found = (line[3:] for line in profile.read_text().splitlines() if line.startswith("fn="))
    return {re.sub(r"'\d+$", "", name) for name in found}


def functions(binary):
    """(address, size, name) of each function of the program."""
    listed = subprocess.run(["nm", "-S", "--defined-only", binary], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        parts = line.split(maxsplit=3)
        if len(parts) == 4 and parts[2] in "tTwW":
            yield int(parts[0], 16), int(parts[1], 16), parts[3]


def lasting(name):
    """A name without what differs from one compiler or version of a crate to the next."""
    name = re.sub(r"aws_lc_\d+_\d+_\d+_", "aws_lc_*_", name)
    name = re.sub(r"\.(llvm|constprop|isra|part|cold)\..*", "", name)
    return re.sub(r"Cs([0-9A-Za-z]+)_", lambda m: "Cs" + "?" * len(m[1]) + "_", name)


def patterns(all_functions, hot):
    """The shortest prefixes that cover what ran and little else."""
    warm = {address for address, _, name in all_functions if name in hot}
    sizes = {}
    for address, same in itertools.groupby(sorted(all_functions), key=lambda f: f[0]):
        # Equal functions share an address; the section has the name of any of them.
        for turn, (_, size, name) in enumerate(same):
            entry = sizes.setdefault(lasting(name), [0, 0, False])
            entry[0] += size if turn == 0 else 0
            entry[1] += size if turn == 0 and address in warm else 0
            entry[2] |= address in warm
    names = sorted(sizes)
    total = list(itertools.accumulate((sizes[n][0] for n in names), initial=0))
    run = list(itertools.accumulate((sizes[n][1] for n in names), initial=0))
    found, covered = [], 0
    for at, name in enumerate(names):
        if at < covered or not sizes[name][2]:
            continue
        for length in range(8, len(name) + 1):
            first, last = bisect.bisect_left(names, name[:length]), bisect.bisect_left(names, name[:length] + "\x7f")
            every, some = total[last] - total[first], run[last] - run[first]
            if first >= covered and every - some <= COLD * some:
                break
        found.append((name[:length], every, some))
        covered = max(last, at + 1)
    return found


def measured(binary):
    """The patterns of one program."""
    binary = str(Path(binary).resolve())
    with tempfile.TemporaryDirectory(prefix="sidecloak-layout-") as directory:
        os.chmod(directory, 0o755)
        hot = ran(binary, directory)
    every = list(functions(binary))
    hot &= {name for _, _, name in every}
    if len(hot) < 1000:
        sys.exit(f"layout: only {len(hot)} functions of {binary} ran; is it stripped, or was it ended early?")
    found = patterns(every, hot)
    mib = [sum(f[k] for f in found) / 2**20 for k in (2, 1)] + [sum(f[1] for f in every) / 2**20]
    print(f"{binary}: {len(hot)} functions ran, {mib[0]:.1f} MiB; {len(found)} patterns cover {mib[1]:.1f} of {mib[2]:.1f} MiB")
    return {pattern.rstrip("*") for pattern, _, _ in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", action="append", help="with its symbols; more than one, since profiles inline differently")
    parser.add_argument("--out", default=str(HERE / "code.ld"))
    options = parser.parse_args()
    ends = set().union(*map(measured, options.binary or [ROOT / "target/release/sidecloak"]))
    # What begins like another one is in that.
    kept = [end for end in sorted(ends) if not any(end[:length] in ends for length in range(8, len(end)))]
    # What the profile says is called seldom, as most is that runs once as a process starts, has a section of another name.
    seldom = [f"unlikely.{end}" for end in kept if end.startswith("_R")]
    Path(options.out).write_text(HEAD + "".join(f"      .text.{end}*\n" for end in [*kept, *seldom]) + TAIL)
    print(f"{len(kept)} patterns")


if __name__ == "__main__":
    main()
