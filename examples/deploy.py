"""Deploy a site, and say how it went: what a script of twenty lines gets from ``actorsync.run``.

    python examples/deploy.py shop.toml

Ctrl-C finishes the files that are on their way; twice, it tidies up and stops. The script ends by its own code.
"""

from __future__ import annotations

import sys

import actorsync


def main(profile: str) -> int:
    """Mirror, and give the exit code."""
    report = actorsync.run(profile)
    if report.drained or report.cancelled:
        print(f"stopped: {report.copied} files sent, {report.left} left for the next time")
    elif report.error or report.refused:
        print(f"not in sync: {report.error or report.refused}", file=sys.stderr)
    else:
        print(f"{report.copied} files sent, {report.removed} removed, {report.failed} failed")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
