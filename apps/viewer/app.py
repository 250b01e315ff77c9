"""What Streamlit runs for every page; see `apps.viewer.menu`."""

from apps.viewer.menu import run

run()
