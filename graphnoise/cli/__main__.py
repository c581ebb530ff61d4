"""Entry of `python -m graphnoise.cli`."""

from graphnoise.cli.main import main

main()
