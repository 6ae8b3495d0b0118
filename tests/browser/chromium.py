"""Finds a Chromium for the browser tests. Run as a script, it lets Playwright download one where none is found."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MISSING = "no Chromium on this machine, and Playwright could not download its own"
DOWNLOAD_SECONDS = 300


def find_chromium() -> str | None:
    """The path of a Chromium: the machine's, else the one that Playwright has downloaded."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or _find_playwrights()


def _find_playwrights() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


def main() -> int:
    """Downloads Playwright's Chromium if there is no other; says so if that fails too, but is no error."""
    if find_chromium() is None:
        command = [sys.executable, "-m", "playwright", "install", "chromium"]
        try:
            subprocess.run(command, timeout=DOWNLOAD_SECONDS, check=True, env=os.environ)
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{MISSING} ({error}); the browser tests will be skipped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
