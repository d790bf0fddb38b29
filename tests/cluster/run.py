"""Runs the multi-process tests: every function test_* of test_*.py here, or those that match an argument."""
import importlib
import pathlib
import re
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def tests(pattern, quick):
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        for name in [n for n in vars(module) if n.startswith("test_")]:
            function = getattr(module, name)
            full = f"{path.stem[5:]}.{name[5:]}"
            if re.search(pattern, full) and (not quick or getattr(function, "quick", False)):
                yield full, function


def main():
    quick = "--quick" in sys.argv
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    passed, failed = 0, []
    for name, function in tests(arguments[0] if arguments else "", quick):
        started = time.monotonic()
        print(f"{name} ...", flush=True)
        try:
            function()
        except Exception:  # a test may fail in any way
            traceback.print_exc(file=sys.stdout)
            failed.append(name)
        else:
            passed += 1
        print(f"   {'FAILED' if failed and failed[-1] == name else 'ok'}, {time.monotonic() - started:.1f} s", flush=True)
    for name in failed:
        print(f"FAILED: {name}")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or passed == 0 else 0


sys.exit(main())
