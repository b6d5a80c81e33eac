"""``python -m ingle.cli`` is the program `ingle`."""

from ingle.cli.main import main

main()
