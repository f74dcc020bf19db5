"""How fast and how frugal this package is, beside other ways to the same numbers; see README.md in this folder."""
