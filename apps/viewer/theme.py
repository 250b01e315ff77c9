"""One visual language: the colours of the app in light and dark, and of everything that is drawn in it."""

from __future__ import annotations

from typing import Any

ACCENT = "#d9730d"

LIGHT = {
    "primaryColor": ACCENT,
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f4f4f3",
    "textColor": "#24231f",
    "borderColor": "#e2e1dd",
    "linkColor": "#a65200",
}
DARK = {
    "primaryColor": ACCENT,
    "backgroundColor": "#17171a",
    "secondaryBackgroundColor": "#212126",
    "textColor": "#e7e6e3",
    "borderColor": "#36363c",
    "linkColor": "#f5a65b",
}
SHARED = {
    "baseRadius": "6px",
    "baseFontSize": 15,
    "showWidgetBorder": True,
}
SIDEBAR = {
    "light": {"backgroundColor": "#f7f7f5", "secondaryBackgroundColor": "#ffffff", "borderColor": "#e2e1dd"},
    "dark": {"backgroundColor": "#1d1d21", "secondaryBackgroundColor": "#28282e", "borderColor": "#36363c"},
}

# Lines and categories: told apart by people with any colour vision, on light and on dark ground (after Okabe and Ito).
SERIES = ("#d9730d", "#2f8fbf", "#3aa37c", "#b565a7", "#c9a227", "#7a7fd1", "#cf5b5b", "#8a8a86", "#8a5a2b")

# What Streamlit's options do not reach: less empty space above, and codes on their colours.
STYLE = """<style>
.stMainBlockContainer { padding: 3rem; max-width: 1500px; }
@media (max-width: 900px) { .stMainBlockContainer { padding: 3rem 1rem; } }
.stMarkdown .code { display: inline-block; padding: 0 .5em; border-radius: 4px; color: #16130f; font-size: .85em;
  font-variant-numeric: tabular-nums; line-height: 1.55; }
</style>"""


def theme_options() -> dict[str, Any]:
    """Streamlit's options for both themes; the browser's wish decides between them."""
    options: dict[str, Any] = {f"theme.{name}": value for name, value in SHARED.items()}
    for mode, colours in (("light", LIGHT), ("dark", DARK)):
        options |= {f"theme.{mode}.{name}": value for name, value in colours.items()}
        options |= {f"theme.{mode}.sidebar.{name}": value for name, value in SIDEBAR[mode].items()}
    return options
