"""nbval compares numbers, not pictures, HTML or warnings."""


def pytest_collectstart(collector):
    """Add the kinds of output that are not compared."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("text/html", "stderr", "image/svg+xml", "application/javascript")
