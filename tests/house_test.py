#!/usr/bin/env python3
"""The house stays clean: declared edges, pure cores, sizes, words. Runs in a second; prints every breach."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = [ROOT / name for name in subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
    check=True).stdout.split("\n") if name and (ROOT / name).is_file()]
breaches = []


def breach(path, line, text):
    breaches.append(f"{path.relative_to(ROOT)}:{line}: {text}")


def libraries():
    """Library name -> (folder, declared edges)."""
    found = {}
    for path in FILES:
        if path.name != "CMakeLists.txt" or "src" not in path.parts:
            continue
        for name, body in re.findall(r"flux_library\((\w+)(.*?)\)", path.read_text(), re.S):
            deps = re.search(r"DEPS((?:\s+\w+)*?)\s*(?:USES|$)", body, re.S)
            found[name] = (path.parent.relative_to(ROOT / "src").as_posix(), set(deps.group(1).split()) if deps else set())
    return found


def closure(name, libs):
    seen, todo = set(), [name]
    while todo:
        each = todo.pop()
        if each not in seen and each in libs:
            seen.add(each)
            todo.extend(libs[each][1])
    return seen


def owner(relative, libs):
    """The library whose folder holds a path below src; the deepest one."""
    best = None
    for name, (folder, _) in libs.items():
        if relative.startswith(folder + "/") and (best is None or len(folder) > len(libs[best][0])):
            best = name
    return best


def check_edges(libs):
    for path in FILES:
        if path.suffix not in (".h", ".cc") or "src" not in path.relative_to(ROOT).parts[:1]:
            continue
        if re.search(r"_(test|fuzz|bench)\.cc$", path.name) or "testing" in path.parts:
            continue
        relative = path.relative_to(ROOT / "src").as_posix()
        mine = owner(relative, libs)
        if mine is None:
            breach(path, 1, "belongs to no library")
            continue
        allowed = closure(mine, libs)
        for number, line in enumerate(path.read_text().split("\n"), 1):
            match = re.match(r'#include "([^"]+)"', line)
            if not match:
                continue
            if not (ROOT / "src" / match.group(1)).exists():
                breach(path, number, f"includes {match.group(1)}, which is not below src/")
                continue
            theirs = owner(match.group(1), libs)
            if theirs not in allowed:
                breach(path, number, f"{mine} includes {match.group(1)} of {theirs}, an edge that is not declared")


# What would make a core depend on more than its inputs.
IMPURE = re.compile(
    r"std::(thread|mutex|atomic|condition_variable|random_device|mt19937|async|this_thread)\b|_clock::now|\brand\(\)|"
    r"\bgetenv\(|\bfopen\(|(?<!\w)::open\(|std::hash<|#include <(thread|mutex|atomic|random|condition_variable|future)>")
PURE_FOLDERS = ("src/raft/", "src/kv/", "src/ctrl/")


def check_purity():
    for path in FILES:
        relative = path.relative_to(ROOT).as_posix()
        if not relative.startswith(PURE_FOLDERS) or path.suffix not in (".h", ".cc"):
            continue
        if re.search(r"_(test|fuzz|bench)\.cc$", path.name) or "testing" in path.parts:
            continue
        for number, line in enumerate(path.read_text().split("\n"), 1):
            if IMPURE.search(line.split("//")[0]):
                breach(path, number, f"a core must not use this: {line.strip()}")


def check_sizes():
    for path in FILES:
        if path.suffix not in (".h", ".cc", ".py"):
            continue
        lines = path.read_text().split("\n")
        if len(lines) > 800:
            breach(path, 1, f"{len(lines)} lines; split by message, command family or stage (800 at most)")
        if path.suffix == ".py":
            continue
        for number, line in enumerate(lines, 1):
            if len(line) > 120:
                breach(path, number, f"{len(line)} characters; 120 at most")
    for folder in sorted({path.parent for path in FILES if path.suffix in (".cc", ".h")}):
        readme = folder / "README.md"
        top = folder.relative_to(ROOT).parts
        if len(top) == 2 and top[0] == "src" and not readme.exists():
            breach(folder / "CMakeLists.txt", 1, "the folder has no README.md")
        if readme.exists() and len(readme.read_text().split("\n")) > 41:
            breach(readme, 41, "a folder's README has at most 40 lines")


WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def check_words():
    for path in FILES:
        if path.suffix not in (".h", ".cc", ".py", ".md", ".txt", "") or path.name in ("house_test.py", "LICENSE"):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if WORDS.search(line):
                breach(path, number, f"unfinished by its own words: {line.strip()}")
        if path.suffix in (".h",) and "#pragma once" not in text:
            breach(path, 1, "no #pragma once")


SYMBOL = re.compile(r"`([a-z_]+(?:::[A-Za-z_]+)+)`")


def check_symbols():
    """Every `a::b` that the documents name exists in the sources."""
    code = "\n".join(path.read_text() for path in FILES if path.suffix in (".h", ".cc"))
    words = set(re.findall(r"\w+", code))
    for path in FILES:
        if path.suffix != ".md" or "docs" not in path.parts:
            continue
        for number, line in enumerate(path.read_text().split("\n"), 1):
            for symbol in SYMBOL.findall(line):
                last = symbol.split("::")[-1]
                if last not in words and not symbol.startswith("std::"):
                    breach(path, number, f"names {symbol}, which does not exist")


LIBS = libraries()
check_edges(LIBS)
check_purity()
check_sizes()
check_words()
check_symbols()
for line in breaches:
    print(line)
print(f"{len(LIBS)} libraries, {len(FILES)} files, {len(breaches)} breaches")
if not breaches:
    print("ok: the house is clean")
sys.exit(1 if breaches else 0)
