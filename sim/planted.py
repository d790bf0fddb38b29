#!/usr/bin/env python3
"""Plants the bugs of sim/planted into a copy of the tree, one at a time, and counts the seeds until fluxsim finds each.

Each bug is a patch: a line that says what is wrong, then the difference. The product's sources hold nothing of them. A
second line "Held by: PROGRAM TEST" says that seeds hardly meet the bug, and which test must turn red instead.

  ./x sim --planted [--seeds N] [--jobs J] [--from S] [NAME...]   all of them, or those named
  sim/planted.py --check                                          whether every patch still fits the tree and is in docs/TESTING.md
"""
import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUGS = ROOT / "sim" / "planted"
TABLE = ROOT / "docs/TESTING.md"
WORK = ROOT / "build" / "planted"
# Outside of any repository, as far as git apply is concerned: inside of one it would skip what is not tracked.
ENV = dict(os.environ, GIT_CEILING_DIRECTORIES=str(WORK.parent))


def what(patch):
    return patch.read_text().split("\n", 1)[0]


def apply(patch, *options, tree):
    done = subprocess.run(["git", "apply", *options, str(patch)], cwd=tree, env=ENV, capture_output=True, text=True)
    return done.returncode == 0, done.stderr.strip()


def copy_tree():
    """What git knows of the tree, without touching files that have not changed: builds stay small."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    tree = WORK / "tree"
    for name in filter(None, names):
        source, target = ROOT / name, tree / name
        if not source.is_file() or target.is_file() and source.read_bytes() == target.read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    return tree


def check():
    """Each patch fits what git would check out here, in a copy of only the files that it touches, and is in the table."""
    failed = 0
    table = set(re.findall(r"^\| `(\w+)` \|", TABLE.read_text().split("## Planted bugs")[1].split("\n## ")[0], re.M))
    for name in sorted(table ^ {patch.stem for patch in BUGS.glob("*.patch")}):
        failed += 1
        print(f"{name}: only one of {TABLE.relative_to(ROOT)} and {BUGS.relative_to(ROOT)} has it")
    for patch in sorted(BUGS.glob("*.patch")):
        tree = WORK / "check"
        shutil.rmtree(tree, ignore_errors=True)
        for name in re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(), re.M):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy(ROOT / name, tree / name)
        good, why = apply(patch, "--check", tree=tree)
        if not good:
            failed += 1
            print(f"{patch.relative_to(ROOT)} does not fit the code any more; write it anew\n  {why}")
    shutil.rmtree(WORK / "check", ignore_errors=True)
    print(f"{failed} planted bugs are amiss" if failed else f"ok: {len(list(BUGS.glob('*.patch')))} planted bugs fit")
    return 1 if failed else 0


def held_by(patch):
    """The test program and the test that hold the bug; None if seeds do."""
    found = re.search(r"^Held by: (\w+) ([\w.]+)$", patch.read_text(), re.M)
    return found.groups() if found else None


def build(tree, target="fluxsim"):
    if not (tree / "build" / "release" / "build.ninja").exists():
        subprocess.run(["cmake", "--preset", "release"], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(["cmake", "--build", "--preset", "release", "--target", target], cwd=tree,
                          capture_output=True, text=True)
    return done.returncode == 0, done.stdout[-3000:]


def hunt(tree, options):
    """Runs seeds until one fails. Returns how many it took (None: none failed) and the first line of what was found."""
    done = subprocess.run([str(tree / "build/release/bin/fluxsim"), "--seeds", str(options.seeds), "--from",
                           str(options.first), "--jobs", str(options.jobs), "--stop-at-failure"],
                          capture_output=True, text=True)
    if done.returncode == 0:
        return None, ""
    failed = re.search(r"^FAILED: (.*)$", done.stdout, re.M)
    seed = re.search(r"replay: fluxsim --seed (\d+)", done.stdout)
    if failed is None or seed is None:
        sys.exit(f"fluxsim ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found = failed.group(1)
    crash = re.search(r"FLUX_CHECK failed at (.*)", done.stderr)
    if found.startswith("the process ended") and crash:
        found = crash.group(0)
    return int(seed.group(1)) - options.first + 1, found[:150]


def turns_red(tree, program, test):
    done = subprocess.run([str(tree / "build/release/bin" / program), f"--gtest_filter={test}"],
                          capture_output=True, text=True, timeout=600)
    # A check within the program may end it in the middle of the test.
    return done.returncode != 0 and f"[ RUN      ] {test}\n" in done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bugs to plant; all without")
    parser.add_argument("--check", action="store_true", help="only look whether the patches fit and are in the table")
    parser.add_argument("--seeds", type=int, default=2000, help="at most, for each bug (2000)")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (2)")
    options = parser.parse_args()
    if options.check:
        return check()
    patches = sorted(BUGS.glob("*.patch"))
    unknown = set(options.names) - {patch.stem for patch in patches}
    if unknown:
        parser.error(f"there is no planted bug {', '.join(sorted(unknown))}; there are: "
                     + ", ".join(patch.stem for patch in patches))
    if options.names:
        patches = [patch for patch in patches if patch.stem in options.names]
    tree = copy_tree()
    print("the tree without a bug ...", flush=True)
    good, output = build(tree)
    if not good:
        sys.exit(output)
    counts, missed, held = [], [], 0
    for patch in patches:
        began = time.monotonic()
        good, why = apply(patch, tree=tree)
        if not good:
            sys.exit(f"{patch.name} does not fit: {why}")
        test = held_by(patch)
        try:
            good, output = build(tree, test[0] if test else "fluxsim")
            if not good:
                sys.exit(f"{patch.name} does not build:\n{output}")
            red = test and turns_red(tree, *test)
            seeds, found = (None, "") if test else hunt(tree, options)
        finally:
            apply(patch, "-R", tree=tree)
        if test:
            held += 1 if red else 0
            missed += [] if red else [patch.stem]
            print(f"{patch.stem:<32} {test[1]} {'turns red' if red else 'STAYS GREEN'}  "
                  f"({time.monotonic() - began:.0f} s)  {what(patch)}", flush=True)
            continue
        if seeds is None:
            missed.append(patch.stem)
        else:
            counts.append(seeds)
        verdict = f"NOT FOUND in {options.seeds} seeds" if seeds is None else f"{seeds:>5} seeds"
        print(f"{patch.stem:<32} {verdict}  ({time.monotonic() - began:.0f} s)  {what(patch)}\n    -> {found}", flush=True)
    median = f", median {statistics.median(counts):.0f} seeds, most {max(counts)}" if counts else ""
    print(f"{'FAILED' if missed else 'ok'}: {len(counts)} of {len(patches)} planted bugs were found by seeds{median}; "
          f"{held} by a test of their own"
          + (f"; not: {', '.join(missed)}" if missed else ""))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
