"""Makes text from records and from other people safe to show on a terminal."""

from __future__ import annotations

import re

# C0, DEL and C1 drive a terminal, the bidi controls reorder what is read, the separators end a line, and a lone
# surrogate can't be written at all. Rich lets ESC through even with markup off.
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    """The text with each control character as `\\u001b`: the escape that JSON has for it, so JSON stays the same JSON.

    keep: control characters that stay, "\\n" for a text of several lines.
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else f"\\u{ord(found[0]):04x}", text)
