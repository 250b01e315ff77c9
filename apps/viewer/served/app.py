"""What Streamlit runs for every page; see `apps.viewer.menu`.

It has a folder of its own because Streamlit takes a folder `pages` beside the script that it runs for scripts too.
"""

from apps.viewer.menu import run

run()
