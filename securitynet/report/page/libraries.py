"""The JavaScript that pages carry: that of installed Python packages, read when a page is built."""

from __future__ import annotations

import re
from importlib import resources

from securitynet.errors import UsageError

JQUERY = re.compile(r"export\{(?:[^}]*,)?([\w$]+) as jQuery\b[^}]*\};")
MISSING = "the page's table and plot need {0}, which is not installed: pip install 'securitynet[plots]'"


def bokeh() -> str:
    """Return Bokeh's script. Raises UsageError where Bokeh is not installed."""
    try:
        from bokeh.resources import Resources
    except ImportError as error:
        raise UsageError(MISSING.format("bokeh")) from error
    found = Resources(mode="inline", components=["bokeh"])
    found.log_level = None  # the page's script sets it: Bokeh would tell the console
    return "\n".join(found.js_raw)


def datatables() -> str:
    """Return a script that leaves DataTables behind as `jQuery.fn.dataTable`: the module that itables packs, as a plain script.

    A module inside a page cannot be imported without an address. Raises UsageError where itables is not installed or packs it otherwise.
    """
    try:
        module = resources.files("itables").joinpath("html/dt_bundle.js").read_text(encoding="utf-8")
    except ImportError as error:
        raise UsageError(MISSING.format("itables")) from error
    script, found = JQUERY.subn(lambda export: f"globalThis.jQuery={export[1]};", module)
    if found != 1:
        raise UsageError("this version of itables packs DataTables in a way that is not known here; version 2.9 is")
    return f"(() => {{{script}}})();".replace("<!--", r"\x3C!--")  # in its regular expressions; HTML would read on behind </script>
