# SPDX-License-Identifier: GPL-2.0
"""What a run prints, and the verdicts that it counts."""

import json
import re
import threading
import time

from . import boot, machine

# Figures of two equal runs may differ by so much of the larger one.
AGREE = 0.02
# So many failures can be chance.
CHANCE = 5
# Seconds without a line, until one says what is going on.
SILENCE = 60


class Listener:
    """Hears about one boot; prints a test's lines together, however many boots there are."""

    def __init__(self, report):
        self._report = report
        self._lines = []

    def __call__(self, kind, what):
        if kind == "note":
            self._lines.append(f"     {what}")
        elif kind == "verdict":
            lines, self._lines = self._lines, []
            self._report.verdict(what, lines)

    def flush(self):
        if self._lines:
            self._report.print(*self._lines)
        self._lines = []


class Report:
    """Prints what happens and counts. Its methods may be called from any thread."""

    def __init__(self):
        self.ready = []
        # What each boot cost besides its tests, see boot.Boot.cost.
        self.boots = []
        self._lock = threading.RLock()
        self._verdicts = {}
        # Tests whose failure can be chance, and why they failed; those that run once more because of it.
        self._doubtful = {}
        self._doubted = {}
        self._figures = {}
        # Those of equal runs that have to agree.
        self._repeating = set()
        self._spoken = time.monotonic()

    def listener(self):
        return Listener(self)

    def print(self, *lines):
        with self._lock:
            print(*lines, sep="\n", flush=True)
            self._spoken = time.monotonic()

    def say(self, text):
        self.print(f"     {text}")

    def still(self, doing):
        """Says what takes so long, if nothing was said for a while."""
        if doing and time.monotonic() - self._spoken > SILENCE:
            self.say("still at " + ", ".join(f"{what} ({seconds:.0f} s)" for what, seconds in doing))

    def verdict(self, verdict, notes=()):
        test, why = verdict.test, verdict.why
        failed = bool(why)
        text = f"{test} {verdict.seconds:.1f} s"
        if test.must_fail:
            failed = not re.search(test.must_fail, why)
            why = f"what it provoked was not noticed: /{test.must_fail}/ is wanted, and it says '{why}'"
        elif test.xfail:
            spot, reason = test.xfail
            # "Y10?" is a race, which C does not always lose.
            if not why and spot.endswith("?"):
                text += f" (C can fail it: {spot[:-1]})"
            elif not why:
                failed, why = True, f"passed, but C is expected to fail: {spot}"
            elif re.search(reason, why):
                failed = False
                text += f" (fails with C as expected: {spot})"
            else:
                why += f" (C is expected to fail by {spot}, with another reason: {reason})"
        with self._lock:
            self._verdicts[test] = {
                "name": test.name, "vcpus": test.vcpus, "kconfig": test.kconfig, "rust": test.rust,
                "result": "fail" if failed else "pass", "why": why if failed else "",
                "seconds": round(verdict.seconds, 2), "cpu": round(verdict.cpu, 2),
                "failed_before": self._doubted.get(test, ""),
            }  # fmt: skip
            if failed and verdict.by_own_word and not test.xfail and not test.must_fail:
                self._doubtful[test] = why
            if test in self._doubted and not failed:
                text += f" (beside others it failed: {self._doubted[test]})"
            for name, (value, unit, repeats) in verdict.figures.items():
                self._figures.setdefault((test.name, name, unit), {})[test] = value
                if repeats:
                    self._repeating.add((test.name, name, unit))
            if failed:
                self.print(*notes, f"FAIL {test}: {why}", *(f"     | {line}" for line in verdict.console[-100:]))
            else:
                self.print(*notes, f"ok   {text}")

    def not_run(self, tests):
        for test in tests:
            self.verdict(boot.Verdict(test, "not run: no test began in three boots", 0, [], False))

    def doubt(self):
        """The tests that should run once more, with nothing beside them: what failed by its own word
        only, on a machine where tests take each other's time. Many failures are no chance."""
        with self._lock:
            failed = sum(verdict["result"] == "fail" for verdict in self._verdicts.values())
            if failed <= CHANCE:
                self._doubted, self._doubtful = self._doubtful, {}
            return list(self._doubted)

    def _compare(self):
        """Figures of equal runs have to agree."""
        equal = {}
        for of, values in self._figures.items():
            for test, value in values.items():
                if test.round and of in self._repeating:
                    _, name, unit = of
                    equal.setdefault((name, unit, test.name, test.vcpus, test.rust), {})[test] = value
        for (name, unit, *_), rounds in equal.items():
            if len(rounds) < 2:
                continue
            low, high = min(rounds.values()), max(rounds.values())
            apart = (high - low) / high if high else 0
            test = max(rounds, key=lambda test: test.round)
            sides = f", {' '.join(test.rust)} in Rust" if test.rust else ""
            text = f"{test.name}{sides}: {name} {low:g} and {high:g} {unit}: {100 * apart:.2f} % apart"
            if apart <= AGREE:
                self.say(text)
                continue
            why = f"{text}, and {100 * AGREE:.0f} % are allowed"
            self._verdicts[test].update(result="fail", why=why)
            self.print(f"FAIL {why}")

    def table(self):
        """Figures with C and with Rust, side by side: the better one of equal runs."""
        rows = []
        for (name, figure, unit), values in self._figures.items():
            best = [
                min((value for test, value in values.items() if bool(test.rust) == rust), default=None)
                for rust in (False, True)
            ]
            if None not in best:
                c, rust = best
                rows.append((f"{name}: {figure}", f"{c:g}", f"{rust:g}", f"{100 * (rust - c) / c:+.1f} %", unit))
        if rows:
            rows.insert(0, ("", "C", "Rust", "", ""))
            widths = [max(len(row[column]) for row in rows) for column in range(4)]
            for name, *cells, unit in rows:
                self.say("  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:]), unit]).rstrip())

    def end(self, deaths):
        """Writes the results; returns the exit status."""
        self._compare()
        self.table()
        tests = list(self._verdicts.values())
        failed = sum(test["result"] == "fail" for test in tests)
        figures = [
            {"test": name, "figure": figure, "unit": unit, "values": list(values.values())}
            for (name, figure, unit), values in self._figures.items()
        ]
        last = {
            "ready_ms": self.ready, "boots": self.boots, "deaths": [str(test) for test in deaths],
            "tests": tests, "figures": figures,
        }  # fmt: skip
        (machine.CACHE / "last-run.json").write_text(json.dumps(last, indent=1) + "\n")
        for test in self._doubted:
            self.say(f"{test} ran twice, because it failed beside others: {self._doubted[test]}")
        self.print(f"{len(tests) - failed} passed, {failed} failed")
        return 0 if tests and not failed else 1
