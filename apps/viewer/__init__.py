"""The viewer, `xnemo view`: a Streamlit app. Logic is in plain functions; the files in `pages/` only lay it out."""
