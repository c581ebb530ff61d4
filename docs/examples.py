"""For the site: sections `Example:` of docstrings are read as the sections `Examples:` of griffe, not as notes."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Rename the sections."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename the section of one docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
