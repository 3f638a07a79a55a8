"""One file for each page: what it shows, and what happens when something is pressed. In a folder `pages` Streamlit would mistake them for scripts."""
