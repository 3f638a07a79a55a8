"""One file a page: what stands in it, and what happens when something is pressed. In a folder `pages` Streamlit would take them for scripts."""
