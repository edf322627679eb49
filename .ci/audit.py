"""Fails on known vulnerabilities of the installed dependencies, and says plainly where it could not look.

Exit codes: 0 nothing is known, or nothing could be looked up (the line says which); 1 something is known;
with ``RECSYS_AUDIT=required`` also where a dependency could not be looked up. Arguments go to pip-audit, such
as ``--ignore-vuln ID`` for one that does not concern us.
"""
# ruff: noqa: T201, S603 -- a script that prints, and calls its neighbour

import json
import os
import subprocess
import sys
from pathlib import Path

_SECONDS = 180
_N_NAMED = 5


def main(arguments: list[str]) -> int:
    """Audit what is installed beside this interpreter."""
    try:
        found = _asked(arguments)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        return _not_audited(f"pip-audit gave no answer ({type(error).__name__})")
    # The tool counts what it could not look up as harmless; we do not.
    unknown = sorted(one["name"] for one in found if "skip_reason" in one)
    faults = [
        f"{one['name']} {one['version']}: {fault['id']}, fixed in {' '.join(fault['fix_versions']) or 'none'}"
        for one in found
        for fault in one.get("vulns", ())
    ]
    if faults:
        print("\n".join(["dependencies: KNOWN VULNERABILITIES", *faults]))
        return 1
    if unknown or not found:
        named = ", ".join(unknown[:_N_NAMED]) + (", …" if len(unknown) > _N_NAMED else "")
        return _not_audited(f"{len(unknown)} of {len(found)} could not be looked up: {named}")
    print(f"dependencies: {len(found)} audited, no known vulnerability")
    return 0


def _asked(arguments: list[str]) -> list[dict]:
    tool = Path(sys.executable).parent / "pip-audit"
    options = [
        "--local",
        "--skip-editable",
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "10",
    ]
    command = [str(tool), *options, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return [
        one
        for one in json.loads(run.stdout)["dependencies"]
        # Ours is on no index.
        if one["name"] != "offer-recsys"
    ]


def _not_audited(why: str) -> int:
    print(f"dependencies: NOT AUDITED: {why}")
    return 1 if os.environ.get("RECSYS_AUDIT") == "required" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
