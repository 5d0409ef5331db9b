"""What MkDocs calls while it builds the site."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code>)")


def on_page_content(html: str, **_: Any) -> str:
    """Leave out the Sphinx roles of docstrings: the name behind one is set as code."""
    return _ROLE.sub("", html)
