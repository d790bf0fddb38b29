#!/usr/bin/env python3
"""What the documents say is tested is tested: docs/TESTING.md and docs/GUARANTEES.md name tests that exist, and every
named edge case in the tree stands in the table."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = [name for name in subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
    check=True).stdout.split("\n") if name and (ROOT / name).is_file()]
EDGE_CASE = re.compile(r"[RSDM]\d\d_\w+")
IDS = ([f"R{i:02}" for i in range(1, 70)] + [f"S{i:02}" for i in range(1, 16)] + [f"D{i:02}" for i in range(1, 13)]
       + ["D18", "D19"] + [f"M{i:02}" for i in range(1, 37)])
breaches = []


def tests():
    """Name of a test -> the files that hold one of that name."""
    found = {}
    for name in FILES:
        path = ROOT / name
        if name.endswith("_test.cc"):
            names = re.findall(r"^TEST(?:_F|_P)?\(\s*\w+,\s*(\w+)\)", path.read_text(), re.M)
            names += re.findall(r"^TYPED_TEST(?:_P)?\(\s*\w+,\s*(\w+)\)", path.read_text(), re.M)
        elif name.startswith("tests/cluster/test_"):
            names = re.findall(r"^def (test_\w+)", path.read_text(), re.M)
        elif name.startswith("src/raft/testdata/"):
            names = [path.stem]
        else:
            continue
        for each in names:
            found.setdefault(each, set()).add(name)
    return found


def check_table(found):
    """Rows: | `R01_vote_persisted_before_reply` | `src/raft/election_test.cc` | what it shows |"""
    document = "docs/TESTING.md"
    rows, excused = {}, set()
    for number, line in enumerate((ROOT / document).read_text().split("\n"), 1):
        row = re.match(r"\| `([RSDM]\d\d_\w+)` \| `([^`]+)` \| .+ \|$", line)
        excuse = re.match(r"- ([RSDM]\d\d) \w+: .+", line)
        if excuse:
            excused.add(excuse.group(1))
        elif row:
            rows[row.group(1)] = row.group(2)
            if row.group(2) not in found.get(row.group(1), set()):
                breaches.append(f"{document}:{number}: there is no test {row.group(1)} in {row.group(2)}")
        elif re.match(r"\| `?[RSDM]\d\d", line):
            breaches.append(f"{document}:{number}: not a row of the form | `name` | `file` | what it shows |")
    for name, files in sorted(found.items()):
        if EDGE_CASE.fullmatch(name) and name not in rows:
            breaches.append(f"{min(files)}: {name} is not in the table of {document}")
    shown = {name[:3] for name in rows}
    for each in IDS:
        if each not in shown | excused:
            breaches.append(f"{document}: {each} has neither a test nor a reason why not")
        if each in shown & excused:
            breaches.append(f"{document}: {each} has a test and a reason why not")


def check_guarantees(found):
    """Each promise (a heading of the second level) ends with a paragraph "Held by `test`, `test`."."""
    document = "docs/GUARANTEES.md"
    for section in re.split(r"^## ", (ROOT / document).read_text(), flags=re.M)[1:]:
        title = section.split("\n", 1)[0]
        held = re.search(r"^Held by (.+?)(?:\n\n|\Z)", section, re.M | re.S)
        names = re.findall(r"`(\w+)`", held.group(1)) if held else []
        if not names:
            breaches.append(f"{document}: '{title}' names no test that holds it")
        for name in names:
            if name not in found:
                breaches.append(f"{document}: '{title}' is held by {name}, which does not exist")


FOUND = tests()
check_table(FOUND)
check_guarantees(FOUND)
for breach in breaches:
    print(breach)
print(f"{len(FOUND)} tests, {sum(1 for name in FOUND if EDGE_CASE.fullmatch(name))} named edge cases")
if not breaches:
    print("ok: what is promised is tested")
sys.exit(1 if breaches else 0)
