"""Run the command line: python -m stacked_dae."""

from stacked_dae.cli.main import main

raise SystemExit(main())
